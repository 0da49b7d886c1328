import { describe, expect, test } from 'vitest';
import type { Identity } from '../../../src/homeserver/homeserver.ts';
import { brief, EXPIRE_AFTER, PeekingHouse, TestDevice } from '../../support/peeking-house.ts';
import { RoomBuilder } from '../../support/room-builder.ts';

const CAROL: Identity = { userId: '@carol:here.test', deviceId: 'LAPTOP', isGuest: false };

/** Alice peeks into a room of another server; somebody of ours joins it; then Carol peeks into it. */
async function joinedMeanwhile(meanwhile: number) {
  const house = await PeekingHouse.open();
  const room = house.remoteRoom(new RoomBuilder());
  room.message('before');
  const alice = new TestDevice(house);
  await house.peek(room.roomId);
  await alice.sync();
  room.state('m.room.topic', '', { topic: 'meanwhile' });
  room.messages(meanwhile, 'meanwhile');
  house.resident(room);
  await house.peek(room.roomId, CAROL, []);
  return { house, room, alice, carol: new TestDevice(house, CAROL) };
}

describe('a remotely peeked room that our homeserver has joined', () => {
  test('goes on in the same log, fed by the homeserver, without a gap', async () => {
    const { house, room, alice, carol } = await joinedMeanwhile(3);
    expect(await house.log(room.roomId)).toMatchObject({ feed: 'resident', needsCatchUp: false });
    expect(brief((await alice.sync()).peek.get(room.roomId))).toMatchObject({
      limited: false,
      timeline: ['topic=meanwhile', ...[0, 1, 2].map((n) => `meanwhile ${n}`)],
    });
    await carol.sync();
    room.state('m.room.topic', '', { topic: 'after' });
    await house.settle();
    for (const device of [alice, carol]) {
      expect(brief((await device.sync()).peek.get(room.roomId))?.timeline).toEqual(['topic=after']);
    }
    expect(brief((await carol.sync(null, { fullState: true })).peek.get(room.roomId))?.state).toContain(
      'topic=after',
    );
  });

  test('shows a gap where more has happened than the log begins with', async () => {
    const { room, alice } = await joinedMeanwhile(80);
    const section = brief((await alice.sync()).peek.get(room.roomId));
    expect(section?.limited).toBe(true);
    expect(section?.timeline.at(-1)).toBe('meanwhile 79');
    expect(section?.state).toContain('topic=meanwhile');
  });

  test('is let go at the other server; what that one still sends is not taken twice', async () => {
    const { house, room } = await joinedMeanwhile(1);
    const event = room.message('sent by both');
    await house.ingest(room, [event]);
    await house.settle();
    await house.sweeps.run();
    expect(house.remote.sent('DELETE')).toHaveLength(1);
    expect(await house.store.outboundPeeks.all()).toEqual([]);
    const { head } = await house.log(room.roomId);
    const newest = await house.store.logs.readLast(room.roomId, head, 2);
    expect(newest.filter(({ eventId }) => eventId === event.eventId)).toHaveLength(1);
    await house.settle(2 * EXPIRE_AFTER);
    await house.sweeps.run();
    await house.settle(2 * EXPIRE_AFTER);
    await house.sweeps.run();
    expect(await house.store.size()).toBe(0);
  });
});
