import { expect, test } from 'vitest';
import {
  EventVerdicts,
  type JudgedEvent,
  UNKNOWN_AUTH,
} from '../../../src/feeds/authorisation/event-verdicts.ts';
import type { Pdu } from '../../../src/matrix/pdu.ts';
import { type RoomVersionRules, roomVersion } from '../../../src/matrix/room-versions.ts';
import { RoomBuilder } from '../../support/room-builder.ts';

const of = (room: RoomBuilder, left: readonly string[] = []) => {
  const verdicts = new EventVerdicts(room.rules);
  for (const event of room.events) if (!left.includes(event.eventId)) verdicts.add(event);
  return verdicts;
};

test.each(['1', '6', '12'])(
  'an honest room is allowed, in whatever order it is asked (version %s)',
  async (version) => {
    const room = new RoomBuilder(version);
    room.member('@guest:else.test', 'join');
    room.message('hello', '@guest:else.test');
    for (const events of [room.events, room.events.toReversed()]) {
      const verdicts = of(room);
      expect([...verdicts.missing()]).toEqual([]);
      for (const { eventId } of events) expect((await verdicts.of(eventId)).allowed).toBe(true);
    }
  },
);

test('what is missing is named; without it, and it alone, nobody knows', async () => {
  const room = new RoomBuilder();
  const join = room.member('@guest:else.test', 'join');
  const said = room.message('hello', '@guest:else.test');
  const verdicts = of(room, [join.eventId]);
  expect([...verdicts.missing()]).toEqual([join.eventId]);
  expect(await verdicts.of(said.eventId)).toBe(UNKNOWN_AUTH);
  expect((await verdicts.of(room.stateEvent('m.room.power_levels').eventId)).allowed).toBe(true);
});

test('version 12: without the create event nothing is allowed', async () => {
  const room = new RoomBuilder('12');
  const said = room.message('hello');
  const verdicts = of(room, [room.stateEvent('m.room.create').eventId]);
  expect((await verdicts.of(said.eventId)).allowed).toBe(false);
});

test('an auth chain as long as a room is old is followed without recursion, each event judged once', async () => {
  const { rules, events } = chain(30_000);
  const verdicts = new EventVerdicts(rules);
  let read = 0;
  for (const event of events) {
    const auth = event.pdu.auth_events;
    Object.defineProperty(event.pdu, 'auth_events', {
      get() {
        read++;
        return auth;
      },
    });
    verdicts.add(event);
  }
  expect((await verdicts.of((events.at(-1) as JudgedEvent).eventId)).allowed).toBe(true);
  const once = read;
  expect(once).toBeLessThan(5 * events.length);
  await verdicts.of((events[15_000] as JudgedEvent).eventId);
  expect(read).toBe(once);
});

test('events that authorise each other in a circle are allowed by nobody', async () => {
  const rules = roomVersion('1') as RoomVersionRules;
  const { events } = chain(3);
  const named = (id: string, auth: string[]): JudgedEvent => ({
    eventId: id,
    pdu: { ...(events[2] as JudgedEvent).pdu, auth_events: auth.map((each) => [each, {}]) } as Pdu,
  });
  const verdicts = new EventVerdicts(rules);
  for (const event of [
    named('$a:x', ['$b:x']),
    named('$b:x', ['$c:x']),
    named('$c:x', ['$a:x']),
    named('$d:x', ['$d:x']),
  ])
    verdicts.add(event);
  for (const id of ['$a:x', '$b:x', '$c:x', '$d:x']) expect((await verdicts.of(id)).allowed).toBe(false);
});

/** A room of version 1 whose creator sets the power levels again and again: each one names the one before. */
function chain(count: number): { rules: RoomVersionRules; events: JudgedEvent[] } {
  const rules = roomVersion('1') as RoomVersionRules;
  const common = { room_id: '!r:x', sender: '@a:x', depth: 1, origin_server_ts: 1, state_key: '' };
  const make = (
    i: number,
    type: string,
    content: object,
    auth: readonly number[],
    stateKey = '',
  ): JudgedEvent => ({
    eventId: id(i),
    pdu: {
      ...common,
      type,
      content,
      state_key: stateKey,
      event_id: id(i),
      auth_events: auth.map((each) => [id(each), {}]),
      prev_events: i === 0 ? [] : [[id(i - 1), {}]],
    } as unknown as Pdu,
  });
  const events = [
    make(0, 'm.room.create', { creator: '@a:x', room_version: '1' }, []),
    make(1, 'm.room.member', { membership: 'join' }, [0], '@a:x'),
  ];
  for (let i = 2; i < count; i++) {
    const auth = i === 2 ? [0, 1] : [0, 1, i - 1];
    events.push(make(i, 'm.room.power_levels', { users: { '@a:x': 100 } }, auth));
  }
  return { rules, events };
}

function id(i: number): string {
  return `$${i}:x`;
}
