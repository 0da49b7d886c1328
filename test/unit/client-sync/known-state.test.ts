import fc from 'fast-check';
import { expect, test } from 'vitest';
import { knownState } from '../../../src/client-sync/known-state.ts';
import { spliceSync } from '../../../src/client-sync/splice.ts';

const ROOM = '!r:b';
const TOLD = new Map([
  ['m.room.name\u0000', '$name'],
  ['m.room.member\u0000@a:b', '$a'],
  ['m.room.topic\u0000', '$older'],
]);
const NAME = { type: 'm.room.name', state_key: '', event_id: '$name', content: { name: 'x' } };
const MEMBER = { type: 'm.room.member', state_key: '@a:b', event_id: '$a', content: {} };
const TOPIC = { type: 'm.room.topic', state_key: '', event_id: '$newer', content: {} };

async function without(text: string, told = TOLD): Promise<string> {
  const body = Buffer.from(text);
  const cuts = await knownState(body, ROOM, told);
  const spliced = spliceSync(body, { nextBatch: (token) => token, peek: '', leave: new Map(), cuts });
  return String(spliced?.body);
}

function answer(state: readonly unknown[], name = 'state', more = ''): string {
  const list = state.map((event) => JSON.stringify(event)).join(',\n ');
  const room = `{"timeline":{"events":[${JSON.stringify(NAME)}]},"${name}" : {"events": [ ${list} ]}${more}}`;
  return `{"next_batch":"s1","rooms":{"join":{"!o:b":{"state":{"events":[${JSON.stringify(NAME)}]}},"!r:b":${room}}}} `;
}

test.each(['state', 'state_after', 'org.matrix.msc4222.state_after'])(
  'a joined room’s %s is left without the events that its peeker has as the current ones; every other byte stays',
  async (name) => {
    expect(await without(answer([TOPIC, NAME, MEMBER], name))).toBe(
      answer([TOPIC], name).replace(`,\n ${JSON.stringify(NAME)}`, ''),
    );
    expect(await without(answer([NAME, TOPIC, MEMBER], name))).toBe(answer([TOPIC], name));
    expect(await without(answer([NAME, MEMBER, TOPIC], name))).toBe(answer([TOPIC], name));
    expect(await without(answer([NAME, MEMBER], name))).toBe(answer([], name));
    expect(await without(answer([NAME], name))).toBe(answer([], name));
  },
);

test('whichever events are known, what stays is the others in their order', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.boolean(), { maxLength: 8 }),
      fc.constantFrom(undefined, 1),
      async (known, space) => {
        const events = known.map((_, i) => ({ type: 't', state_key: `${i}`, event_id: `$${i}` }));
        const told = new Map(
          known.flatMap((isKnown, i) => (isKnown ? [[`t\u0000${i}`, `$${i}`] as const] : [])),
        );
        const before = { next_batch: 's', rooms: { join: { [ROOM]: { state: { events } } } } };
        const after = JSON.parse(await without(JSON.stringify(before, null, space), told));
        expect(after.rooms.join[ROOM].state.events).toEqual(events.filter((_, i) => !known[i]));
      },
    ),
    { numRuns: 200 },
  );
});

test('nothing goes where an event says not which it is, or is none, or nothing is known', async () => {
  const odd = [
    { ...NAME, event_id: 7 },
    { type: 'm.room.name', state_key: '' },
    { event_id: '$name' },
    { ...NAME, type: 1 },
  ];
  expect(await without(answer(odd))).toBe(answer(odd));
  expect(await without(answer([NAME]), new Map())).toBe(answer([NAME]));
});

test.each([
  '{"next_batch":"s","rooms":{"join":{"!r:b":{"state":{"events":[1]}}}}}',
  '{"next_batch":"s","rooms":{"join":{"!r:b":{"state":{"events":{}}}}}}',
  '{"next_batch":"s","rooms":{"join":{"!r:b":{"state":[]}}}}',
  '{"next_batch":"s","rooms":{"join":{"!r:b":[]}}}',
  '{"next_batch":"s","rooms":{"leave":{"!r:b":{}}}}',
  '{"next_batch":"s"}',
])('an answer of another shape stays as it is: %s', async (text) => {
  expect(await without(text)).toBe(text);
});

test('is no answer ⇒ no cuts', async () => {
  expect(await knownState(Buffer.from('<html>'), ROOM, TOLD)).toEqual([]);
});
