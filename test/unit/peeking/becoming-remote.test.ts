import { describe, expect, test, vi } from 'vitest';
import { brief, PEER, PeekingHouse, TestDevice } from '../../support/peeking-house.ts';
import { RoomBuilder } from '../../support/room-builder.ts';

const OURS = '@member:here.test';

/** Verifying what another server answers takes turns of the event loop. */
async function movesOver(house: PeekingHouse, roomId: string): Promise<void> {
  await vi.waitFor(async () => {
    await house.settle();
    expect((await house.log(roomId)).feed).toBe('remote');
  });
}

/** Alice peeks into a room that our homeserver is in, and has its first section. */
async function peeked(old = 0) {
  const house = await PeekingHouse.open();
  const room = house.resident(new RoomBuilder());
  room.member(OURS, 'join');
  room.messages(old, 'old');
  room.state('m.room.topic', '', { topic: 'first' });
  const alice = new TestDevice(house);
  await house.peek(room.roomId);
  await alice.sync();
  const next = async () => brief((await alice.sync()).peek.get(room.roomId));
  /** Our last user goes; the homeserver shows nothing more of the room, not even this event. */
  const leave = async (membership = 'leave', sender = OURS) => {
    const event = room.state('m.room.member', OURS, { membership }, sender);
    const held = house.homeserver.rooms.get(room.roomId);
    if (held !== undefined) held.membership = 'absent';
    return event;
  };
  return { house, room, alice, next, leave };
}

describe('our homeserver’s last user', () => {
  test.each([
    ['leaves', 'leave', OURS],
    ['is kicked', 'leave', '@creator:there.test'],
    ['is banned', 'ban', '@creator:there.test'],
  ])(
    '%s: the log goes on, fed by a server that is still in the room, without a gap',
    async (_, membership, sender) => {
      const { house, room, next, leave } = await peeked();
      house.remoteRoom(room);
      room.message('the last that our homeserver has');
      await house.settle();
      await leave(membership, sender);
      room.state('m.room.topic', '', { topic: 'second' });
      room.message('after the leave');
      await movesOver(house, room.roomId);
      expect(await house.log(room.roomId)).toMatchObject({
        feed: 'remote',
        closed: null,
        needsCatchUp: false,
      });
      expect(house.outbound.peeksThrough(room.roomId, PEER)).toBe(true);
      expect(house.residentFeeds.isRunning(room.roomId)).toBe(false);
      expect(await next()).toMatchObject({
        limited: false,
        timeline: [
          'the last that our homeserver has',
          `member ${OURS}=${membership}`,
          'topic=second',
          'after the leave',
        ],
      });
      await house.ingest(room, [room.state('m.room.topic', '', { topic: 'third' })]);
      expect(await next()).toMatchObject({ limited: false, timeline: ['topic=third'] });
    },
  );

  test('leaves: a device that begins now has the whole state, and the newest events', async () => {
    const { house, room, leave } = await peeked();
    house.remoteRoom(room);
    await leave();
    await movesOver(house, room.roomId);
    await house.ingest(room, [room.state('m.room.topic', '', { topic: 'third' })]);
    const carol = { userId: '@carol:here.test', deviceId: 'LAPTOP', isGuest: false };
    await house.peek(room.roomId, carol);
    const device = new TestDevice(house, carol);
    const section = brief((await device.sync({ room: { timeline: { limit: 1 } } })).peek.get(room.roomId));
    expect(section).toMatchObject({ timeline: ['topic=third'] });
    expect(section?.state).toEqual(
      expect.arrayContaining(['topic=first', `member ${OURS}=leave`, 'create=', 'power_levels=']),
    );
  });

  test('leaves: state from before the log began is no news', async () => {
    const { house, room, next, leave } = await peeked(80);
    house.remoteRoom(room);
    await leave();
    await movesOver(house, room.roomId);
    expect(await next()).toMatchObject({ limited: false, timeline: [`member ${OURS}=leave`] });
  });

  test('leaves, and more has been said than the other server gives: an honest gap', async () => {
    const { house, room, next, leave } = await peeked();
    house.remoteRoom(room);
    await leave();
    room.messages(60, 'unseen');
    await movesOver(house, room.roomId);
    expect(await next()).toMatchObject({ limited: true });
  });

  test('leaves a room in which nobody peeks: nothing is asked, the log goes', async () => {
    const { house, room, leave } = await peeked();
    await house.store.devicePeeks.remove((await house.store.devicePeeks.ofRoom(room.roomId))[0] as never);
    await leave();
    await house.settle();
    expect(house.remote.calls).toEqual([]);
    expect(await house.store.logs.all()).toEqual([]);
  });

  test('leaves, and no server takes us: the peeks end, once in leave', async () => {
    const { house, room, alice, leave } = await peeked();
    house.remote.refuse(PEER, 'PUT', '/peek/', 403, 'M_FORBIDDEN');
    room.message('the last');
    await house.settle();
    await leave();
    await house.settle();
    const told = await alice.sync();
    expect([told.peek.size, brief(told.leave.get(room.roomId))?.timeline]).toEqual([0, ['the last']]);
    const after = await alice.sync();
    expect([after.peek.size, after.leave.size]).toEqual([0, 0]);
  });

  test('leaves, and the others cannot be reached: they are asked again for a minute, then the peeks end', async () => {
    const { house, room, next, leave } = await peeked();
    await leave();
    await house.settle();
    expect((await house.log(room.roomId)).closed).toBeNull();
    house.remoteRoom(room);
    await house.settle(5_000);
    await movesOver(house, room.roomId);
    expect(await next()).toMatchObject({ limited: false, timeline: [`member ${OURS}=leave`] });

    const { house: other, room: lost, alice, leave: leaves } = await peeked();
    await leaves();
    await other.settle();
    for (const pause of [5_000, 15_000, 44_999]) await other.settle(pause);
    expect((await other.log(lost.roomId)).closed).toBeNull();
    await other.settle(1);
    expect((await alice.sync()).leave.has(lost.roomId)).toBe(true);
  });

  test('leaves and is back at once: the homeserver goes on feeding the room', async () => {
    const { house, room, next, leave } = await peeked();
    await leave();
    await house.settle();
    const held = house.homeserver.rooms.get(room.roomId);
    if (held !== undefined) held.membership = 'resident';
    room.member(OURS, 'join');
    await house.settle(5_000);
    await house.settle();
    expect(await house.log(room.roomId)).toMatchObject({ feed: 'resident', closed: null });
    expect(await next()).toMatchObject({
      limited: false,
      timeline: [`member ${OURS}=leave`, `member ${OURS}=join`],
    });
  });

  test('leaves, joins again, leaves again: one log, everything once', async () => {
    const { house, room, next, leave } = await peeked();
    house.remoteRoom(room);
    await leave();
    await movesOver(house, room.roomId);
    await house.ingest(room, [room.message('away')]);
    const held = house.homeserver.rooms.get(room.roomId);
    if (held !== undefined) held.membership = 'resident';
    room.member(OURS, 'join');
    house.becomingResident.suspect(room.roomId);
    await house.settle();
    room.message('back');
    await house.settle();
    await leave();
    await movesOver(house, room.roomId);
    await house.ingest(room, [room.message('away again')]);
    expect(await next()).toMatchObject({
      limited: false,
      timeline: [
        `member ${OURS}=leave`,
        'away',
        `member ${OURS}=join`,
        'back',
        `member ${OURS}=leave`,
        'away again',
      ],
    });
  });

  test('left while we were down', async () => {
    const { house, room, alice, leave } = await peeked();
    await house.stop();
    await leave();
    room.message('after the leave');
    const again = await PeekingHouse.on(house.store, house.clock);
    again.homeserver.add(room).membership = 'absent';
    again.remoteRoom(room);
    await again.readers.resume();
    await movesOver(again, room.roomId);
    const device = new TestDevice(again);
    device.read = alice.read;
    expect(brief((await device.sync()).peek.get(room.roomId))).toMatchObject({
      limited: false,
      timeline: [`member ${OURS}=leave`, 'after the leave'],
    });
  });

  test('leaves: other servers’ peeks into the room end', async () => {
    const { house, room, leave } = await peeked();
    const { head } = await house.log(room.roomId);
    const now = house.clock.now();
    const peek = { server: 'peeker.test', roomId: room.roomId, peekId: 'p', createdAt: now, renewedAt: now };
    await house.store.inboundPeeks.put({ ...peek, expiresAt: now + 1e6 }, head, 10);
    house.remoteRoom(room);
    await leave();
    await movesOver(house, room.roomId);
    expect(await house.store.inboundPeeks.ofRoom(room.roomId)).toEqual([]);
    expect(await house.log(room.roomId)).toMatchObject({ feed: 'remote' });
  });
});

test('those who were heard most in the room are asked first', async () => {
  const { house, room, leave } = await peeked();
  for (const name of ['b.test', 'c.test']) room.member(`@u:${name}`, 'join');
  room.messages(3);
  for (let i = 0; i < 9; i++) room.message(`${i}`, '@u:c.test');
  await house.settle();
  house.remoteRoom(room, 'b.test');
  await leave();
  await house.settle();
  expect(house.remote.sent('PUT').map((sent) => sent.split(' ')[0])).toEqual(['c.test', PEER, 'b.test']);
});
