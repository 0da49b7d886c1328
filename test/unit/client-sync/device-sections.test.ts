import { describe, expect, test } from 'vitest';
import { parseRemoteHistoryToken } from '../../../src/client-view/history-token.ts';
import type { JsonObject } from '../../../src/matrix/json.ts';
import { ALICE, brief, DAY, PEER, PeekingHouse, TestDevice } from '../../support/peeking-house.ts';
import { RoomBuilder } from '../../support/room-builder.ts';

async function residentRoom(messages = 3) {
  const house = await PeekingHouse.open();
  const room = house.resident(new RoomBuilder());
  room.state('m.room.topic', '', { topic: 'first' });
  room.messages(messages, 'old');
  await house.peek(room.roomId);
  return { house, room, device: new TestDevice(house) };
}

const numbered = (from: number, to: number, prefix: string) =>
  Array.from({ length: to - from }, (_, i) => `${prefix} ${from + i}`);

describe('a first section', () => {
  test('has the newest 20 events, and the state before them', async () => {
    const { device, room } = await residentRoom(30);
    const section = brief((await device.sync()).peek.get(room.roomId));
    expect(section).toEqual({
      timeline: numbered(10, 30, 'old'),
      state: [
        'create=',
        'history_visibility=world_readable',
        'join_rules=',
        'member @creator:there.test=join',
        'power_levels=',
        'topic=first',
      ],
      limited: true,
    });
  });

  test('does not repeat in the state what is in the timeline', async () => {
    const { device, room } = await residentRoom();
    const section = brief((await device.sync()).peek.get(room.roomId));
    expect(section?.state).toEqual([]);
    expect(section?.timeline[0]).toBe('create=');
  });

  test('is the same again when its answer was lost, whatever happened meanwhile', async () => {
    const { house, room, device } = await residentRoom(30);
    device.read = new Map();
    const first = await device.lostSync();
    room.messages(5, 'new');
    room.state('m.room.topic', '', { topic: 'second' });
    await house.settle(1000);
    const again = await device.sync();
    expect(brief(again.peek.get(room.roomId))).toEqual(brief(first.peek.get(room.roomId)));
    expect(brief((await device.sync()).peek.get(room.roomId))?.timeline).toEqual([
      ...numbered(0, 5, 'new'),
      'topic=second',
    ]);
    expect((await device.sync()).peek.size).toBe(0);
  });

  test('is fresh for each request without since: such a device begins anew', async () => {
    const { house, room, device } = await residentRoom(30);
    await device.lostSync();
    room.messages(1, 'new');
    await house.settle(1000);
    expect(brief((await device.sync()).peek.get(room.roomId))?.timeline.at(-1)).toBe('new 0');
    expect((await device.sync()).peek.size).toBe(0);
  });

  test('takes the filter’s limit', async () => {
    const { device, room } = await residentRoom(30);
    const section = (await device.sync({ room: { timeline: { limit: 2 } } })).peek.get(room.roomId);
    expect(brief(section)?.timeline).toEqual(['old 28', 'old 29']);
  });

  test('with a limit of 0 is the state alone', async () => {
    const { device, room } = await residentRoom();
    const section = (await device.sync({ room: { timeline: { limit: 0 } } })).peek.get(room.roomId);
    expect(brief(section)).toMatchObject({ timeline: [], limited: true });
    expect(brief(section)?.state).toContain('topic=first');
  });

  test('of a filter that does not want the room is not sent, and the room stays quiet', async () => {
    const { house, device, room } = await residentRoom();
    const not = { room: { not_rooms: [room.roomId] } };
    expect((await device.sync(not)).peek.size).toBe(0);
    room.message('new');
    await house.settle();
    expect((await device.sync(not)).peek.size).toBe(0);
  });

  test('with state after (MSC4222) has the state at its end', async () => {
    const { device, room } = await residentRoom();
    const section = (await device.sync(null, { stateName: 'org.matrix.msc4222.state_after' })).peek.get(
      room.roomId,
    ) as JsonObject;
    expect(Object.keys(section).toSorted()).toEqual([
      'ephemeral',
      'org.matrix.msc4222.state_after',
      'timeline',
    ]);
    expect(brief(section)?.state).toContain('topic=first');
  });
});

describe('a next section', () => {
  test('has what is new, once, in order; without news there is none', async () => {
    const { house, room, device } = await residentRoom();
    await device.sync();
    room.messages(3, 'new');
    await house.settle();
    expect(brief((await device.sync()).peek.get(room.roomId))).toEqual({
      timeline: numbered(0, 3, 'new'),
      state: [],
      limited: false,
    });
    expect((await device.sync()).peek.size).toBe(0);
  });

  test('is the same for the same token', async () => {
    const { house, room, device } = await residentRoom();
    await device.sync();
    room.message('new');
    await house.settle();
    const one = await device.lostSync();
    expect(await device.lostSync()).toEqual(one);
  });

  test('above the limit is limited, with the state between', async () => {
    const { house, room, device } = await residentRoom();
    await device.sync();
    room.state('m.room.topic', '', { topic: 'second' });
    room.messages(60, 'new');
    await house.settle();
    expect(brief((await device.sync()).peek.get(room.roomId))).toEqual({
      timeline: numbered(10, 60, 'new'),
      state: ['topic=second'],
      limited: true,
    });
  });

  test('behind the pruned end is limited, with the full state', async () => {
    const { house, room, device } = await residentRoom();
    await device.sync();
    room.state('m.room.topic', '', { topic: 'second' });
    room.messages(9, 'new');
    await house.settle();
    await house.store.logs.prune(room.roomId, (await house.log(room.roomId)).head - 1);
    const section = brief((await device.sync()).peek.get(room.roomId));
    expect(section).toMatchObject({ timeline: ['new 7', 'new 8'], limited: true });
    expect(section?.state).toEqual(expect.arrayContaining(['create=', 'topic=second', 'power_levels=']));
  });

  test('full_state repeats every active peek in full, once asked', async () => {
    const { room, device } = await residentRoom();
    await device.sync();
    const section = brief((await device.sync(null, { fullState: true })).peek.get(room.roomId));
    expect(section).toMatchObject({ timeline: [], limited: false });
    expect(section?.state).toContain('topic=first');
    expect((await device.sync()).peek.size).toBe(0);
  });

  test('lazy members: brings the sender’s member event with a timeline', async () => {
    const { house, room, device } = await residentRoom();
    room.member('@talker:there.test', 'join');
    room.member('@silent:there.test', 'join');
    await house.settle();
    await device.sync();
    room.message('hello', '@talker:there.test');
    await house.settle();
    const filter = { room: { state: { lazy_load_members: true } } };
    expect(brief((await device.sync(filter)).peek.get(room.roomId))?.state).toEqual([
      'member @talker:there.test=join',
    ]);
  });

  test('hidden entries are never shown', async () => {
    const { house, room, device } = await residentRoom();
    await device.sync();
    const hidden = room.add({ type: 'org.matrix.dummy_event', content: {} });
    house.homeserver.invisible.add(hidden.eventId);
    room.message('new', ALICE.userId);
    await house.settle();
    expect(await house.store.logs.positions(room.roomId, [hidden.eventId])).toHaveProperty('size', 1);
    expect(brief((await device.sync()).peek.get(room.roomId))?.timeline).toEqual(['new']);
  });

  test('dummy events of a remote room are kept from devices, as homeservers keep them', async () => {
    const house = await PeekingHouse.open();
    const room = house.remoteRoom(new RoomBuilder());
    const device = new TestDevice(house);
    await house.peek(room.roomId);
    await device.sync();
    const dummy = room.add({ type: 'org.matrix.dummy_event', content: {} });
    await house.ingest(room, [dummy, room.message('new')]);
    expect(await house.store.logs.positions(room.roomId, [dummy.eventId])).toHaveProperty('size', 1);
    expect(brief((await device.sync()).peek.get(room.roomId))).toMatchObject({
      timeline: ['new'],
      limited: false,
    });
  });

  test('typing, receipts, presence, to-device, account data never in peek section: timeline and state, and an empty place for the ephemeral', async () => {
    const { room, device } = await residentRoom();
    const section = (await device.sync()).peek.get(room.roomId) as JsonObject;
    expect(Object.keys(section).toSorted()).toEqual(['ephemeral', 'state', 'timeline']);
    expect(section.ephemeral).toEqual({ events: [] });
    expect(Object.keys(section.timeline as JsonObject).toSorted()).toEqual([
      'events',
      'limited',
      'prev_batch',
    ]);
  });
});

describe('prev_batch', () => {
  test('of a resident room is the homeserver’s token before the first event of the timeline', async () => {
    const { house, room, device } = await residentRoom(30);
    const timeline = (await device.sync()).peek.get(room.roomId)?.timeline as JsonObject;
    const { start } = await house.homeserver.context(
      room.roomId,
      String((timeline.events as JsonObject[])[0]?.event_id),
      0,
    );
    expect(timeline.prev_batch).toBe(start);
  });

  test('of a resident room without a gap is the token that the device came with', async () => {
    const { house, room, device } = await residentRoom();
    await device.sync();
    room.message('new');
    await house.settle();
    const timeline = (await device.sync()).peek.get(room.roomId)?.timeline as JsonObject;
    expect(timeline.prev_batch).toBe('s0');
  });

  test('of a remote room is ours', async () => {
    const house = await PeekingHouse.open();
    const room = house.remoteRoom(new RoomBuilder());
    await house.peek(room.roomId);
    const timeline = (await new TestDevice(house).sync()).peek.get(room.roomId)?.timeline as JsonObject;
    expect(timeline.prev_batch).toMatch(/^PEEK-[\w~-]+$/);
    const [first] = timeline.events as JsonObject[];
    expect(parseRemoteHistoryToken(String(timeline.prev_batch))).toMatchObject({
      position: (await house.log(room.roomId)).tail - 1,
      beside: { eventId: first?.event_id, side: 'after' },
    });
  });
});

describe('an ended peek', () => {
  test('is told once in leave, with what it was still owed', async () => {
    const { house, room, device } = await residentRoom();
    await device.sync();
    room.message('owed');
    await house.settle();
    await house.peeking.unpeek(ALICE, room.roomId);
    room.message('not owed');
    await house.settle();
    const told = await device.lostSync();
    expect(brief(told.leave.get(room.roomId))).toMatchObject({ timeline: ['owed'] });
    expect(told.peek.size).toBe(0);
    expect(await device.sync()).toEqual(told);
    const after = await device.sync();
    expect([after.leave.size, after.peek.size, after.read.size]).toEqual([0, 0, 0]);
    expect(await house.store.devicePeeks.all()).toEqual([]);
  });

  test('with nothing owed is an empty object in leave', async () => {
    const { house, room, device } = await residentRoom();
    await device.sync();
    await house.peeking.unpeek(ALICE, room.roomId);
    expect((await device.sync()).leave.get(room.roomId)).toEqual({});
  });

  test('that was never delivered is told to nobody', async () => {
    const { house, room, device } = await residentRoom();
    await house.peeking.unpeek(ALICE, room.roomId);
    const answer = await device.sync();
    expect([answer.leave.size, answer.peek.size]).toEqual([0, 0]);
  });

  test('and begun again between two syncs is new: in peek with all its state, not in leave too', async () => {
    const { house, room, device } = await residentRoom();
    await device.sync();
    await house.peeking.unpeek(ALICE, room.roomId);
    room.message('between');
    await house.peek(room.roomId);
    const answer = await device.sync();
    expect(brief(answer.peek.get(room.roomId))).toMatchObject({ limited: true });
    expect(brief(answer.peek.get(room.roomId))?.timeline).toContain('between');
    expect(answer.leave.size).toBe(0);
    expect(answer.read.size).toBe(1);
    await device.sync();
    expect((await house.store.devicePeeks.all()).map(({ ended }) => ended)).toEqual([null]);
  });

  test('by expiry is told like any other', async () => {
    const { house, room, device } = await residentRoom();
    await device.sync();
    await house.settle(8 * DAY);
    await house.sweeps.run();
    expect((await device.sync()).leave.get(room.roomId)).toEqual({});
  });

  test('of a room that our homeserver has left is told, though the room cannot be read any more', async () => {
    const { house, room, device } = await residentRoom();
    await device.sync();
    room.messages(60, 'last');
    await house.settle();
    house.remote.refuse(PEER, 'PUT', '/peek/', 403, 'M_FORBIDDEN');
    const kept = house.homeserver.rooms.get(room.roomId);
    if (kept !== undefined) kept.membership = 'absent';
    await house.settle();
    await house.becomingRemote.left(room.roomId);
    const section = brief((await device.sync()).leave.get(room.roomId));
    expect(section).toMatchObject({ limited: true });
    expect(section?.timeline.at(-1)).toBe('last 59');
  });
});

describe('visibility', () => {
  test('visibility world_readable → shared while peeking: no later event leaves, peek ends, client told', async () => {
    const { house, room, device } = await residentRoom();
    await device.sync();
    room.message('seen');
    room.state('m.room.history_visibility', '', { history_visibility: 'shared' });
    room.message('unseen');
    await house.settle();
    const answer = await device.sync();
    expect(brief(answer.leave.get(room.roomId))?.timeline).toEqual(['seen', 'history_visibility=shared']);
    expect(answer.peek.size).toBe(0);
    expect((await device.sync()).leave.size).toBe(0);
  });

  test('peek visible to other device/user of same account? no', async () => {
    const { house } = await residentRoom();
    const laptop = new TestDevice(house, { ...ALICE, deviceId: 'LAPTOP' });
    const bob = new TestDevice(house, { ...ALICE, userId: '@bob:here.test' });
    expect((await laptop.sync()).peek.size).toBe(0);
    expect((await bob.sync()).peek.size).toBe(0);
  });

  test('a room that cannot be read now waits for the next sync, and others are told', async () => {
    const { house, room, device } = await residentRoom();
    const other = house.remoteRoom(new RoomBuilder('10', PEER, 'other'));
    await house.peek(other.roomId);
    house.homeserver.close(room.roomId);
    const answer = await device.sync();
    expect([...answer.peek.keys()]).toEqual([other.roomId]);
    expect(answer.read.size).toBe(1);
  });
});
