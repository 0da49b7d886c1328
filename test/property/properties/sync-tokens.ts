import { readSyncRequest } from '../../../src/client-sync/sync-request.ts';
import { type OurPart, unwrapToken, wrapToken } from '../../../src/client-sync/sync-token.ts';
import { type Maker, made } from '../made.ts';
import { property, same } from '../property.ts';

const TOKENS = [
  's1_2_3_4_5_6_7_8_0_9_10',
  's72594_4483_1934_0_0_0_0_0_7_0',
  's1',
  'p_q',
  '',
  's1_2_3_4_5_6_7_8_9',
];

function part(maker: Maker): OurPart {
  const instance = () => maker.below(2 ** 31);
  const peeks = new Map(maker.list(60, () => [instance(), maker.below(2 ** 45)] as const));
  return {
    device: maker
      .below(2 ** 32)
      .toString(16)
      .padStart(8, '0'),
    peeks,
  };
}

const sorted = (peeks: ReadonlyMap<number, number>) => JSON.stringify([...peeks].sort(([a], [b]) => a - b));

const PIECES = [
  's1_2_3_4_5_6_7_8_',
  '9'.repeat(30),
  '1'.repeat(500),
  '_',
  '.PEEK.',
  'AAAA',
  'oQ',
  '0',
  'ä',
  '\u0000',
  '-1',
  ' ',
];

const SYNAPSE = [
  's1_2_3_4_5_6_7_8_0_9_10',
  's72594_4483_1934_0_0_0_0_0_7_0',
  's44_17_4_3_2_1_1_3_0_1_1_1_1_1',
];
const GROUPS_FIELD = 8;
/** Any number that follows stands for a part of an earlier or later version, or of none. */
const VERSIONS = ['a0', 'a2', 'ff', '80', 'a1'];

/** The token with what Synapse writes in the field in which our part rides. */
const atRest = (token: string) => token.split('_').with(GROUPS_FIELD, '0').join('_');

/** Our number in a token, as accidents and strangers leave it: always of more digits than a homeserver's. */
function mutated(maker: Maker, digits: string): string {
  const at = maker.below(digits.length);
  switch (maker.below(7)) {
    case 0: {
      const flipped = BigInt(digits) ^ (1n << BigInt(maker.below(8 * Math.ceil(digits.length / 3))));
      return String(flipped);
    }
    case 1:
      return digits.slice(0, Math.max(20, at));
    case 2:
      return digits.slice(0, at) + maker.below(10) + digits.slice(at + 1);
    case 3:
      return (
        digits.slice(0, at) +
        '9'.repeat(maker.below(200) === 0 ? 5_000 : maker.of([1, 20, 100])) +
        digits.slice(at)
      );
    case 4: {
      const hex = BigInt(digits).toString(16);
      return BigInt(`0x${maker.of(VERSIONS)}${hex.slice(2)}`).toString();
    }
    case 5:
      return `0${digits}`;
    default:
      return digits;
  }
}

/** A query value as clients may write it: all of it percent-encoded, some, or what has to be. */
function written(maker: Maker, value: string): string {
  const all = maker.percent(20);
  return Array.from(value, (character) => {
    const code = character.charCodeAt(0);
    if (code < 0x80 && (all || maker.percent(3))) {
      const hex = code.toString(16).padStart(2, '0');
      return `%${maker.percent(50) ? hex : hex.toUpperCase()}`;
    }
    return encodeURIComponent(character);
  }).join('');
}

const OTHERS = [
  'filter=%7B%22a%22%3A1%7D',
  'timeout=30000',
  'set_presence=offline',
  'x=%zz',
  'full_state',
  '&',
  'sinc=1',
];

/** A request with this token among other parameters; what is not the token comes back beside it. */
function request(maker: Maker, since: string): { url: string; before: string; after: string } {
  const before = ['/_matrix/client/v3/sync?', ...maker.list(3, () => `${maker.of(OTHERS)}&`)].join('');
  const after = maker.list(3, () => `&${maker.of(OTHERS)}`).join('');
  const name = maker.percent(90) ? 'since' : maker.of(['sinc%65', '%73ince']);
  return { url: `${before}${name}=${written(maker, since)}${after}`, before, after };
}

/** The value in a target from which the rest of it has been taken off. */
const tokenIn = (target: string, before: string, after: string) => {
  same(target.startsWith(before), true, 'what stands before the token');
  same(target.endsWith(after), true, 'what stands after the token');
  const parameter = target.slice(before.length, target.length - after.length);
  return decodeURIComponent(parameter.slice(parameter.indexOf('=') + 1));
};

export const properties = [
  property(
    'whatever becomes of our part of a token, the homeserver is asked for what it was asked for, with its own token',
    made((maker) => {
      const token = maker.of(SYNAPSE);
      const ours = part(maker);
      const fields = wrapToken(token, ours, 'ninth-field').split('_');
      const digits = fields[GROUPS_FIELD] ?? '';
      const number = digits.length > 19 && digits.length <= 4_000 ? mutated(maker, digits) : digits;
      fields[GROUPS_FIELD] = number;
      return { token, ours, unchanged: number === digits, ...request(maker, fields.join('_')) };
    }),
    ({ token, ours, unchanged, url, before, after }) => {
      const read = readSyncRequest(url);
      const upstream = tokenIn(read.target, before, after);
      same(read.homeserverToken, upstream, 'the token');
      // Of what stood in the ninth field, which is not looked at, a garbled part tells nothing.
      same(unchanged ? upstream : atRest(upstream), unchanged ? token : atRest(token), 'the token upstream');
      if (unchanged) same(sorted(read.ours?.peeks ?? new Map()), sorted(ours.peeks), 'the peeks');
      // A checksum of four bytes: by accident none of these is taken for another part.
      else if (read.ours !== null) same(sorted(read.ours.peeks), sorted(ours.peeks), 'what was not changed');
    },
  ),
  property(
    'a part of ours behind its mark comes off however it is garbled, and what stood before it goes upstream',
    made((maker) => {
      const token = maker.of(TOKENS.filter((each) => each !== ''));
      const suffix = wrapToken(token, part(maker), 'suffix').slice(token.length + '.PEEK.'.length);
      const at = maker.below(suffix.length + 1);
      const garbled = maker.of([
        suffix,
        suffix.slice(0, at),
        suffix.slice(0, at) + maker.of(PIECES.filter((piece) => piece !== '.PEEK.')) + suffix.slice(at),
        `${suffix}${'A'.repeat(maker.below(200) === 0 ? 5_000 : 50)}`,
      ]);
      return { token, ...request(maker, `${token}.PEEK.${garbled}`) };
    }),
    ({ token, url, before, after }) => {
      same(tokenIn(readSyncRequest(url).target, before, after), token, 'the token upstream');
    },
  ),
  property(
    'a token in which nothing is of ours leaves the request as it came, byte for byte',
    made((maker) => {
      const text = maker.text(
        [...PIECES.filter((piece) => !/PEEK|[0-9]{20}/.test(piece)), '12345', '~', '.', 'm'],
        12,
      );
      // Pieces can make a long number of the ninth field together: that one would be taken for ours.
      const token = text.replaceAll(/[0-9]{16,}/g, '7');
      return request(maker, token);
    }),
    ({ url }) => {
      const read = readSyncRequest(url);
      same(read.target, url, 'the target');
      same(read.ours, null, 'our part');
    },
  ),
  property(
    'what is put on a sync token comes off again, and the homeserver’s own token with it',
    made((maker) => ({
      token: maker.of(TOKENS),
      ours: part(maker),
      mode: maker.of(['ninth-field', 'suffix'] as const),
    })),
    ({ token, ours, mode }) => {
      const read = unwrapToken(wrapToken(token, ours, mode));
      same(read.homeserver, token, 'the token');
      same(read.ours?.device, ours.device, 'the device');
      same(sorted(read.ours?.peeks ?? new Map()), sorted(ours.peeks), 'the peeks');
    },
  ),
  property(
    'a garbled token is read as none of ours, or whole',
    made((maker) => {
      const token = maker.percent(50)
        ? maker.text(PIECES, 6)
        : wrapToken(maker.of(TOKENS), part(maker), 'ninth-field');
      const at = maker.below(token.length + 1);
      return maker.percent(50) ? token.slice(0, at) + maker.of(PIECES) + token.slice(at) : token.slice(0, at);
    }),
    (token) => {
      const { homeserver, ours } = unwrapToken(token);
      if (homeserver.length > token.length) throw new Error('it grew');
      if (ours === null) return;
      same(unwrapToken(homeserver).ours, null, 'what is left of it');
      for (const number of [...ours.peeks].flat()) same(Number.isSafeInteger(number), true, 'a number in it');
    },
  ),
];
