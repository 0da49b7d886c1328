import { describe, expect, test } from 'vitest';
import type { Identity } from '../../../src/homeserver/homeserver.ts';
import type { MatrixError } from '../../../src/platform/matrix-error.ts';
import { newEntry } from '../../../src/rooms/log-entries.ts';
import { emptiedStoreTests } from '../../support/emptied-store.ts';
import {
  ALICE,
  DAY,
  EXPIRE_AFTER,
  HOUR,
  PEER,
  PeekingHouse,
  TestDevice,
} from '../../support/peeking-house.ts';
import { RoomBuilder } from '../../support/room-builder.ts';

const BOB: Identity = { userId: '@bob:here.test', deviceId: 'TABLET', isGuest: false };

async function refusal(work: Promise<unknown>): Promise<MatrixError> {
  return work.then(
    () => {
      throw new Error('it was accepted');
    },
    (error: MatrixError) => error,
  );
}

describe('a peek', () => {
  test('of something that is neither a room ID nor an alias ⇒ 400 M_INVALID_PARAM', async () => {
    const house = await PeekingHouse.open();
    for (const room of ['', 'room', '@user:here.test', '!', '#', '!:a', '#nodomain', '__proto__']) {
      expect(await refusal(house.peeking.peek(ALICE, room, []))).toMatchObject({
        status: 400,
        errcode: 'M_INVALID_PARAM',
      });
    }
  });

  test('of an unknown alias ⇒ 404 M_NOT_FOUND', async () => {
    const house = await PeekingHouse.open();
    expect(await refusal(house.peeking.peek(ALICE, '#none:here.test', []))).toMatchObject({
      status: 404,
      errcode: 'M_NOT_FOUND',
    });
  });

  test('by alias goes through the servers of the look-up, after those that the client named', async () => {
    const house = await PeekingHouse.open();
    const room = house.remoteRoom(new RoomBuilder('12'), 'third.test');
    house.homeserver.aliases.set('#a:there.test', {
      roomId: room.roomId,
      servers: ['second.test', 'third.test'],
    });
    const { roomId } = await house.peeking.peek(ALICE, '#a:there.test', ['first.test']);
    expect(roomId).toBe(room.roomId);
    expect(house.remote.sent('PUT').map((sent) => sent.split(' ')[0])).toEqual([
      'first.test',
      'second.test',
      'third.test',
    ]);
  });

  test('goes through the servers that were named, those of the alias, those that were learned, that of the room ID', async () => {
    const house = await PeekingHouse.open();
    const room = house.remoteRoom(new RoomBuilder('10'), 'there.test');
    house.homeserver.aliases.set('#a:there.test', { roomId: room.roomId, servers: ['alias.test'] });
    house.learned.learn(room.roomId, ['learned.test'], 'named', 'somebody');
    await house.peeking.peek(ALICE, '#a:there.test', ['named.test']);
    expect(house.remote.sent('PUT').map((sent) => sent.split(' ')[0])).toEqual([
      'named.test',
      'alias.test',
      'learned.test',
      'there.test',
    ]);
  });

  test.each([
    ['the user is already joined', 'join', 400, 'M_BAD_STATE'],
    ["peeker's user is banned", 'ban', 403, 'M_FORBIDDEN'],
  ])('%s ⇒ %s %s %s', async (_, membership, status, errcode) => {
    const house = await PeekingHouse.open();
    const room = house.resident(new RoomBuilder());
    room.state('m.room.member', ALICE.userId, { membership });
    expect(await refusal(house.peeking.peek(ALICE, room.roomId, []))).toMatchObject({ status, errcode });
    expect(await house.store.size()).toBe(0);
  });

  test("peeker's user is banned in a remote room ⇒ 403, and nothing stays", async () => {
    const house = await PeekingHouse.open();
    const room = house.remoteRoom(new RoomBuilder());
    room.state('m.room.member', ALICE.userId, { membership: 'ban' });
    expect(await refusal(house.peeking.peek(ALICE, room.roomId, [PEER]))).toMatchObject({ status: 403 });
    expect(await house.store.size()).toBe(0);
  });

  test('of our own room that is not open, or encrypted ⇒ 403, and no other server is asked', async () => {
    const house = await PeekingHouse.open();
    const shut = house.resident(new RoomBuilder('10', PEER, 'shut'));
    house.homeserver.close(shut.roomId);
    const encrypted = house.resident(new RoomBuilder('10', PEER, 'encrypted'));
    encrypted.state('m.room.encryption', '', { algorithm: 'm.megolm' });
    for (const room of [shut, encrypted]) {
      expect(await refusal(house.peeking.peek(ALICE, room.roomId, [PEER]))).toMatchObject({ status: 403 });
    }
    expect(house.remote.calls).toEqual([]);
  });

  test('while the homeserver is still joining ⇒ 503 with retry_after_ms', async () => {
    const house = await PeekingHouse.open();
    const room = house.resident(new RoomBuilder());
    const held = house.homeserver.rooms.get(room.roomId);
    if (held !== undefined) Object.assign(held, { membership: 'partial', open: false });
    const error = await refusal(house.peeking.peek(ALICE, room.roomId, []));
    expect(error).toMatchObject({ status: 503 });
    expect(error.fields.retry_after_ms).toBeGreaterThan(0);
  });

  test('above the limit of the device ⇒ 429', async () => {
    const house = await PeekingHouse.open({ perDevice: 1 });
    const [one, two] = [1, 2].map((n) => house.resident(new RoomBuilder('10', PEER, `r${n}`)));
    await house.peek(one?.roomId ?? '');
    expect(await refusal(house.peeking.peek(ALICE, two?.roomId ?? '', []))).toMatchObject({ status: 429 });
  });

  test('that is repeated renews it: one peek, a later expiry', async () => {
    const house = await PeekingHouse.open();
    const room = house.resident(new RoomBuilder());
    const first = await house.peeking.peek(ALICE, room.roomId, []);
    await house.settle(HOUR);
    const second = await house.peeking.peek(ALICE, room.roomId, []);
    expect(second.expiresAt - first.expiresAt).toBe(HOUR);
    expect(await house.store.devicePeeks.all()).toHaveLength(1);
  });

  test('of a guest is the user’s, whatever device the guest has', async () => {
    const house = await PeekingHouse.open();
    const room = house.resident(new RoomBuilder());
    await house.peek(room.roomId, { userId: '@g:here.test', deviceId: 'guest', isGuest: true });
    expect(await house.store.devicePeeks.all()).toMatchObject([{ userId: '@g:here.test', deviceId: '' }]);
  });

  test('without a reader goes to remote rooms all the same', async () => {
    const house = await PeekingHouse.open();
    house.homeserver.ready = false;
    const room = house.remoteRoom(new RoomBuilder());
    await house.peek(room.roomId);
    expect(await house.log(room.roomId)).toMatchObject({ feed: 'remote' });
  });
});

describe('an unpeek', () => {
  test('of a room nobody knows ⇒ 404 M_NOT_FOUND; of a known one not peeked ⇒ 400 M_BAD_STATE', async () => {
    const house = await PeekingHouse.open();
    const room = house.resident(new RoomBuilder());
    for (const unknown of ['!x:y.test', 'nonsense', '#alias:here.test']) {
      expect(await refusal(house.peeking.unpeek(ALICE, unknown))).toMatchObject({
        status: 404,
        errcode: 'M_NOT_FOUND',
      });
    }
    await house.peek(room.roomId, BOB);
    const other = { ...BOB, deviceId: 'PHONE' };
    expect(await refusal(house.peeking.unpeek(other, room.roomId))).toMatchObject({
      status: 400,
      errcode: 'M_BAD_STATE',
    });
  });

  test('token of user A, peek of B: ends nothing', async () => {
    const house = await PeekingHouse.open();
    const room = house.resident(new RoomBuilder());
    await house.peek(room.roomId, BOB);
    expect(await refusal(house.peeking.unpeek(ALICE, room.roomId))).toMatchObject({ errcode: 'M_BAD_STATE' });
    expect(await house.store.devicePeeks.ofRoom(room.roomId)).toHaveLength(1);
  });

  test('that comes twice ⇒ 400 the second time', async () => {
    const house = await PeekingHouse.open();
    const room = house.resident(new RoomBuilder());
    await house.peek(room.roomId);
    await house.peeking.unpeek(ALICE, room.roomId);
    expect(await refusal(house.peeking.unpeek(ALICE, room.roomId))).toMatchObject({ errcode: 'M_BAD_STATE' });
  });

  test('of the last device at the moment another one peeks leaves the other a log that lives', async () => {
    const house = await PeekingHouse.open();
    const room = house.remoteRoom(new RoomBuilder());
    await house.peek(room.roomId);
    await Promise.all([
      house.peeking.unpeek(ALICE, room.roomId),
      house.peeking.peek({ ...ALICE, ...BOB }, room.roomId, [PEER]),
    ]);
    await house.settle();
    await house.sweeps.run();
    expect(await house.store.devicePeeks.ofRoom(room.roomId)).toHaveLength(1);
    expect(house.outbound.peeksThrough(room.roomId, PEER)).toBe(true);
    expect((await new TestDevice(house, BOB).sync()).peek.has(room.roomId)).toBe(true);
  });
});

emptiedStoreTests(PeekingHouse.open);

describe('a restart', () => {
  test('goes on where it stood: feeds that are needed run again, from the stored token', async () => {
    const house = await PeekingHouse.open();
    const room = house.resident(new RoomBuilder());
    const device = new TestDevice(house);
    await house.peek(room.roomId);
    await device.sync();
    await house.stop();
    room.messages(3, 'meanwhile');

    const again = await PeekingHouse.on(house.store, house.clock);
    again.homeserver.add(room);
    await again.readers.resume();
    await again.settle();
    expect(again.residentFeeds.isRunning(room.roomId)).toBe(true);
    const later = new TestDevice(again);
    later.read = device.read;
    const timeline = (await later.sync()).peek.get(room.roomId)?.timeline;
    expect(timeline).toMatchObject({
      limited: false,
      events: [0, 1, 2].map((n) => ({ content: { body: `meanwhile ${n}` } })),
    });
  });

  test('ends the peeks of a room whose log was closed just before', async () => {
    const house = await PeekingHouse.open();
    const room = house.resident(new RoomBuilder());
    await house.peek(room.roomId);
    await house.stop();
    await house.store.logs.append(room.roomId, { entries: [], close: { reason: 'visibility' } });
    const again = await PeekingHouse.on(house.store, house.clock);
    await again.readers.resume();
    expect(await again.store.devicePeeks.ofRoom(room.roomId)).toEqual([]);
  });
});

describe('pruning', () => {
  /** How many events are left of a log with `old` events of three days ago and `young` ones of a day ago. */
  async function left(old: number, young: number) {
    const house = await PeekingHouse.open();
    const room = house.resident(new RoomBuilder());
    await house.peek(room.roomId);
    await house.residentFeeds.stop(room.roomId);
    const opened = house.clock.now();
    const entries = Array.from({ length: old + young }, (_, i) =>
      newEntry(
        { eventId: `$${i}`, pdu: { type: 'm.test', content: {}, depth: i }, replaces: null },
        i < old ? opened : opened + 2 * DAY,
        { shown: true, applied: true },
      ),
    );
    await house.store.logs.append(room.roomId, { entries });
    await house.settle(3 * DAY);
    for (let i = 0; i < 10; i++) await house.sweeps.run();
    const log = await house.log(room.roomId);
    return log.head - log.tail + 1;
  }

  test('by age leaves at least a day, and the newest 50 however old', async () => {
    expect(await left(200, 0)).toBe(50);
    expect(await left(120, 80)).toBe(80);
    expect(await left(200, 10)).toBe(50);
  });

  test('by size leaves the newest that have 256 MiB, and measures old events once', async () => {
    const house = await PeekingHouse.open();
    const room = house.resident(new RoomBuilder());
    await house.peek(room.roomId);
    await house.residentFeeds.stop(room.roomId);
    const entries = Array.from({ length: 9000 }, (_, i) =>
      newEntry(
        { eventId: `$${i}`, pdu: { type: 'm.test', content: {}, depth: i }, replaces: null },
        house.clock.now(),
        { shown: true, applied: true },
      ),
    );
    await house.store.logs.append(room.roomId, { entries });
    const { logs } = house.store;
    let measured = 0;
    // Each event as large as may be.
    logs.bytes = async (roomId, first, last) => {
      measured++;
      const { head, tail } = await house.log(roomId);
      return (Math.min(last, head) - Math.max(first, tail) + 1) * 65_536;
    };
    await house.sweeps.run();
    const log = await house.log(room.roomId);
    const left = log.head - log.tail + 1;
    expect(left).toBeLessThanOrEqual(4096);
    expect(left).toBeGreaterThan(4096 - 500);
    const before = measured;
    await house.store.logs.append(room.roomId, {
      entries: entries.slice(0, 600).map((entry, i) => ({ ...entry, eventId: `$later${i}` })),
    });
    await house.sweeps.run();
    expect(measured - before).toBeLessThanOrEqual(3);
    const later = await house.log(room.roomId);
    expect(later.head - later.tail + 1).toBeLessThanOrEqual(4096);
  });

  test('is not stopped by more old events than are looked at in one go', async () => {
    expect(await left(1500, 0)).toBe(50);
  });
});

test('sweeps are done by one process of several, and again when it is gone', async () => {
  const house = await PeekingHouse.open();
  await house.peek(house.resident(new RoomBuilder()).roomId);
  await house.settle(EXPIRE_AFTER);
  await house.store.leases.acquire('sweep', 'another process', 55_000);
  await house.sweeps.run();
  expect(await house.store.devicePeeks.all()).toMatchObject([{ ended: null }]);
  await house.settle(55_000);
  await house.sweeps.run();
  expect(await house.store.devicePeeks.all()).toMatchObject([{ ended: { reason: 'expired' } }]);
});
