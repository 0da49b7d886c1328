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

export const properties = [
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
