import { describe, expect, test, vi } from 'vitest';
import type { Identity } from '../../src/homeserver/homeserver.ts';
import { RemoteUnreachable } from '../../src/remote-servers/remote-servers.ts';
import {
  ALICE,
  EXPIRE_AFTER,
  HOUR,
  type HouseOptions,
  PEER,
  type PeekingHouse,
  TestDevice,
} from './peeking-house.ts';
import { RoomBuilder } from './room-builder.ts';

const BOB: Identity = { userId: '@bob:here.test', deviceId: 'TABLET', isGuest: false };
/** A server that peeks into a room of ours. */
const PEEKER = 'peeker.test';
/** How long a peek of a server lives that does not renew it, and some to spare. */
const EVICTED_AFTER = HOUR + 2 * 60_000;

/** The ways in which peeks end, on a store that `open` chooses; `empty` looks beneath it, where it can. */
export function emptiedStoreTests(
  open: (options?: HouseOptions) => Promise<PeekingHouse>,
  empty: (house: PeekingHouse) => Promise<void> = async () => {},
): void {
  const expectEmpty = async (house: PeekingHouse) => {
    expect(await house.store.size()).toBe(0);
    await empty(house);
  };

  describe('after all peeks have ended, and the tombstones’ time has passed, the store is empty again', () => {
    const kinds = ['resident', 'remote'] as const;
    const make = (house: PeekingHouse, kind: (typeof kinds)[number], name = 'room') => {
      const room = new RoomBuilder('10', PEER, name);
      return kind === 'resident' ? house.resident(room) : house.remoteRoom(room);
    };

    test.each(kinds)('unpeeked and told (%s)', async (kind) => {
      const house = await open();
      const room = make(house, kind);
      const device = new TestDevice(house);
      await house.peek(room.roomId);
      await device.sync();
      await house.peeking.unpeek(ALICE, room.roomId);
      await device.sync();
      await device.sync();
      await house.settle(2 * 60_000);
      await house.sweeps.run();
      await expectEmpty(house);
      expect(house.residentFeeds.isRunning(room.roomId)).toBe(false);
    });

    test.each(kinds)('unpeeked by a device that never syncs again (%s)', async (kind) => {
      const house = await open();
      const room = make(house, kind);
      await house.peek(room.roomId);
      await new TestDevice(house).sync();
      await house.peeking.unpeek(ALICE, room.roomId);
      await house.settle(EXPIRE_AFTER - 1);
      await house.sweeps.run();
      expect(await house.store.size()).toBeGreaterThan(0);
      await house.settle(1);
      await house.sweeps.run();
      await expectEmpty(house);
    });

    test.each(kinds)('expired, then forgotten (%s)', async (kind) => {
      const house = await open();
      const room = make(house, kind);
      await house.peek(room.roomId);
      await house.settle(EXPIRE_AFTER - 1);
      await house.sweeps.run();
      expect(await house.store.devicePeeks.ofRoom(room.roomId)).toHaveLength(1);
      await house.settle(1);
      await house.sweeps.run();
      expect(await house.store.devicePeeks.ofRoom(room.roomId)).toEqual([]);
      expect(await house.store.devicePeeks.all()).toMatchObject([{ ended: { reason: 'expired' } }]);
      await house.settle(EXPIRE_AFTER);
      await house.sweeps.run();
      await house.sweeps.run();
      await expectEmpty(house);
    });

    test.each(kinds)('slept, woke up again, slept again and expired (%s)', async (kind) => {
      const house = await open({ dormantAfterMs: HOUR });
      const room = make(house, kind);
      const device = new TestDevice(house);
      const isFed = () =>
        kind === 'remote' ? house.outbound.isPeeked(room.roomId) : house.residentFeeds.isRunning(room.roomId);
      const becomes = (fed: boolean) =>
        vi.waitFor(async () => {
          await house.settle();
          expect([isFed(), (await house.log(room.roomId)).asleep === null]).toEqual([fed, fed]);
        });
      await house.peek(room.roomId);
      await device.sync();
      await house.settle(HOUR);
      await house.sweeps.run();
      await becomes(false);
      room.messages(3);
      await device.sync();
      await becomes(true);
      await device.sync();
      await house.settle(HOUR);
      await house.sweeps.run();
      await becomes(false);
      for (let i = 0; i < 2; i++) {
        await house.settle(EXPIRE_AFTER);
        await house.sweeps.run();
      }
      await house.settle();
      await house.sweeps.run();
      await expectEmpty(house);
    });

    test.each(kinds)('the room was closed (%s)', async (kind) => {
      const house = await open();
      const room = make(house, kind);
      const device = new TestDevice(house);
      await house.peek(room.roomId);
      await device.sync();
      const closing = room.state('m.room.history_visibility', '', { history_visibility: 'joined' });
      if (kind === 'remote') await house.ingest(room, [closing]);
      await house.settle();
      expect((await device.sync()).leave.has(room.roomId)).toBe(true);
      await device.sync();
      await house.sweeps.run();
      await expectEmpty(house);
    });

    test('our homeserver left the room, and no other server lets us peek', async () => {
      const house = await open();
      const room = make(house, 'resident');
      house.remote.refuse(PEER, 'PUT', '/peek/', 403, 'M_FORBIDDEN');
      const device = new TestDevice(house);
      await house.peek(room.roomId);
      await device.sync();
      const held = house.homeserver.rooms.get(room.roomId);
      if (held !== undefined) held.membership = 'absent';
      await house.settle();
      await house.settle();
      expect(await house.store.devicePeeks.all()).toMatchObject([{ ended: { reason: 'closed' } }]);
      await device.sync();
      await device.sync();
      await house.sweeps.run();
      await expectEmpty(house);
    });

    test('our homeserver joined the room, and left it again, while it was peeked', async () => {
      const house = await open();
      const room = make(house, 'remote');
      const device = new TestDevice(house);
      await house.peek(room.roomId);
      await device.sync();
      const becomes = (feed: string) =>
        vi.waitFor(async () => {
          await house.settle();
          expect((await house.log(room.roomId)).feed).toBe(feed);
        });
      const held = house.homeserver.add(room);
      house.becomingResident.suspect(room.roomId);
      await becomes('resident');
      held.membership = 'absent';
      room.message('when we had left');
      await becomes('remote');
      await house.peeking.unpeek(ALICE, room.roomId);
      await device.sync();
      await device.sync();
      await house.settle(2 * 60_000);
      await house.sweeps.run();
      await expectEmpty(house);
      expect(house.residentFeeds.isRunning(room.roomId)).toBe(false);
      expect(house.remote.sent('DELETE')).toHaveLength(2);
    });

    test('a peek was refused at the device’s limit', async () => {
      const house = await open({ perDevice: 0 });
      for (const kind of kinds) {
        const room = make(house, kind, kind);
        await expect(house.peeking.peek(ALICE, room.roomId, [PEER])).rejects.toMatchObject({ status: 429 });
      }
      await house.settle(2 * 60_000);
      await house.sweeps.run();
      await expectEmpty(house);
    });

    test('two devices and two rooms, ended in turn', async () => {
      const house = await open();
      const rooms = kinds.map((kind) => make(house, kind, kind));
      for (const { roomId } of rooms) for (const who of [ALICE, BOB]) await house.peek(roomId, who);
      for (const { roomId } of rooms) await house.peeking.unpeek(ALICE, roomId);
      await house.settle(HOUR);
      await house.sweeps.run();
      for (const { roomId } of rooms) expect(await house.store.logs.get(roomId)).not.toBeNull();
      for (const { roomId } of rooms) await house.peeking.unpeek(BOB, roomId);
      await house.settle(EXPIRE_AFTER);
      await house.sweeps.run();
      await expectEmpty(house);
    });

    describe('of a peeking server', () => {
      /** It has the room, and everything in it so far. */
      async function peekedByServer() {
        const house = await open();
        const room = make(house, 'resident');
        house.remote.on(PEEKER, 'PUT', '/send/', {});
        await house.inbound.put(PEEKER, room.roomId, 'theirs', ['10']);
        await house.settle();
        room.message('after the peek');
        await house.settle();
        expect(house.remote.sent('PUT')).toHaveLength(1);
        return { house, room };
      }
      /** Lets time pass in one leap: a sender that waits looks at the clock twice a minute. */
      const pass = (house: PeekingHouse, ms: number) => {
        house.clock.jump(ms);
        return house.settle(60_000);
      };
      const unreachable = (house: PeekingHouse) =>
        house.remote.on(PEEKER, 'PUT', '/send/', new RemoteUnreachable(`${PEEKER} cannot be reached`));

      test('that ended it', async () => {
        const { house, room } = await peekedByServer();
        await house.settle(2 * 60_000);
        await house.inbound.remove(PEEKER, room.roomId, 'theirs');
        await house.settle();
        await expectEmpty(house);
        expect(house.residentFeeds.isRunning(room.roomId)).toBe(false);
      });

      test('that did not renew it, and was told so once', async () => {
        const { house, room } = await peekedByServer();
        await house.settle(EVICTED_AFTER);
        await house.sweeps.run();
        await house.settle();
        const told = house.remote.calls.filter(({ body }) => body.expired_peeks !== undefined);
        expect(told.map(({ body }) => body.expired_peeks)).toEqual([
          [{ room_id: room.roomId, peek_id: 'theirs' }],
        ]);
        await house.sweeps.run();
        await expectEmpty(house);
      });

      test('that did not renew it, and could be told only when it was back', async () => {
        const { house } = await peekedByServer();
        unreachable(house);
        await pass(house, EVICTED_AFTER);
        await house.sweeps.run();
        await pass(house, HOUR);
        expect(await house.store.inboundPeeks.all()).toEqual([]);
        expect(await house.store.size()).toBe(1);
        house.remote.on(PEEKER, 'PUT', '/send/', {});
        await pass(house, HOUR);
        await house.sweeps.run();
        await expectEmpty(house);
      });

      test('whose room closed', async () => {
        const { house, room } = await peekedByServer();
        room.state('m.room.history_visibility', '', { history_visibility: 'joined' });
        await house.settle();
        expect(house.remote.calls.at(-1)?.body.pdus).toMatchObject([{ type: 'm.room.history_visibility' }]);
        await house.sweeps.run();
        await expectEmpty(house);
      });

      test('that went away for ever, owed an event and the word that its peek has ended', async () => {
        const { house, room } = await peekedByServer();
        unreachable(house);
        room.message('never delivered');
        await pass(house, EVICTED_AFTER);
        await house.sweeps.run();
        await pass(house, EXPIRE_AFTER);
        await house.sweeps.run();
        await pass(house, HOUR);
        await house.sweeps.run();
        await expectEmpty(house);
      });

      test('that went away for ever, owed the event that closed the room', async () => {
        const { house, room } = await peekedByServer();
        unreachable(house);
        room.state('m.room.history_visibility', '', { history_visibility: 'joined' });
        await pass(house, EVICTED_AFTER);
        await house.sweeps.run();
        await pass(house, EXPIRE_AFTER);
        await house.sweeps.run();
        await pass(house, HOUR);
        await house.sweeps.run();
        await expectEmpty(house);
      });
    });

    test('a resident, a remote and an inbound peek, ended in turn', async () => {
      const house = await open();
      house.remote.on(PEEKER, 'PUT', '/send/', {});
      const [resident, remote] = [make(house, 'resident', 'ours'), make(house, 'remote', 'theirs')];
      const device = new TestDevice(house);
      for (const { roomId } of [resident, remote]) await house.peek(roomId);
      await house.inbound.put(PEEKER, resident.roomId, 'theirs', ['10']);
      await device.sync();
      resident.messages(3);
      await house.ingest(remote, remote.messages(3));
      await house.settle();
      await device.sync();

      for (const { roomId } of [resident, remote]) await house.peeking.unpeek(ALICE, roomId);
      await house.settle(2 * 60_000);
      await house.sweeps.run();
      expect(await house.store.logs.get(resident.roomId)).not.toBeNull();
      await house.settle(EVICTED_AFTER);
      await house.sweeps.run();
      await house.settle(EXPIRE_AFTER);
      await house.sweeps.run();
      await expectEmpty(house);
    });
  });
}
