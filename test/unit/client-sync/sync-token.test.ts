import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { deviceHash, type OurPart, unwrapToken, wrapToken } from '../../../src/client-sync/sync-token.ts';

const BARE = 's44_17_4_3_2_1_1_3_0_1_1_1_1_1';
const DEVICE = deviceHash('@alice:example.org', 'PHONE');
const OURS: OurPart = { device: DEVICE, peeks: new Map([[28_000_000, 28_000_123_456]]) };

const part = fc.record({
  device: fc.stringMatching(/^[0-9a-f]{8}$/),
  peeks: fc
    .array(fc.tuple(fc.maxSafeNat(), fc.maxSafeNat()), { maxLength: 12 })
    .map((entries) => new Map(entries)),
});
const field = fc.oneof(
  fc.nat().map(String),
  fc.constantFrom('m56~2.58~3.59', 't12-345', 's123', '007', '', '-1'),
);
const bareToken = fc.oneof(
  fc.array(field, { minLength: 1, maxLength: 16 }).map((fields) => fields.join('_')),
  fc.string({ unit: 'binary' }).filter((text) => !text.includes('.PEEK.')),
);
const mode = fc.constantFrom('ninth-field' as const, 'suffix' as const);

function inPeeks(ours: OurPart): unknown {
  return [ours.device, [...ours.peeks].sort(([a], [b]) => a - b)];
}

describe('the ninth field', () => {
  test('our part is one decimal number there, every other byte is as the homeserver wrote it', () => {
    const wrapped = wrapToken(BARE, OURS, 'ninth-field');
    expect(wrapped).toMatch(/^s44_17_4_3_2_1_1_3_[0-9]{30,80}_1_1_1_1_1$/);
    expect(unwrapToken(wrapped)).toEqual({ homeserver: BARE, ours: OURS });
  });

  test.each([
    's1_2_3_4_5_6_7_8_9',
    'm56~2.58~3.59_1_1_1_1_1_1_1_42_m3~1.4_1',
    't12-345_0_0_0_0_0_0_0_9007199254740991_0',
  ])('the number that stood there is kept: %s', (token) => {
    const wrapped = wrapToken(token, OURS, 'ninth-field');
    expect(wrapped).toMatch(/^[a-z0-9_~.-]+$/);
    expect(unwrapToken(wrapped)).toEqual({ homeserver: token, ours: OURS });
  });

  test.each([
    's1_2_3',
    '12345',
    's1_2_3_4_5_6_7_8_007_1',
    's1_2_3_4_5_6_7_8_m1~2.3_1',
    's1_2_3_4_5_6_7_8__1',
  ])('without an ordinary number there, a suffix is used: %s', (token) => {
    const wrapped = wrapToken(token, OURS, 'ninth-field');
    expect(wrapped.startsWith(`${token}.PEEK.`)).toBe(true);
    expect(unwrapToken(wrapped)).toEqual({ homeserver: token, ours: OURS });
  });

  test.each([
    ['of ordinary age', (i: number) => [20_000_000 + i * 9001, 20_000_000_000 + i * 9_001_000 + 5000 * i]],
    ['all made at once in old rooms', (i: number) => [60_000_000 + i, 1_000_000 + i * 7]],
    ['scattered to the ends', (i: number) => [i * 43_000_000 + 77, 2 ** 42 - 1 - i]],
  ])('50 peeks %s fit in 1 400 digits', (_, peek) => {
    const peeks = new Map(Array.from({ length: 50 }, (_, i) => peek(i) as [number, number]));
    const wrapped = wrapToken(BARE, { device: DEVICE, peeks }, 'ninth-field');
    expect(wrapped.split('_')[8]?.length).toBeLessThanOrEqual(1400);
    expect(unwrapToken(wrapped).ours?.peeks).toEqual(peeks);
  });

  test('more peeks than a number may hold go into a suffix', () => {
    const peeks = new Map(Array.from({ length: 400 }, (_, i) => [i * 43_000_000, 2 ** 42 - i]));
    const wrapped = wrapToken(BARE, { device: DEVICE, peeks }, 'ninth-field');
    expect(wrapped.startsWith(`${BARE}.PEEK.`)).toBe(true);
    expect(unwrapToken(wrapped)).toEqual({ homeserver: BARE, ours: { device: DEVICE, peeks } });
  });
});

describe('unwrapping', () => {
  test('what was wrapped comes back', () => {
    fc.assert(
      fc.property(bareToken, part, mode, (token, ours, mode) => {
        const back = unwrapToken(wrapToken(token, ours, mode));
        expect(back.homeserver).toBe(token);
        expect(back.ours && inPeeks(back.ours)).toEqual(inPeeks(ours));
      }),
    );
  });

  test('a token that is not ours passes, whatever it looks like', () => {
    for (const token of [BARE, '', '12345', 's1_2_3_4_5_6_7_8_9', 't12-345', `${BARE}.PEEK`, '_________']) {
      expect(unwrapToken(token)).toEqual({ homeserver: token, ours: null });
    }
    fc.assert(
      fc.property(bareToken, (token) => {
        expect(unwrapToken(token)).toEqual({ homeserver: token, ours: null });
      }),
    );
  });

  test("our part of the token unknown/foreign/garbled ⇒ taken out, the homeserver's own token goes upstream; a token without our part ⇒ unchanged", () => {
    const number = wrapToken(BARE, OURS, 'ninth-field').split('_')[8] ?? '';
    expect(unwrapToken(BARE)).toEqual({ homeserver: BARE, ours: null });
    const garbled = [`${number}1`, number.slice(0, -1), number.slice(1), '9'.repeat(50), '9'.repeat(100_000)];
    for (const groups of garbled) {
      const token = BARE.replace('_3_0_1', `_3_${groups}_1`);
      expect(unwrapToken(token)).toEqual({ homeserver: BARE, ours: null });
    }
    for (const suffix of ['', 'AAAA', '!', wrapToken('', OURS, 'suffix').slice(6, -1)]) {
      expect(unwrapToken(`${BARE}.PEEK.${suffix}`)).toEqual({ homeserver: BARE, ours: null });
    }
  });

  test('a part of a past or coming version is taken out', () => {
    const number = wrapToken(BARE, OURS, 'ninth-field').split('_')[8] ?? '';
    const bytes = Buffer.from(BigInt(number).toString(16), 'hex');
    for (const version of [0xa0, 0xa2, 0xff]) {
      bytes[0] = version;
      const body = bytes.subarray(0, -4);
      createHash('sha256').update(body).digest().copy(bytes, body.length, 0, 4);
      const other = BigInt(`0x${bytes.toString('hex')}`).toString();
      expect(unwrapToken(BARE.replace('_3_0_1', `_3_${other}_1`))).toEqual({ homeserver: BARE, ours: null });
      const suffix = `${BARE}.PEEK.${bytes.toString('base64url')}`;
      expect(unwrapToken(suffix)).toEqual({ homeserver: BARE, ours: null });
    }
  });

  test('cut off or changed anywhere, it never throws and never tells of other peeks', () => {
    const change = fc.record({
      at: fc.double({ min: 0, max: 1, noNaN: true }),
      drop: fc.nat(3),
      put: fc.string({ maxLength: 3 }),
    });
    fc.assert(
      fc.property(part, mode, change, fc.boolean(), (ours, mode, { at, drop, put }, cut) => {
        const wrapped = wrapToken(BARE, ours, mode);
        const place = Math.floor(at * wrapped.length);
        const changed = cut
          ? wrapped.slice(0, place)
          : wrapped.slice(0, place) + put + wrapped.slice(place + drop);
        const back = unwrapToken(changed);
        if (back.ours !== null) expect(inPeeks(back.ours)).toEqual(inPeeks(ours));
      }),
      { numRuns: 500 },
    );
  });

  test('a suffix needs no escaping in a URL', () => {
    const wrapped = wrapToken(BARE, OURS, 'suffix');
    expect(encodeURIComponent(wrapped)).toBe(wrapped);
  });

  test('two devices, or users, have different hashes', () => {
    expect(DEVICE).toMatch(/^[0-9a-f]{8}$/);
    expect(deviceHash('@alice:example.org', 'LAPTOP')).not.toBe(DEVICE);
    expect(deviceHash('@alice:example.orgP', 'HONE')).not.toBe(DEVICE);
  });

  test('numbers that are none are refused when wrapping', () => {
    for (const peeks of [new Map([[-1, 1]]), new Map([[1, 2 ** 53]]), new Map([[0.5, 1]])]) {
      expect(() => wrapToken(BARE, { device: DEVICE, peeks }, 'suffix')).toThrow(RangeError);
    }
    expect(() => wrapToken(BARE, { device: 'PHONE', peeks: new Map() }, 'suffix')).toThrow(RangeError);
  });
});
