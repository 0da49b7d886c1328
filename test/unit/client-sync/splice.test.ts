import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Additions, ownAnswer, roomsIn, spliceSync } from '../../../src/client-sync/splice.ts';

const NOTHING: Additions = { nextBatch: (token) => token, peek: '', leave: new Map() };
const OURS: Additions = {
  nextBatch: (token) => `${token}+ours`,
  peek: '"!p:b":{"timeline":{}}',
  leave: new Map([['!left:b', '{}']]),
};

function spliced(text: string, ours: Additions = OURS): string | undefined {
  return spliceSync(Buffer.from(text), ours)?.body.toString();
}

describe('spliceSync', () => {
  test('adds our sections and token; every other byte stays', () => {
    const text =
      '{ "account_data": {"n": 1.0, "u": "\\u00e9é"} ,\n"next_batch" : "s1_2","rooms":{"join":{"!j:b":{"x":[{}]}}}}\n';
    expect(spliced(text)).toBe(
      '{ "account_data": {"n": 1.0, "u": "\\u00e9é"} ,\n"next_batch" : "s1_2+ours","rooms":{"peek":{"!p:b":{"timeline":{}}},"leave":{"!left:b":{}},"join":{"!j:b":{"x":[{}]}}}}\n',
    );
  });

  test('makes `rooms` where the homeserver sends none, and fills an empty one', () => {
    const rooms = '"rooms":{"peek":{"!p:b":{"timeline":{}}},"leave":{"!left:b":{}}}';
    expect(spliced('{"next_batch":"s"}')).toBe(`{${rooms},"next_batch":"s+ours"}`);
    expect(spliced('{"rooms":{ },"next_batch":"s"}')).toBe(`{${rooms.slice(0, -1)} },"next_batch":"s+ours"}`);
  });

  test("joins our leaves to the homeserver's, except rooms that it has itself", () => {
    const text =
      '{"rooms":{"join":{"!j:b":{}},"invite":{"!i:b":{}},"knock":{"!k:b":{}},"leave":{"!l:b":{"a":1}}},"next_batch":"s"}';
    const leave = new Map(['!j:b', '!i:b', '!k:b', '!l:b', '!n:b'].map((roomId) => [roomId, '{"ours":1}']));
    const answer = spliceSync(Buffer.from(text), { ...OURS, leave });
    expect(JSON.parse(String(answer?.body)).rooms.leave).toEqual({ '!l:b': { a: 1 }, '!n:b': { ours: 1 } });
    expect(answer).toMatchObject({
      nextBatch: 's',
      join: new Set(['!j:b']),
      invite: new Set(['!i:b']),
      knock: new Set(['!k:b']),
      leave: new Set(['!l:b']),
    });
  });

  test('with nothing to add it is the same buffer', () => {
    const body = Buffer.from('{"next_batch":"s","rooms":{}}');
    expect(spliceSync(body, NOTHING)?.body).toBe(body);
  });

  test('keys and strings that are escaped, nested or lookalikes do not mislead it', () => {
    const text =
      '{"x":{"next_batch":"no","rooms":{"join":{"!no:b":{}}}},"s":"\\"next_batch\\":\\"no\\\\","e":"\\\\\\\\","next\\u005fbatch":"a\\u0062","rooms":{"join":{"\\u0021j:b":{},"__proto__":{}}}}';
    expect(roomsIn(Buffer.from(text))).toMatchObject({
      nextBatch: 'ab',
      join: new Set(['!j:b', '__proto__']),
    });
    expect(spliced(text, { ...OURS, peek: '', leave: new Map() })).toBe(
      text.replace('"a\\u0062"', '"ab+ours"'),
    );
  });

  test.each([
    '',
    '<html>502 Bad Gateway</html>',
    'null',
    '[]',
    '"next_batch"',
    '{}',
    '{"next_batch":1}',
    '{"next_batch":null}',
    '{"next_batch":"s"',
    '{"next_batch":"s',
    '{"next_batch":"s\\"}',
    '{"next_batch":"s"}}',
    '{"next_batch":"s"} x',
    '{"next_batch":"s",}',
    '{"next_batch" "s"}',
    '{"a":,"next_batch":"s"}',
    '{"next_batch":"s","rooms":null}',
    '{"next_batch":"s","rooms":{"leave":[]}}',
  ])('upstream not JSON / 502 HTML / truncated ⇒ bytes unchanged: %j', (text) => {
    expect(spliceSync(Buffer.from(text), OURS)).toBeNull();
    expect(roomsIn(Buffer.from(text))).toBeNull();
  });

  test('a truncated answer is seen wherever it was cut', () => {
    const text = '{"next_batch":"s\\"1","rooms":{"join":{"!j:b":{"t":[1,"}"]}}},"n":-1.5e3}';
    for (let length = 0; length < text.length; length++) {
      expect(spliced(text.slice(0, length))).toBeUndefined();
    }
    expect(spliced(text)).toBeDefined();
  });

  test('duplicate keys: the last one counts, as for clients', () => {
    expect(spliced('{"next_batch":"s","next_batch":"t"}', { ...OURS, peek: '', leave: new Map() })).toBe(
      '{"next_batch":"s","next_batch":"t+ours"}',
    );
  });

  test('nesting of 100 000 levels does not break it', () => {
    const deep = `${'[{"a":'.repeat(50_000)}1${'}]'.repeat(50_000)}`;
    expect(spliced(`{"d":${deep},"next_batch":"s"}`)).toContain('"next_batch":"s+ours"');
    expect(spliced(`{"d":${deep.slice(0, -1)},"next_batch":"s"}`)).toBeUndefined();
  });

  test('any answer, parsed after splicing, is the one parsed before with ours in it', () => {
    const rooms = fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 2 }), { maxKeys: 3 });
    const answer = fc.record(
      {
        next_batch: fc.string(),
        rooms: fc.record({ join: rooms, leave: rooms }, { requiredKeys: [] }),
        other: fc.jsonValue(),
      },
      { requiredKeys: ['next_batch'] },
    );
    fc.assert(
      fc.property(answer, fc.constantFrom(undefined, 1, '\t'), (before, space) => {
        const text = spliced(JSON.stringify(before, null, space)) ?? '';
        const plain = JSON.parse(JSON.stringify(before));
        expect(JSON.parse(text)).toEqual({
          ...plain,
          next_batch: `${before.next_batch}+ours`,
          rooms: {
            ...plain.rooms,
            peek: { '!p:b': { timeline: {} } },
            leave: { ...plain.rooms?.leave, '!left:b': {} },
          },
        });
      }),
    );
  });
});

describe('ownAnswer', () => {
  test("carries the homeserver's token, wrapped, and our sections alone", () => {
    expect(JSON.parse(ownAnswer('s1', OURS).toString())).toEqual({
      next_batch: 's1+ours',
      device_one_time_keys_count: { signed_curve25519: 50 },
      rooms: { peek: { '!p:b': { timeline: {} } }, leave: { '!left:b': {} } },
    });
    expect(JSON.parse(ownAnswer('s"1', NOTHING).toString())).toMatchObject({ next_batch: 's"1', rooms: {} });
  });
});
