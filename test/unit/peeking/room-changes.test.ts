import { describe, expect, test, vi } from 'vitest';
import type { Identity } from '../../../src/homeserver/homeserver.ts';
import { ALICE, brief, PEER, PeekingHouse, TestDevice } from '../../support/peeking-house.ts';
import { RoomBuilder } from '../../support/room-builder.ts';

const BOB: Identity = { userId: '@bob:here.test', deviceId: 'TABLET', isGuest: false };
const OTHER = 'other.test';

async function peeked(kind: 'resident' | 'remote') {
  const house = await PeekingHouse.open();
  const room = kind === 'remote' ? house.remoteRoom(new RoomBuilder()) : house.resident(new RoomBuilder());
  const [alice, bob] = [new TestDevice(house), new TestDevice(house, BOB)];
  await house.peek(room.roomId);
  await house.peek(room.roomId, BOB);
  await alice.sync();
  await bob.sync();
  /** What is new in the room reaches us. */
  const arrive = async (from = room.events.length - 1) => {
    if (kind === 'remote') await house.ingest(room, room.events.slice(from));
    await house.settle();
    await house.settle();
  };
  return { house, room, alice, bob, arrive };
}

describe('the room’s ACL denies us', () => {
  test('in a remote room: the peek ends honestly, with the event that says so, and is let go', async () => {
    const { house, room, alice, arrive } = await peeked('remote');
    room.state('m.room.server_acl', '', { allow: ['*'], deny: ['here.test'] });
    await arrive();
    const told = await alice.sync();
    expect([told.peek.size, brief(told.leave.get(room.roomId))?.timeline]).toEqual([0, ['server_acl=']]);
    await house.ingest(room, [room.message('not for us')]);
    expect((await alice.sync()).peek.size).toBe(0);
    expect(house.remote.sent('DELETE')).toHaveLength(1);
  });

  test('or others: the peek goes on', async () => {
    const { house, room, alice, arrive } = await peeked('remote');
    room.state('m.room.server_acl', '', { allow: ['*'], deny: ['*.evil.test'] });
    await arrive();
    expect((await alice.sync()).peek.has(room.roomId)).toBe(true);
    expect((await house.log(room.roomId)).closed).toBeNull();
  });

  test('in a room that our homeserver is in: it goes on showing the room, and so do we', async () => {
    const { room, alice, arrive } = await peeked('resident');
    room.state('m.room.server_acl', '', { allow: ['*'], deny: ['here.test'] });
    await arrive();
    expect((await alice.sync()).peek.has(room.roomId)).toBe(true);
  });

  test('among many events at once', async () => {
    const { house, room, arrive } = await peeked('remote');
    const from = room.events.length;
    room.messages(3);
    room.state('m.room.server_acl', '', { allow: [] });
    room.messages(3);
    await arrive(from);
    expect(await house.store.devicePeeks.ofRoom(room.roomId)).toEqual([]);
  });
});

test('the ACL of a room of ours shuts a peeking server out: its peek ends, and it is told so', async () => {
  const { house, room, arrive } = await peeked('resident');
  const { head } = await house.log(room.roomId);
  const now = house.clock.now();
  const times = { createdAt: now, renewedAt: now, expiresAt: now + 1e9 };
  for (const server of ['shut.out.test', 'let.in.test']) {
    const peek = { server, roomId: room.roomId, peekId: `of ${server}`, ...times };
    await house.store.inboundPeeks.put(peek, head, 10);
    house.remote.on(server, 'PUT', '/send/', {});
  }
  room.state('m.room.server_acl', '', { allow: ['*'], deny: ['*.out.test'] });
  await arrive();
  expect(await house.store.inboundPeeks.ofRoom(room.roomId)).toMatchObject([{ server: 'let.in.test' }]);
  const sent = house.remote.calls.filter(
    ({ server, path }) => server === 'shut.out.test' && path.includes('/send/'),
  );
  expect(sent.map(({ body }) => [body.pdus, body.expired_peeks])).toEqual([
    [[], [{ room_id: room.roomId, peek_id: 'of shut.out.test' }]],
  ]);
});

describe.each(['resident', 'remote'] as const)('in a %s room', (kind) => {
  test("peeker's user is banned while peeking ⇒ that user’s peeks end with the ban, the others’ go on", async () => {
    const { house, room, alice, bob, arrive } = await peeked(kind);
    room.state('m.room.member', BOB.userId, { membership: 'ban' });
    await arrive();
    const told = await bob.sync();
    expect(told.peek.size).toBe(0);
    expect(brief(told.leave.get(room.roomId))?.timeline).toEqual([`member ${BOB.userId}=ban`]);
    room.message('after');
    await arrive();
    expect((await bob.sync()).peek.size).toBe(0);
    expect(brief((await alice.sync()).peek.get(room.roomId))?.timeline).toEqual([
      `member ${BOB.userId}=ban`,
      'after',
    ]);
    expect(await house.store.devicePeeks.ofRoom(room.roomId)).toMatchObject([{ userId: ALICE.userId }]);
  });

  test('a room upgrade: the tombstone is shown, and the old room’s peek goes on', async () => {
    const { room, alice, arrive } = await peeked(kind);
    room.state('m.room.tombstone', '', { body: 'moved', replacement_room: '!new:there.test' });
    await arrive();
    expect(brief((await alice.sync()).peek.get(room.roomId))?.timeline).toEqual(['tombstone=']);
    room.message('still here');
    await arrive();
    expect(brief((await alice.sync()).peek.get(room.roomId))?.timeline).toEqual(['still here']);
  });
});

describe('the peeked server leaves the room', () => {
  async function twoServers() {
    const house = await PeekingHouse.open();
    const room = house.remoteRoom(new RoomBuilder());
    room.member(`@second:${PEER}`, 'join');
    room.member(`@their:${OTHER}`, 'join');
    const alice = new TestDevice(house);
    await house.peek(room.roomId);
    await alice.sync();
    const through = (server: string) => house.outbound.peeksThrough(room.roomId, server);
    const leave = async (user: string) => {
      await house.ingest(room, [room.member(`@${user}:${PEER}`, 'leave')]);
      await house.settle(5_000);
    };
    return { house, room, alice, through, leave };
  }

  test('with its last user: the room is peeked through a server of its members, in the same log, without a gap', async () => {
    const { house, room, alice, through, leave } = await twoServers();
    house.remoteRoom(room, OTHER);
    await leave('second');
    expect([through(PEER), through(OTHER)]).toEqual([true, false]);
    await leave('creator');
    await vi.waitFor(async () => {
      await house.settle();
      expect([through(PEER), through(OTHER)]).toEqual([false, true]);
    });
    await house.ingest(room, [room.message('through the other', `@their:${OTHER}`)], OTHER);
    expect(brief((await alice.sync()).peek.get(room.roomId))).toMatchObject({
      limited: false,
      timeline: [`member @second:${PEER}=leave`, `member @creator:${PEER}=leave`, 'through the other'],
    });
    expect(house.remote.sent('PUT').at(-1)).toContain(OTHER);
  });

  test('and nobody else lets us: the room stays readable from what is here', async () => {
    const { house, room, alice, through, leave } = await twoServers();
    house.remote.refuse(OTHER, 'PUT', '/peek/', 404, 'M_UNRECOGNIZED');
    await leave('second');
    await leave('creator');
    await house.settle();
    expect(through(PEER)).toBe(true);
    expect(brief((await alice.sync()).peek.get(room.roomId))?.timeline).toHaveLength(2);
    expect((await house.log(room.roomId)).closed).toBeNull();
  });
});
