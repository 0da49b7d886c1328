import { describe, expect, test } from 'vitest';
import type { JsonObject } from '../../../src/matrix/json.ts';
import { brief, HOUR, PEER, type PeekingHouse, TestDevice } from '../../support/peeking-house.ts';
import type { BuiltEvent, RoomBuilder } from '../../support/room-builder.ts';
import { peeked } from './peeked-room.ts';

const GUEST = '@guest:else.test';
const MALLORY = '@mallory:evil.test';

const topic = (room: RoomBuilder, text: string, after: BuiltEvent) =>
  room.make({ type: 'm.room.topic', stateKey: '', content: { topic: text }, prev: [after.eventId] });
const message = (room: RoomBuilder, body: string, ...after: BuiltEvent[]) =>
  room.make({ type: 'm.room.message', content: { body }, prev: after.map(({ eventId }) => eventId) });

async function forks(house: PeekingHouse): Promise<number> {
  return (await house.metrics.forks.get()).values[0]?.value ?? 0;
}

async function currentTopic(house: PeekingHouse, room: RoomBuilder): Promise<string | undefined> {
  const [event] = await house.store.replicas.stateOf(room.roomId, [['m.room.topic', '']]);
  return event?.eventId;
}

/** `PEER` answers with this state event current, whatever the builder thinks. */
function says(house: PeekingHouse, room: RoomBuilder, ...current: readonly BuiltEvent[]): void {
  house.remote.on(PEER, 'PUT', `/peek/${room.roomId}/`, () => {
    const answer = room.peekAnswer();
    const others = (answer.state as JsonObject[]).filter(
      (event) => !current.some(({ pdu }) => pdu.type === event.type && pdu.state_key === event.state_key),
    );
    return { ...answer, state: [...others, ...current.map(({ pdu }) => pdu)] };
  });
}

describe('a fork', () => {
  test('of messages alone stays settled: no state could differ', async () => {
    const { house, room, send } = await peeked();
    const base = room.latest;
    const [a, b] = [message(room, 'a', base), message(room, 'b', base)];
    await send(a, b, message(room, 'both', a, b));
    expect(await house.log(room.roomId)).toMatchObject({ needsCatchUp: false });
    expect(await forks(house)).toBe(1);
  });

  test('with state in it ⇒ the peeked server is asked; what was current there becomes so here', async () => {
    const { house, room, send, since } = await peeked();
    const base = room.latest;
    const [mine, theirs] = [topic(room, 'mine', base), topic(room, 'theirs', base)];
    const device = new TestDevice(house);
    await device.sync();
    await send(theirs, mine);
    expect(await house.log(room.roomId)).toMatchObject({ needsCatchUp: true });
    expect(brief((await device.sync()).peek.get(room.roomId))?.timeline).toEqual([
      'topic=theirs',
      'topic=mine',
    ]);

    says(house, room, theirs);
    await house.sweeps.run();
    expect(await currentTopic(house, room)).toBe(theirs.eventId);
    expect(await house.log(room.roomId)).toMatchObject({ needsCatchUp: false });
    const section = brief((await device.sync()).peek.get(room.roomId));
    expect(section).toMatchObject({ limited: true, timeline: [] });
    expect(section?.state).toContain('topic=theirs');
    expect((await device.sync()).peek.size).toBe(0);
    expect(await since()).toEqual(['topic', 'topic']);
  });

  test('with state in it that turns out as it was ⇒ nobody sees anything', async () => {
    const { house, room, send } = await peeked();
    const base = room.latest;
    const [mine, theirs] = [topic(room, 'mine', base), topic(room, 'theirs', base)];
    await send(mine, theirs);
    const device = new TestDevice(house);
    await device.sync();
    says(house, room, theirs);
    await house.sweeps.run();
    expect((await device.sync()).peek.size).toBe(0);
    expect(await currentTopic(house, room)).toBe(theirs.eventId);
  });

  test('the mark outlives a restart', async () => {
    const { house, room, send } = await peeked();
    const base = room.latest;
    await send(topic(room, 'mine', base), topic(room, 'theirs', base));
    expect((await house.store.logs.get(room.roomId))?.needsCatchUp).toBe(true);
  });

  test('a branch from before the room was opened is not shown, whatever its depth', async () => {
    const { house, room, send, entries } = await peeked();
    const base = room.latest;
    const opened = room.state('m.room.history_visibility', '', { history_visibility: 'world_readable' });
    const hidden = room.make({
      type: 'm.room.message',
      content: { body: 'secret' },
      prev: [base.eventId],
      depth: Number(opened.pdu.depth) + 5,
    });
    const further = room.make({
      type: 'm.room.message',
      content: { body: 'secret too' },
      prev: [hidden.eventId],
      depth: Number(opened.pdu.depth) + 6,
    });
    const both = room.make({
      type: 'm.room.message',
      content: { body: 'both' },
      prev: [opened.eventId, further.eventId],
      depth: Number(opened.pdu.depth) + 7,
    });
    await send(opened, hidden, further, both);
    expect((await entries()).map(({ shown }) => shown)).toEqual([true, false, false, true]);
    const device = new TestDevice(house);
    const section = JSON.stringify((await device.sync()).peek.get(room.roomId));
    expect(section).toContain('both');
    expect(section).not.toContain('secret');
  });
});

describe('an event that the current state denies', () => {
  /** Mallory's message by the auth events of before the ban, then the ban as we hear of it. */
  async function banned() {
    const given = await peeked('10', (builder) => builder.member(MALLORY, 'join'));
    const late = given.room.make({ type: 'm.room.message', content: { body: 'late' }, sender: MALLORY });
    const ban = given.room.make({
      type: 'm.room.member',
      stateKey: MALLORY,
      content: { membership: 'ban' },
    });
    await given.send(ban, late);
    return { ...given, ban, late };
  }

  test('is held, and marks the room; a second time it changes nothing', async () => {
    const { house, room, since, send, late, count } = await banned();
    await send(late);
    expect(await since()).toEqual(['member']);
    expect(await house.log(room.roomId)).toMatchObject({ needsCatchUp: true });
    expect(await count('heldEvents', 'outcome', 'held')).toBe(1);
  });

  test('is taken when the peeked server’s state allows it', async () => {
    const { house, room, since, count } = await banned();
    says(house, room, room.stateEvent('m.room.member', MALLORY));
    await house.sweeps.run();
    expect(await since()).toEqual(['member', 'late']);
    expect(await count('heldEvents', 'outcome', 'taken')).toBe(1);
    expect(await house.log(room.roomId)).toMatchObject({ needsCatchUp: false });
  });

  test('is dropped when that denies it too', async () => {
    const { house, room, since, ban, count } = await banned();
    says(house, room, ban);
    await house.sweeps.run();
    expect(await since()).toEqual(['member']);
    expect(await count('heldEvents', 'outcome', 'dropped')).toBe(1);
    expect(await count('eventsDropped', 'reason', 'state')).toBe(1);
  });

  test('is among the newest events of the peeked server ⇒ it comes with them, once', async () => {
    const { house, room, since } = await banned();
    says(house, room, room.stateEvent('m.room.member', MALLORY));
    house.remote.on(PEER, 'PUT', `/peek/${room.roomId}/`, () => room.peekAnswer());
    room.message('anything');
    await house.sweeps.run();
    expect((await since()).filter((what) => what === 'late').length).toBeLessThanOrEqual(1);
  });

  test('by the hundred ⇒ a hundred are held', async () => {
    const { house, room, send, late, count } = await banned();
    const flood = Array.from({ length: 130 }, (_, i) => {
      return room.make({
        type: 'm.room.message',
        content: { body: `${i}` },
        sender: MALLORY,
        prev: [late.eventId],
        more: { auth_events: late.pdu.auth_events as string[] },
      });
    });
    for (let at = 0; at < flood.length; at += 50) await send(...flood.slice(at, at + 50));
    expect(await count('heldEvents', 'outcome', 'held')).toBe(100);
    expect(await count('eventsDropped', 'reason', 'state')).toBe(31);
    expect(await house.log(room.roomId)).toMatchObject({ needsCatchUp: true });
  });
});

describe('a state that is compared by its IDs', () => {
  /** Two topics side by side and a message after both: the graph has one end again. */
  async function merged() {
    const given = await peeked();
    const { room, send } = given;
    const base = room.latest;
    const [mine, theirs] = [topic(room, 'mine', base), topic(room, 'theirs', base)];
    const end = message(room, 'both', mine, theirs);
    await send(theirs, mine, end);
    return { ...given, mine, theirs, end };
  }

  /** `PEER` says what the state before the one end of the room is. */
  function saysIds(house: PeekingHouse, room: RoomBuilder, ...others: readonly BuiltEvent[]): void {
    const ids = [...room.currentState, ...others].map(({ eventId }) => eventId);
    house.remote.on(PEER, 'GET', '/state_ids/', { pdu_ids: ids, auth_chain_ids: [] });
  }

  const puts = (house: PeekingHouse) => house.remote.sent('PUT').length;

  test('and is the same ⇒ the whole room is not asked for, and readers see nothing', async () => {
    const { house, room, mine } = await merged();
    const device = new TestDevice(house);
    await device.sync();
    saysIds(house, room, mine);
    const before = puts(house);
    await house.sweeps.run();
    expect(puts(house)).toBe(before);
    expect(await house.log(room.roomId)).toMatchObject({ needsCatchUp: false });
    expect((await device.sync()).peek.size).toBe(0);
  });

  test('and is another ⇒ it is taken over, and readers read the state anew', async () => {
    const { house, room, theirs } = await merged();
    const device = new TestDevice(house);
    await device.sync();
    saysIds(house, room, theirs);
    await house.sweeps.run();
    expect(puts(house)).toBe(1);
    expect(await currentTopic(house, room)).toBe(theirs.eventId);
    const section = brief((await device.sync()).peek.get(room.roomId));
    expect(section?.limited).toBe(true);
    expect(section?.state).toContain('topic=theirs');
    const next = message(room, 'next', room.events.at(-1) as BuiltEvent);
    await house.ingest(room, [next]);
    expect(await house.store.replicas.event(room.roomId, theirs.eventId)).not.toBeNull();
  });

  test('with an event in it that we lack ⇒ that is asked for, verified, and told', async () => {
    const { house, room, mine, since } = await merged();
    const name = room.make({ type: 'm.room.name', stateKey: '', content: { name: 'new' } });
    house.remote.on(PEER, 'GET', `/event/${name.eventId}`, { pdus: [name.pdu] });
    saysIds(house, room, mine, name);
    await house.sweeps.run();
    expect(puts(house)).toBe(1);
    expect((await since()).at(-1)).toBe('name');
    const [held] = await house.store.replicas.stateOf(room.roomId, [['m.room.name', '']]);
    expect(held?.eventId).toBe(name.eventId);
  });

  test('without a key that we have ⇒ it is gone', async () => {
    const { house, room } = await merged();
    saysIds(house, room);
    await house.sweeps.run();
    expect(puts(house)).toBe(1);
    expect(await currentTopic(house, room)).toBeUndefined();
    expect(await house.store.replicas.state(room.roomId)).toHaveLength(room.currentState.length);
  });

  test.each<[string, (house: PeekingHouse, room: RoomBuilder, mine: BuiltEvent) => void]>([
    ['the server does not say', () => {}],
    [
      'more is unknown than is asked for',
      (house, room) => {
        const ids = Array.from({ length: 60 }, (_, i) => `$${String(i).padEnd(43, 'A')}`);
        house.remote.on(PEER, 'GET', '/state_ids/', {
          pdu_ids: [...room.currentState.map(({ eventId }) => eventId), ...ids],
        });
      },
    ],
    [
      'something unknown cannot be had',
      (house, room, mine) => {
        const pdu_ids = [...room.currentState, mine].map(({ eventId }) => eventId);
        house.remote.on(PEER, 'GET', '/state_ids/', { pdu_ids: [...pdu_ids, `$${'A'.repeat(43)}`] });
      },
    ],
    [
      'something unknown is not authorised',
      (house, room, mine) => {
        const grab = room.make({ type: 'm.room.name', stateKey: '', content: {}, sender: MALLORY });
        house.remote.on(PEER, 'GET', `/event/${grab.eventId}`, { pdus: [grab.pdu] });
        saysIds(house, room, mine, grab);
      },
    ],
    [
      'the power levels are not in it',
      (house, room, mine) => {
        const ids = [...room.currentState, mine].filter(({ pdu }) => pdu.type !== 'm.room.power_levels');
        house.remote.on(PEER, 'GET', '/state_ids/', { pdu_ids: ids.map(({ eventId }) => eventId) });
      },
    ],
  ])('%s ⇒ the whole room is asked for', async (_, say) => {
    const { house, room, mine } = await merged();
    say(house, room, mine);
    says(house, room, mine);
    await house.sweeps.run();
    expect(puts(house)).toBe(2);
    expect(await house.log(room.roomId)).toMatchObject({ needsCatchUp: false });
    expect(await currentTopic(house, room)).toBe(mine.eventId);
  });

  test('does not do where events may be missing', async () => {
    const { house, room, mine, send } = await merged();
    saysIds(house, room, mine);
    const { logs } = house.store;
    const append = logs.append.bind(logs);
    logs.append = () => Promise.reject(new Error('the disk is full'));
    await expect(send(message(room, 'lost', room.latest))).rejects.toThrow();
    logs.append = append;
    says(house, room, mine);
    await house.sweeps.run();
    expect(puts(house)).toBe(2);
  });

  test('brings back what was held', async () => {
    const { house, room, send, since } = await peeked('10', (builder) => builder.member(MALLORY, 'join'));
    const join = room.stateEvent('m.room.member', MALLORY);
    const late = room.make({ type: 'm.room.message', content: { body: 'late' }, sender: MALLORY });
    const ban = room.make({ type: 'm.room.member', stateKey: MALLORY, content: { membership: 'ban' } });
    await send(ban, late, message(room, 'end', ban));
    saysIds(house, room, join);
    await house.sweeps.run();
    expect(puts(house)).toBe(1);
    expect(await since()).toEqual(['member', 'end', 'late']);
  });
});

describe('drift', () => {
  test('is healed when the room is put again: changed, told before, gone', async () => {
    const { house, room, send, since } = await peeked('10', (builder) => {
      builder.state('m.room.name', '', { name: 'old' });
      builder.state('org.example.gone', '', {});
    });
    const device = new TestDevice(house);
    const first = room.state('m.room.topic', '', { topic: 'first' });
    const second = room.state('m.room.topic', '', { topic: 'second' });
    await send(first, second);
    await device.sync();
    const name = room.state('m.room.name', '', { name: 'new' });
    house.remote.on(PEER, 'PUT', `/peek/${room.roomId}/`, () => {
      const answer = room.peekAnswer();
      const state = (answer.state as JsonObject[])
        .filter(({ type }) => type !== 'org.example.gone')
        .map((event) => (event.type === 'm.room.topic' ? first.pdu : event));
      return { ...answer, state };
    });
    house.remote.refuse(PEER, 'POST', '/renew', 404);
    await house.clock.advance(HOUR);
    await house.sweeps.run();
    const section = brief((await device.sync()).peek.get(room.roomId));
    expect(section?.limited).toBe(true);
    expect([...(section?.state ?? []), ...(section?.timeline ?? [])]).toEqual(
      expect.arrayContaining(['topic=first', 'name=new']),
    );
    expect(JSON.stringify(section)).not.toContain('org.example.gone');
    expect(await since()).toEqual(['topic', 'topic', 'name']);
    expect(name.eventId).toBe(
      (await house.store.replicas.stateOf(room.roomId, [['m.room.name', '']]))[0]?.eventId,
    );
    const corrections = (await house.metrics.stateCorrections.get()).values[0]?.value;
    expect(corrections).toBe(3);
  });

  test('an answer that lies behind what we have does not take it back', async () => {
    const { house, room, send } = await peeked();
    const stale = room.peekAnswer();
    const now = room.state('m.room.topic', '', { topic: 'now' });
    await send(now);
    house.remote.on(PEER, 'PUT', `/peek/${room.roomId}/`, stale);
    house.remote.refuse(PEER, 'POST', '/renew', 404);
    await house.clock.advance(HOUR);
    await house.sweeps.run();
    expect(await currentTopic(house, room)).toBe(now.eventId);
  });

  test('a guest who joined in a gap is let speak after it', async () => {
    const { house, room, send, since } = await peeked();
    room.member(GUEST, 'join');
    const spoken = room.message('from a guest', GUEST);
    house.remote.on(PEER, 'GET', '/event_auth/', {
      auth_chain: [room.stateEvent('m.room.member', GUEST).pdu],
    });
    await send(spoken);
    expect(await since()).toEqual([]);
    await house.sweeps.run();
    expect(await since()).toEqual(['member', 'from a guest']);
  });
});
