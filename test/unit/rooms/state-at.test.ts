import { expect, test } from 'vitest';
import type { JsonObject } from '../../../src/matrix/json.ts';
import { StateAt } from '../../../src/rooms/state-at.ts';
import { PeekingHouse, TestDevice } from '../../support/peeking-house.ts';
import { RoomBuilder } from '../../support/room-builder.ts';

const value = (state: JsonObject[], type: string, key = '') => {
  const event = state.find((other) => other.type === type && other.state_key === key);
  return event?.content;
};

test.each(['resident', 'remote'] as const)(
  'state at a position of a %s room is the present one with later changes undone',
  async (kind) => {
    const house = await PeekingHouse.open();
    const room = new RoomBuilder();
    room.state('m.room.topic', '', { topic: 'first' });
    if (kind === 'resident') house.resident(room);
    else house.remoteRoom(room);
    await house.peek(room.roomId);
    const before = (await house.log(room.roomId)).head;

    const later = [
      room.state('m.room.topic', '', { topic: 'second' }),
      room.state('m.room.name', '', { name: 'new' }),
      room.state('m.room.topic', '', { topic: 'third' }),
    ];
    if (kind === 'remote') await house.ingest(room, later);
    await house.settle();

    const log = await house.log(room.roomId);
    expect(log.head).toBe(before + 3);
    const stateAt = new StateAt(house.store, house.homeserver, house.clock);
    const read = (position: number) => stateAt.read(log, position, house.clock.now());
    const atStart = await read(before);
    expect(value(atStart, 'm.room.topic')).toEqual({ topic: 'first' });
    expect(value(atStart, 'm.room.name')).toBeUndefined();
    expect(value(await read(before + 1), 'm.room.topic')).toEqual({ topic: 'second' });
    const atEnd = await read(log.head);
    expect(value(atEnd, 'm.room.topic')).toEqual({ topic: 'third' });
    expect(value(atEnd, 'm.room.name')).toEqual({ name: 'new' });
    expect(await read(before)).toEqual(atStart);
    expect(Object.keys(atEnd[0] ?? {}).toSorted()).toEqual(
      ['content', 'event_id', 'origin_server_ts', 'sender', 'state_key', 'type', 'unsigned'].toSorted(),
    );
    expect(atEnd.every((event) => !Object.hasOwn(event.unsigned as JsonObject, 'membership'))).toBe(true);
  },
);

test('what the homeserver counts as current before the feed has brought it is undone too', async () => {
  const house = await PeekingHouse.open();
  const room = house.resident(new RoomBuilder());
  room.state('m.room.topic', '', { topic: 'known' });
  await house.peek(room.roomId);
  await house.residentFeeds.stop(room.roomId);
  room.state('m.room.topic', '', { topic: 'ahead' });
  room.state('m.room.name', '', { name: 'ahead' });

  const log = await house.log(room.roomId);
  const state = await new StateAt(house.store, house.homeserver, house.clock).read(log, log.head, 0);
  expect(value(state, 'm.room.topic')).toEqual({ topic: 'known' });
  expect(value(state, 'm.room.name')).toBeUndefined();
});

test('a replaced state event that a non-member may not see is left out: never shown', async () => {
  const house = await PeekingHouse.open();
  const room = house.resident(new RoomBuilder());
  const secret = room.state('m.room.topic', '', { topic: 'secret' });
  await house.peek(room.roomId);
  const position = (await house.log(room.roomId)).head;
  room.state('m.room.topic', '', { topic: 'open' });
  await house.settle();
  house.homeserver.invisible.add(secret.eventId);
  const state = await new StateAt(house.store, house.homeserver, house.clock).read(
    await house.log(room.roomId),
    position,
    0,
  );
  expect(value(state, 'm.room.topic')).toBeUndefined();
});

test('`__proto__`, `constructor`, `toJSON`, `hasOwnProperty` as type and state_key are slots like any other', async () => {
  const house = await PeekingHouse.open();
  const room = house.remoteRoom(new RoomBuilder());
  const names = ['__proto__', 'constructor', 'toJSON', 'hasOwnProperty'];
  for (const name of names) room.state(name, name, { topic: 'one' });
  await house.peek(room.roomId);
  const position = (await house.log(room.roomId)).head;
  await house.ingest(
    room,
    names.map((name) => room.state(name, name, { topic: 'two' })),
  );
  const log = await house.log(room.roomId);
  const stateAt = new StateAt(house.store, house.homeserver, house.clock);
  for (const name of names) {
    expect(value(await stateAt.read(log, position, 0), name, name)).toEqual({ topic: 'one' });
    expect(value(await stateAt.read(log, log.head, 0), name, name)).toEqual({ topic: 'two' });
  }
});

test.each(['resident', 'remote'] as const)(
  'a member event that was not world_readable when sent and is not current state ⇒ never shown (%s)',
  async (kind) => {
    const house = await PeekingHouse.open();
    const room = new RoomBuilder();
    room.state('m.room.history_visibility', '', { history_visibility: 'shared' });
    const secret = room.member('@guest:there.test', 'join', { displayname: 'not for everybody' });
    room.state('m.room.history_visibility', '', { history_visibility: 'world_readable' });
    room.member('@other:there.test', 'join');
    house.homeserver.invisible.add(secret.eventId);
    if (kind === 'resident') house.resident(room);
    else house.remoteRoom(room);
    const device = new TestDevice(house);
    await house.peek(room.roomId);
    const first = (await device.sync()).peek.get(room.roomId);
    // While it is part of the current state, it is shown as that.
    expect(JSON.stringify(first?.state)).toContain('not for everybody');
    expect(JSON.stringify(first?.timeline)).not.toContain('not for everybody');

    const before = (await house.log(room.roomId)).head;
    const later = [room.member('@guest:there.test', 'leave'), room.member('@other:there.test', 'leave')];
    if (kind === 'remote') await house.ingest(room, later);
    await house.settle();
    const log = await house.log(room.roomId);
    const earlier = await new StateAt(house.store, house.homeserver, house.clock).read(log, before, 0);
    expect(value(earlier, 'm.room.member', '@guest:there.test')).toBeUndefined();
    expect(value(earlier, 'm.room.member', '@other:there.test')).toMatchObject({ membership: 'join' });
    for (const fullState of [false, true]) {
      const again = await new TestDevice(house).sync(null, { fullState });
      expect(JSON.stringify([...again.peek.values()])).not.toContain('not for everybody');
    }
  },
);
