import { describe, expect, test } from 'vitest';
import type { Json, JsonObject } from '../../../src/matrix/json.ts';
import { SUPPORTED_ROOM_VERSIONS } from '../../../src/matrix/room-versions.ts';
import { PEER } from '../../support/peeking-house.ts';
import { type BuiltEvent, RoomBuilder } from '../../support/room-builder.ts';
import { changed, peeked, references, servesEvents } from './peeked-room.ts';

const MALLORY = '@mallory:evil.test';
const GUEST = '@guest:else.test';

describe.each(SUPPORTED_ROOM_VERSIONS)('an event of room version %s', (version) => {
  test('whose auth events authorise it is taken, one whose sender is not in the room costs itself', async () => {
    const { room, send, since, count } = await peeked(version);
    const stranger = room.make({ type: 'm.room.message', content: { body: 'stranger' }, sender: MALLORY });
    const joined = room.member(GUEST, 'join');
    const spoken = room.message('guest', GUEST);
    expect(await send(stranger, joined, spoken)).toEqual([
      { eventId: stranger.eventId, error: 'the sender is not in the room' },
      { eventId: joined.eventId, error: null },
      { eventId: spoken.eventId, error: null },
    ]);
    expect(await since()).toEqual(['member', 'guest']);
    expect(await count('eventsDropped', 'reason', 'auth')).toBe(1);
  });

  test('that takes power its sender has not ⇒ rejected, and so is what it would have authorised', async () => {
    const { room, send, since } = await peeked(version, (builder) => builder.member(MALLORY, 'join'));
    const content = { users: { [MALLORY]: 100 } };
    const grab = room.make({ type: 'm.room.power_levels', stateKey: '', content, sender: MALLORY });
    const plain = room.make({ type: 'm.room.topic', stateKey: '', content: {}, sender: MALLORY });
    const auth = (plain.pdu.auth_events as Json[]).filter(
      (id) => !references(room, room.stateEvent('m.room.power_levels')).some((levels) => same(id, levels)),
    );
    const topic = changed(room, plain, {
      auth_events: [...auth, ...references(room, grab)],
      prev_events: references(room, grab),
    });
    await send(grab, { pdu: topic }, room.message('after'));
    expect(await since()).toEqual(['after']);
  });

  test('of somebody who is banned by then, with auth events of before ⇒ held, not shown', async () => {
    const { room, send, since, count } = await peeked(version, (builder) => builder.member(MALLORY, 'join'));
    const late = room.make({ type: 'm.room.message', content: { body: 'late' }, sender: MALLORY });
    const ban = room.state('m.room.member', MALLORY, { membership: 'ban' }, room.creator);
    await send(ban);
    expect(await send(late)).toMatchObject([{ error: null }]);
    expect(await since()).toEqual(['member']);
    expect(await count('heldEvents', 'outcome', 'held')).toBe(1);
  });
});

function same(a: Json, b: Json): boolean {
  return (Array.isArray(a) ? a[0] : a) === (Array.isArray(b) ? b[0] : b);
}

describe('missing/extra `auth_events` types, duplicate, 10 000 of them', () => {
  const make = (room: RoomBuilder) =>
    room.make({ type: 'm.room.message', content: { body: 'bad' }, sender: GUEST });
  const authOf = ({ pdu }: BuiltEvent) => pdu.auth_events as Json[];

  test.each<[string, (room: RoomBuilder, event: BuiltEvent) => Json[]]>([
    ['none at all', () => []],
    ['the create event missing', (room, event) => without(event, room.stateEvent('m.room.create'))],
    [
      'the sender’s membership missing',
      (room, event) => without(event, room.stateEvent('m.room.member', GUEST)),
    ],
    [
      'an extra one of a type that is not selected',
      (room, event) => [...authOf(event), room.stateEvent('m.room.history_visibility').eventId],
    ],
    [
      'an extra one, another user’s membership',
      (room, event) => [...authOf(event), room.stateEvent('m.room.member', room.creator).eventId],
    ],
    ['one of them twice', (_, event) => [...authOf(event), ...authOf(event).slice(0, 1)]],
    ['a message among them', (room, event) => [...authOf(event), room.latest.eventId]],
    ['itself, as it was named before', (_, event) => [...authOf(event), event.eventId]],
    ['10 000 of them', (room) => Array(10_000).fill(room.latest.eventId)],
    ['no event IDs', () => [{}, 7, null]],
  ])('%s ⇒ costs that event and no other', async (_, choose) => {
    const { room, send, since } = await peeked('10', (builder) => builder.member(GUEST, 'join'));
    const event = make(room);
    const bad = changed(room, event, { auth_events: choose(room, event) });
    await send({ pdu: bad }, room.message('good'));
    expect(await since()).toEqual(['good']);
  });

  test('an auth event of another room ⇒ costs that event', async () => {
    const { house, room, send, since } = await peeked('10', (builder) => builder.member(GUEST, 'join'));
    const other = new RoomBuilder('10', PEER, 'other');
    servesEvents(house, other);
    const event = make(room);
    const create = other.stateEvent('m.room.create').eventId;
    const kept = without(event, room.stateEvent('m.room.create'));
    await send({ pdu: changed(room, event, { auth_events: [...kept, create] }) }, room.message('good'));
    expect(await since()).toEqual(['good']);
  });

  test('version 12: the create event is never among them', async () => {
    const { room, send, since } = await peeked('12');
    const event = room.make({ type: 'm.room.message', content: { body: 'bad' } });
    const named = [...authOf(event), room.stateEvent('m.room.create').eventId];
    await send({ pdu: changed(room, event, { auth_events: named }) }, room.message('good'));
    expect(await since()).toEqual(['good']);
  });

  function without(event: BuiltEvent, left: BuiltEvent): Json[] {
    return authOf(event).filter((id) => id !== left.eventId);
  }
});

describe('an auth event that is not held', () => {
  /** A guest whose join nobody has sent us. */
  async function withHiddenJoin() {
    const given = await peeked();
    const { room } = given;
    const join = room.make({
      type: 'm.room.member',
      stateKey: GUEST,
      content: { membership: 'join' },
      sender: GUEST,
    });
    const plain = room.make({ type: 'm.room.topic', stateKey: '', content: {}, sender: GUEST });
    const levels = room.make({
      type: 'm.room.message',
      content: { body: 'from a guest' },
      sender: GUEST,
    });
    const spoken = changed(room, levels, {
      auth_events: [...(plain.pdu.auth_events as Json[]), join.eventId],
    });
    return { ...given, join, spoken };
  }

  test('is asked for in one auth chain, verified, judged, and kept', async () => {
    const { house, room, send, join, spoken } = await withHiddenJoin();
    house.remote.on(PEER, 'GET', '/event_auth/', { auth_chain: [join.pdu] });
    await send({ pdu: spoken });
    expect(house.remote.sent('GET')).toEqual([expect.stringContaining('/event_auth/')]);
    expect(await house.store.replicas.event(room.roomId, join.eventId)).not.toBeNull();
  });

  test('is asked for alone where the chain does not have it', async () => {
    const { house, room, send, join, spoken } = await withHiddenJoin();
    house.remote.on(PEER, 'GET', '/event_auth/', { auth_chain: [room.stateEvent('m.room.create').pdu] });
    house.remote.on(PEER, 'GET', `/event/${join.eventId}`, { pdus: [join.pdu] });
    await send({ pdu: spoken });
    expect(await house.store.replicas.event(room.roomId, join.eventId)).not.toBeNull();
  });

  test.each<[string, (join: JsonObject) => JsonObject]>([
    ['is forged', (join) => ({ ...join, signatures: {} })],
    ['is another', (join) => ({ ...join, depth: 77 })],
  ])('and %s ⇒ the event is not taken, and neither is stored', async (_, forge) => {
    const { house, room, send, since, join, spoken } = await withHiddenJoin();
    house.remote.on(PEER, 'GET', '/event_auth/', { auth_chain: [forge(join.pdu)] });
    house.remote.on(PEER, 'GET', '/event/', { pdus: [forge(join.pdu)] });
    expect(await send({ pdu: spoken })).toMatchObject([{ error: 'an auth event could not be had' }]);
    expect(await since()).toEqual([]);
    expect(await house.store.replicas.event(room.roomId, join.eventId)).toBeNull();
  });

  test('and not to be had now ⇒ the room is marked, and its state is asked for anew', async () => {
    const { house, room, send, count, spoken } = await withHiddenJoin();
    const marked = async () => (await house.log(room.roomId)).needsCatchUp;
    const banned = room.make({ type: 'm.room.message', content: { body: 'x' }, sender: MALLORY });
    await send(banned);
    expect(await marked()).toBe(false);
    await send({ pdu: spoken }, room.message('good'));
    expect(await marked()).toBe(true);
    expect(await count('eventsDropped', 'reason', 'auth')).toBe(2);
    expect(await house.remoteFeed.compare(room.roomId, PEER)).toBe(false);
  });

  test('and not to be had now, of an event that comes alone ⇒ the room is marked too', async () => {
    const { house, room, send, since, spoken } = await withHiddenJoin();
    await send({ pdu: spoken });
    expect((await house.log(room.roomId)).needsCatchUp).toBe(true);
    expect(await since()).toEqual([]);
  });

  test('and not to be had now is asked for again the next time; one that was rejected is not', async () => {
    const { house, room, send, since, join, spoken } = await withHiddenJoin();
    await send({ pdu: spoken });
    house.remote.on(PEER, 'GET', '/event_auth/', { auth_chain: [join.pdu] });
    await send({ pdu: spoken });
    expect(await house.store.replicas.event(room.roomId, join.eventId)).not.toBeNull();

    const stranger = room.make({ type: 'm.room.message', content: { body: 'x' }, sender: MALLORY });
    await send(stranger);
    const asked = house.remote.calls.length;
    expect(await send(stranger)).toMatchObject([{ error: 'it was rejected before' }]);
    expect(house.remote.calls).toHaveLength(asked);
    expect(await since()).not.toContain('x');
  });

  test('nor can be had by the thousand ⇒ at most three chains and fifty events are asked for', async () => {
    const { house, room, send, since } = await peeked();
    house.remote.on(PEER, 'GET', '/event_auth/', { auth_chain: [room.stateEvent('m.room.create').pdu] });
    const bad = Array.from({ length: 49 }, (_, i) => {
      const event = room.make({ type: 'm.room.message', content: { body: `bad ${i}` } });
      const nowhere = Array.from({ length: 9 }, (__, j) => `$${`${i}x${j}`.padEnd(43, 'A')}`);
      return { pdu: changed(room, event, { auth_events: nowhere }) };
    });
    await send(...bad, room.message('good'));
    expect(await since()).toEqual(['good']);
    const asked = house.remote.sent('GET');
    expect(asked.filter((path) => path.includes('/event_auth/'))).toHaveLength(3);
    expect(asked.length).toBeLessThanOrEqual(53);
  });
});
