import { describe, expect, test } from 'vitest';
import type { Peeker } from '../../../src/peeking/peeking.ts';
import type { MatrixError } from '../../../src/platform/matrix-error.ts';
import { ALICE, PEER, PeekingHouse } from '../../support/peeking-house.ts';
import { RoomBuilder } from '../../support/room-builder.ts';

const SECOND = 1_000;

function user(name: string): Peeker {
  return { ...ALICE, userId: `@${name}:here.test`, deviceId: name.toUpperCase() };
}

/** Servers that take every request and never answer. */
function hanging(house: PeekingHouse, name: string, count = 10): string[] {
  const servers = Array.from({ length: count }, (_, i) => `${name}${i}.test`);
  for (const server of servers) house.remote.on(server, 'PUT', '/peek/', () => new Promise(() => {}));
  return servers;
}

/** A peek that is under way, and what has come of it so far. */
function peeking(house: PeekingHouse, who: Peeker, roomId: string, servers: readonly string[]) {
  const ended = house.peeking.peek(who, roomId, servers).then(
    () => 'open' as const,
    (error: MatrixError) => error,
  );
  const attempt: { outcome: 'open' | MatrixError | null; ended: typeof ended } = { outcome: null, ended };
  void ended.then((outcome) => {
    attempt.outcome = outcome;
  });
  return attempt;
}

function asked(house: PeekingHouse): string[] {
  return house.remote.sent('PUT').map((sent) => sent.split(' ')[0] ?? '');
}

describe.each([
  ['whose ID names a server', '10'],
  ['of version 12, whose ID names none', '12'],
])('a room %s', (_what, version) => {
  test('ten servers that never answer, named by one user, keep nobody out who names the right one', async () => {
    const house = await PeekingHouse.open();
    const room = house.remoteRoom(new RoomBuilder(version, 'silent.test'));
    const first = peeking(house, user('mallory'), room.roomId, hanging(house, 'tarpit'));
    await house.settle(4 * SECOND);
    expect(asked(house)).toEqual(['tarpit0.test', 'tarpit1.test']);
    const second = peeking(house, user('bob'), room.roomId, [PEER]);
    // The clock stands still.
    expect([await second.ended, await first.ended]).toEqual(['open', 'open']);
    expect(asked(house)).toEqual(['tarpit0.test', 'tarpit1.test', PEER]);
    expect(await house.outboundPeek(room.roomId)).toMatchObject({ server: PEER, phase: 'live' });
  });
});

test('three attackers, who come again and again, keep nobody out', async () => {
  const house = await PeekingHouse.open();
  const room = house.remoteRoom(new RoomBuilder('12'));
  for (let round = 0; round < 10; round++) {
    for (const name of ['mallory', 'trudy', 'eve']) {
      peeking(house, user(name), room.roomId, hanging(house, `${name}${round}-`));
    }
    await house.settle(6 * SECOND);
  }
  const bob = peeking(house, user('bob'), room.roomId, [PEER]);
  expect(await bob.ended).toBe('open');
});

test('who comes at the end of an attempt has their own time', async () => {
  const house = await PeekingHouse.open();
  const room = house.remoteRoom(new RoomBuilder('12'));
  const slow = async () => {
    await house.clock.sleep(10 * SECOND);
    return room.peekAnswer();
  };
  house.remote.on(PEER, 'PUT', '/peek/', slow);
  const first = peeking(house, user('mallory'), room.roomId, hanging(house, 'tarpit'));
  await house.settle(44 * SECOND);
  const second = peeking(house, user('bob'), room.roomId, [PEER]);
  await house.settle(2 * SECOND);
  expect(first.outcome).toMatchObject({ status: 502 });
  expect(second.outcome).toBeNull();
  await house.settle(9 * SECOND);
  expect(await second.ended).toBe('open');
});

test('each is told of the servers that they named, and no sooner nor later than these have failed', async () => {
  const house = await PeekingHouse.open();
  const { roomId } = new RoomBuilder('12');
  const first = peeking(house, user('mallory'), roomId, hanging(house, 'tarpit', 2));
  await house.settle(SECOND);
  const down = peeking(house, user('bob'), roomId, ['down.test']);
  house.remote.refuse('refusing.test', 'PUT', '/peek/', 403, 'M_FORBIDDEN');
  const refused = peeking(house, user('carol'), roomId, ['refusing.test']);
  expect(await down.ended).toMatchObject({ status: 502, message: expect.stringContaining('down.test') });
  expect(await refused.ended).toMatchObject({ status: 403 });
  expect(first.outcome).toBeNull();
  await house.settle(45 * SECOND);
  expect(await first.ended).toMatchObject({
    status: 502,
    message: expect.stringContaining('tarpit0.test'),
  });
  expect(String(first.outcome)).not.toContain('down.test');
  expect(await house.store.size()).toBe(0);
});

test('what others do in the room meanwhile does not wait', async () => {
  const house = await PeekingHouse.open();
  const { roomId } = new RoomBuilder('12');
  peeking(house, user('mallory'), roomId, hanging(house, 'tarpit'));
  await house.settle(SECOND);
  let released = false;
  void house.readers.release(roomId).then(() => {
    released = true;
  });
  await house.settle();
  expect(released).toBe(true);
});

test('a room that has just been opened is not let go before it is read', async () => {
  const house = await PeekingHouse.open();
  const room = house.remoteRoom(new RoomBuilder('12'));
  const stop = house.store.subscribe((notice) => {
    if (notice.kind === 'log') void house.readers.release(room.roomId);
  });
  await house.peek(room.roomId);
  stop();
  expect(await house.log(room.roomId)).toMatchObject({ feed: 'remote', closed: null });
  expect(await house.outboundPeek(room.roomId)).toMatchObject({ phase: 'live' });
});

test('our homeserver comes into the room while others are asked ⇒ it is fed by the homeserver', async () => {
  const house = await PeekingHouse.open();
  const room = house.remoteRoom(new RoomBuilder('10'));
  house.remote.on(PEER, 'PUT', '/peek/', async () => {
    await house.clock.sleep(10 * SECOND);
    return room.peekAnswer();
  });
  const first = peeking(house, user('bob'), room.roomId, [PEER]);
  await house.settle(SECOND);
  house.resident(room);
  await house.residentFeeds.open(room.roomId);
  await house.settle(10 * SECOND);
  expect(await first.ended).toBe('open');
  expect(await house.log(room.roomId)).toMatchObject({ feed: 'resident' });
});
