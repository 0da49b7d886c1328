import { describe, expect, test, vi } from 'vitest';
import type { Identity } from '../../../src/homeserver/homeserver.ts';
import { RemoteUnreachable } from '../../../src/remote-servers/remote-servers.ts';
import {
  ALICE,
  brief,
  EXPIRE_AFTER,
  HOUR,
  type HouseOptions,
  PEER,
  PeekingHouse,
  TestDevice,
} from '../../support/peeking-house.ts';
import { RoomBuilder } from '../../support/room-builder.ts';

const BOB: Identity = { userId: '@bob:here.test', deviceId: 'TABLET', isGuest: false };
const DORMANT_AFTER = 10 * 60_000;

const open = (options: HouseOptions = {}) => PeekingHouse.open({ dormantAfterMs: DORMANT_AFTER, ...options });

type Kind = 'resident' | 'remote';
const KINDS = ['resident', 'remote'] as const;

function make(house: PeekingHouse, kind: Kind, name = 'room'): RoomBuilder {
  const room = new RoomBuilder('10', PEER, name);
  return kind === 'resident' ? house.resident(room) : house.remoteRoom(room);
}

/** A room that Alice's device has peeked into and read. */
async function peeked(kind: Kind, options: HouseOptions = {}) {
  const house = await open(options);
  const room = make(house, kind);
  const device = new TestDevice(house);
  await house.peek(room.roomId);
  await device.sync();
  await device.sync();
  return { house, room, device };
}

/** … and that sleeps now. */
async function asleep(kind: Kind, options: HouseOptions = {}) {
  const all = await peeked(kind, options);
  await pass(all.house, DORMANT_AFTER);
  return all;
}

async function pass(house: PeekingHouse, ms: number): Promise<void> {
  await house.settle(ms);
  await house.sweeps.run();
  await house.settle();
}

/** What happens in the room, at whichever server it is. */
async function happens(house: PeekingHouse, kind: Kind, room: RoomBuilder, count: number, text: string) {
  const events = room.messages(count, text);
  if (kind === 'remote') await house.ingest(room, events);
  await house.settle();
}

/** What the last sync has woken is awake, and what it missed is read. */
function woken(house: PeekingHouse, room: RoomBuilder): Promise<void> {
  return vi.waitFor(async () => {
    await house.settle();
    expect((await house.log(room.roomId)).asleep).toBeNull();
  });
}

const isFed = (house: PeekingHouse, kind: Kind, roomId: string) =>
  kind === 'resident' ? house.residentFeeds.isRunning(roomId) : house.outbound.isPeeked(roomId);
const puts = (house: PeekingHouse) => house.remote.sent('PUT').map((sent) => sent.split(' ')[0]);

describe.each(KINDS)('a device that does not sync for so long (%s)', (kind) => {
  test('⇒ its peek is dormant, and nothing feeds the room on its account', async () => {
    const { house, room } = await peeked(kind);
    await pass(house, DORMANT_AFTER - 1);
    expect(await house.store.devicePeeks.all()).toMatchObject([{ dormantSince: null }]);
    expect(isFed(house, kind, room.roomId)).toBe(true);
    await pass(house, 1);
    expect(await house.store.devicePeeks.all()).toMatchObject([
      { dormantSince: house.clock.now(), ended: null },
    ]);
    expect(isFed(house, kind, room.roomId)).toBe(false);
    expect(house.remote.sent('DELETE')).toHaveLength(kind === 'remote' ? 1 : 0);
    expect(await house.store.outboundPeeks.all()).toEqual([]);
    expect(await house.log(room.roomId)).toMatchObject({ asleep: { via: kind === 'remote' ? [PEER] : [] } });
  });

  test('⇒ the room goes on while another device is awake, and the sleeper misses nothing', async () => {
    const { house, room, device } = await peeked(kind);
    await house.peek(room.roomId, BOB);
    const other = new TestDevice(house, BOB);
    for (let i = 0; i < 6; i++) {
      await pass(house, DORMANT_AFTER / 4);
      await other.sync();
    }
    expect((await house.store.devicePeeks.ofRoom(room.roomId)).map((peek) => peek.dormantSince)).toEqual(
      expect.arrayContaining([null, expect.any(Number)]),
    );
    await happens(house, kind, room, 2, 'while Alice slept');
    const section = brief((await device.sync()).peek.get(room.roomId));
    expect(section).toMatchObject({
      timeline: ['while Alice slept 0', 'while Alice slept 1'],
      limited: false,
    });
    expect(house.remote.sent('DELETE')).toEqual([]);
  });

  test('and wakes up to a room in which nothing was said ⇒ nothing is told, and it is fed again', async () => {
    const { house, room, device } = await asleep(kind);
    expect((await device.sync()).peek.size).toBe(0);
    await woken(house, room);
    expect(isFed(house, kind, room.roomId)).toBe(true);
    expect(await house.log(room.roomId)).toMatchObject({ asleep: null, needsCatchUp: false });
    expect((await device.sync()).peek.size).toBe(0);
    await happens(house, kind, room, 1, 'good morning');
    expect(brief((await device.sync()).peek.get(room.roomId))).toMatchObject({
      timeline: ['good morning 0'],
      limited: false,
    });
  });

  test('and wakes up to a room in which much was said ⇒ limited, with the newest events and the whole state', async () => {
    const { house, room, device } = await asleep(kind);
    room.messages(700, 'missed');
    room.state('m.room.topic', '', { topic: 'Changed' });
    const [last] = room.messages(1, 'the last of them');
    // It is not waited for: what there is goes out, and the rest comes with the next answer.
    expect((await device.sync()).peek.size).toBe(0);
    await woken(house, room);
    const section = brief((await device.sync()).peek.get(room.roomId));
    expect(section?.limited).toBe(true);
    expect(section?.timeline.at(-1)).toBe('the last of them 0');
    expect(section?.timeline).not.toContain('missed 0');
    expect([...(section?.state ?? []), ...(section?.timeline ?? [])]).toContain('topic=Changed');
    expect(section?.state).toContain('create=');
    expect(last).toBeDefined();
    await happens(house, kind, room, 1, 'and on');
    expect(brief((await device.sync()).peek.get(room.roomId))).toMatchObject({
      timeline: ['and on 0'],
      limited: false,
    });
  });

  test('and sleeps twice ⇒ what the first sleep left out is not told after the second', async () => {
    const { house, room, device } = await asleep(kind);
    room.messages(600, 'left out');
    await device.sync();
    await woken(house, room);
    expect(brief((await device.sync()).peek.get(room.roomId))?.limited).toBe(true);
    await pass(house, DORMANT_AFTER);
    room.messages(60, 'second');
    await device.sync();
    await woken(house, room);
    const told = brief((await device.sync({ room: { timeline: { limit: 1000 } } })).peek.get(room.roomId));
    expect(told?.timeline.at(-1)).toBe('second 59');
    expect(told?.timeline.filter((event) => !event.startsWith('second'))).toEqual([]);
  });

  test('and is woken by /peek ⇒ it is one peek, fed again, with the same place', async () => {
    const { house, room, device } = await asleep(kind);
    await house.peek(room.roomId);
    expect(await house.store.devicePeeks.all()).toMatchObject([{ dormantSince: null }]);
    expect(isFed(house, kind, room.roomId)).toBe(true);
    await happens(house, kind, room, 1, 'again');
    expect(brief((await device.sync()).peek.get(room.roomId))).toMatchObject({ timeline: ['again 0'] });
  });

  test('and is gone for good ⇒ the peek ends, is told once, and the store is empty in the end', async () => {
    const { house, room, device } = await asleep(kind);
    await pass(house, EXPIRE_AFTER - DORMANT_AFTER);
    expect(await house.store.devicePeeks.all()).toMatchObject([{ ended: { reason: 'expired' } }]);
    const told = await device.sync();
    expect([told.leave.get(room.roomId), told.peek.size]).toEqual([{}, 0]);
    expect((await device.sync()).leave.size).toBe(0);
    await pass(house, HOUR);
    expect(await house.store.size()).toBe(0);
  });

  test('and after a restart ⇒ it still sleeps, until it syncs', async () => {
    const { house, room, device } = await asleep(kind);
    await house.stop();
    const again = await PeekingHouse.on(house.store, house.clock, { dormantAfterMs: DORMANT_AFTER });
    if (kind === 'resident') again.resident(room);
    else again.remoteRoom(room);
    await again.readers.resume();
    await again.sweeps.run();
    await again.settle();
    expect(isFed(again, kind, room.roomId)).toBe(false);
    const later = new TestDevice(again);
    later.read = device.read;
    await later.sync();
    await again.settle();
    expect(isFed(again, kind, room.roomId)).toBe(true);
  });

  test('and a crash between its waking and the feeding of the room ⇒ the sweep feeds it', async () => {
    const { house, room } = await asleep(kind);
    const [peek] = await house.store.devicePeeks.all();
    if (peek === undefined) throw new Error('no peek');
    await house.store.devicePeeks.update(peek, { seenAt: house.clock.now(), dormantSince: null });
    expect(isFed(house, kind, room.roomId)).toBe(false);
    await pass(house, 0);
    expect(isFed(house, kind, room.roomId)).toBe(true);
  });

  test('but comes back just as the sweep lets it sleep ⇒ awake, and fed', async () => {
    const { house, room, device } = await peeked(kind);
    await house.settle(DORMANT_AFTER);
    await Promise.all([house.sweeps.run(), device.sync()]);
    await house.settle();
    expect(await house.store.devicePeeks.all()).toMatchObject([{ dormantSince: null }]);
    expect(isFed(house, kind, room.roomId)).toBe(true);
    expect(await house.log(room.roomId)).toMatchObject({ asleep: null });
  });

  test('and a quiet sleep ⇒ the sweeps leave the room alone', async () => {
    const { house } = await asleep(kind);
    const before = [house.remote.calls.length, house.homeserver.calls.length];
    for (let i = 0; i < 8; i++) await pass(house, 2 * 60_000);
    expect([house.remote.calls.length, house.homeserver.calls.length]).toEqual(before);
  });
});

describe('a room that sleeps', () => {
  test.each([
    ['closed', 'm.room.history_visibility', { history_visibility: 'joined' }],
    ['encrypted', 'm.room.encryption', { algorithm: 'm.megolm.v1.aes-sha2' }],
  ])(
    'and was %s meanwhile ⇒ the peek ends, told in leave, with nothing of the room (resident)',
    async (_, type, content) => {
      const { house, room, device } = await asleep('resident');
      room.messages(2, 'not for peekers to catch up with');
      room.state(type, '', content);
      if (type === 'm.room.history_visibility') house.homeserver.close(room.roomId);
      await device.sync();
      await house.settle();
      const told = await device.sync();
      expect([told.peek.size, told.leave.get(room.roomId)]).toEqual([0, {}]);
      await device.sync();
      await pass(house, HOUR);
      expect(await house.store.size()).toBe(0);
    },
  );

  test.each([
    ['403 M_FORBIDDEN', 403, 'M_FORBIDDEN'],
    ['404 M_NOT_FOUND', 404, 'M_NOT_FOUND'],
  ])('and whose server says %s ⇒ the peek ends, told in leave (remote)', async (_, status, errcode) => {
    const { house, room, device } = await asleep('remote');
    house.remote.refuse(PEER, 'PUT', '/peek/', status, errcode);
    await device.sync();
    await house.settle();
    const told = await device.sync();
    expect([told.peek.size, told.leave.get(room.roomId)]).toEqual([0, {}]);
    expect(await house.store.devicePeeks.ofRoom(room.roomId)).toEqual([]);
  });

  test('and whose server is down ⇒ it is read from what is here, and tried again by the sweep', async () => {
    const { house, room, device } = await asleep('remote');
    house.remote.on(PEER, 'PUT', '/peek/', new RemoteUnreachable('down'));
    expect((await device.sync()).leave.size).toBe(0);
    await house.settle();
    expect((await device.sync({}, { fullState: true })).peek.has(room.roomId)).toBe(true);
    const asked = puts(house).length;
    for (let i = 0; i < 3; i++) await pass(house, 15_000);
    expect(puts(house).length).toBe(asked);
    room.messages(1, 'while it was down');
    house.remoteRoom(room);
    await device.sync();
    await pass(house, 60_000);
    await woken(house, room);
    expect(house.outbound.isPeeked(room.roomId)).toBe(true);
    expect(brief((await device.sync()).peek.get(room.roomId))?.timeline).toEqual(['while it was down 0']);
  });

  test('is woken through the servers that were kept, where the one it was peeked through is gone', async () => {
    const house = await open();
    const room = house.remoteRoom(new RoomBuilder());
    house.remoteRoom(room, 'second.test');
    const device = new TestDevice(house);
    await house.peek(room.roomId, ALICE, [PEER, 'second.test']);
    await device.sync();
    await pass(house, DORMANT_AFTER);
    expect(await house.log(room.roomId)).toMatchObject({ asleep: { via: [PEER, 'second.test'] } });
    house.remote.on(PEER, 'PUT', '/peek/', new RemoteUnreachable('gone'));
    await device.sync();
    await house.settle();
    expect(house.outbound.peeksThrough(room.roomId, 'second.test')).toBe(true);
  });

  test('that a stranger among the candidates refuses ends nothing', async () => {
    const house = await open();
    const room = house.remoteRoom(new RoomBuilder());
    const device = new TestDevice(house);
    await house.peek(room.roomId, ALICE, [PEER, 'stranger.test']);
    await device.sync();
    await pass(house, DORMANT_AFTER);
    house.remote.on(PEER, 'PUT', '/peek/', new RemoteUnreachable('down'));
    house.remote.refuse('stranger.test', 'PUT', '/peek/', 403, 'M_FORBIDDEN');
    await device.sync();
    await house.settle();
    expect(await house.store.devicePeeks.ofRoom(room.roomId)).toHaveLength(1);
    expect(await house.log(room.roomId)).toMatchObject({ closed: null });
  });

  test.each(
    KINDS.flatMap(
      (kind) =>
        [
          [kind, 3],
          [kind, 700],
        ] as const,
    ),
  )(
    'and has banned the sleeper ⇒ that peek ends with it, others go on (%s, %s messages ago)',
    async (kind, count) => {
      const { house, room, device } = await peeked(kind);
      await house.peek(room.roomId, BOB);
      const other = new TestDevice(house, BOB);
      await other.sync();
      await pass(house, DORMANT_AFTER);
      expect(isFed(house, kind, room.roomId)).toBe(false);
      room.state('m.room.member', ALICE.userId, { membership: 'ban' });
      room.messages(count, 'without Alice');
      await device.sync();
      await vi.waitFor(async () => {
        await house.settle();
        expect(await house.store.devicePeeks.ofRoom(room.roomId)).toMatchObject([{ userId: BOB.userId }]);
      });
      const told = await device.sync();
      expect([told.peek.size, told.leave.has(room.roomId)]).toEqual([0, true]);
      const shown = brief(told.leave.get(room.roomId))?.timeline ?? [];
      expect(shown.filter((event) => event !== 'member @alice:here.test=ban')).toEqual([]);
      // With Alice gone nobody was awake there; Bob is now.
      const first = await other.sync();
      await woken(house, room);
      const seen = [first, await other.sync()].flatMap(
        ({ peek }) => brief(peek.get(room.roomId))?.timeline ?? [],
      );
      expect(seen).toContain(`without Alice ${count - 1}`);
    },
  );

  test('and that our homeserver has joined meanwhile ⇒ its log goes on as a resident one', async () => {
    const { house, room, device } = await asleep('remote');
    house.resident(room);
    room.messages(3, 'seen at home');
    const asked = puts(house).length;
    await device.sync();
    await house.settle();
    expect(await house.log(room.roomId)).toMatchObject({ feed: 'resident', asleep: null });
    expect(puts(house).length).toBe(asked);
    expect(brief((await device.sync()).peek.get(room.roomId))?.timeline).toEqual(
      [0, 1, 2].map((n) => `seen at home ${n}`),
    );
  });

  test('and that our homeserver has left meanwhile ⇒ it is peeked at another server', async () => {
    const house = await open();
    const room = house.remoteRoom(house.resident(new RoomBuilder()));
    const device = new TestDevice(house);
    await house.peek(room.roomId);
    await device.sync();
    await pass(house, DORMANT_AFTER);
    const held = house.homeserver.rooms.get(room.roomId);
    if (held !== undefined) held.membership = 'absent';
    house.homeserver.close(room.roomId);
    room.messages(2, 'without us');
    await device.sync();
    await house.settle();
    await house.settle();
    expect(await house.log(room.roomId)).toMatchObject({ feed: 'remote', asleep: null });
    expect(house.outbound.peeksThrough(room.roomId, PEER)).toBe(true);
    expect(brief((await device.sync()).peek.get(room.roomId))?.timeline).toContain('without us 1');
  });

  test('is fed as soon as a server peeks into it', async () => {
    const { house, room } = await asleep('resident');
    house.remote.on('peeker.test', 'PUT', '/send/', {});
    room.messages(2, 'before');
    await house.inbound.put('peeker.test', room.roomId, 'theirs', ['10']);
    await house.settle();
    expect(isFed(house, 'resident', room.roomId)).toBe(true);
    expect(await house.log(room.roomId)).toMatchObject({ asleep: null });
    room.messages(1, 'for the server');
    await house.settle();
    const pdus = house.remote.calls.flatMap(({ body }) => (Array.isArray(body.pdus) ? body.pdus : []));
    expect(pdus.at(-1)).toMatchObject({ content: { body: 'for the server 0' } });
  });
});

test('what the server still owed when the room fell asleep, and sends when it wakes up ⇒ lies in the gap, and is not told as new', async () => {
  const { house, room, device } = await asleep('remote');
  const owed = room.messages(300, 'owed');
  await device.sync();
  await woken(house, room);
  expect(brief((await device.sync()).peek.get(room.roomId))).toMatchObject({ limited: true });
  for (let i = 0; i < 300; i += 50) await house.ingest(room, owed.slice(i, i + 50));
  await happens(house, 'remote', room, 1, 'news');
  expect(brief((await device.sync()).peek.get(room.roomId))).toMatchObject({
    timeline: ['news 0'],
    limited: false,
  });
});

test('a feed that runs in another process ends too, and the room is fed by the one in which its device wakes up', async () => {
  const { house, room, device } = await peeked('resident');
  const other = await PeekingHouse.on(house.store, house.clock, { dormantAfterMs: DORMANT_AFTER });
  other.resident(room);
  await house.clock.advance(DORMANT_AFTER);
  await other.sweeps.run();
  expect(await house.log(room.roomId)).toMatchObject({ asleep: { via: [] } });
  room.messages(1, 'the last that is followed');
  await house.settle();
  expect(house.residentFeeds.isRunning(room.roomId)).toBe(false);

  const later = new TestDevice(other);
  later.read = device.read;
  const first = await later.sync();
  await woken(other, room);
  expect(other.residentFeeds.isRunning(room.roomId)).toBe(true);
  room.messages(1, 'followed again');
  await other.settle();
  const told = [first, await later.sync()].flatMap(
    ({ peek }) => brief(peek.get(room.roomId))?.timeline ?? [],
  );
  expect(told).toEqual(['the last that is followed 0', 'followed again 0']);
});

test('a store that is down while a device wakes up ⇒ the sync is told so, and nothing is asked of others', async () => {
  const { house, device } = await asleep('remote');
  const asked = house.remote.calls.length;
  await house.store.close();
  await expect(device.sync()).rejects.toThrow();
  await house.settle();
  expect(house.remote.calls.length).toBe(asked);
});
