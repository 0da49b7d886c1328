import fc from 'fast-check';
import { expect, test } from 'vitest';
import { RemoteUnreachable } from '../../../src/remote-servers/remote-servers.ts';
import { HOUR, House, PEER, ROOM } from './house.ts';

const step = fc.oneof(
  fc.record({ do: fc.constant('append' as const), room: fc.nat(2), count: fc.integer({ min: 1, max: 70 }) }),
  fc.record({ do: fc.constant('wait' as const), ms: fc.integer({ min: 0, max: 90_000 }) }),
  fc.record({ do: fc.constant('fail' as const), times: fc.integer({ min: 1, max: 4 }) }),
  fc.record({ do: fc.constant('lose the answer' as const), times: fc.integer({ min: 1, max: 2 }) }),
  fc.record({ do: fc.constant('restart' as const) }),
);

test('whatever fails, every event arrives at least once, first arrivals in the order of their room', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 25 }), async (steps) => {
      const house = await House.open();
      const rooms = [ROOM, '!b:here.test', '!c:here.test'];
      for (const roomId of rooms) {
        house.homeserver.addRoom(roomId);
        await house.put(PEER, 'p', roomId);
      }
      const expected = new Map(rooms.map((roomId) => [roomId, [] as string[]]));
      const arrived = new Map(rooms.map((roomId) => [roomId, new Set<string>()]));
      let failing = 0;
      let losing = 0;
      house.servers.answer = (server, sent) => {
        if (failing-- > 0) throw new RemoteUnreachable(server);
        for (const pdu of sent.pdus) arrived.get(String(pdu.room_id))?.add(String(pdu.type));
        if (losing-- > 0) throw new RemoteUnreachable(server);
        return {};
      };
      let peeks = house.peeks;
      let number = 0;
      for (const each of steps) {
        if (each.do === 'append') {
          const roomId = rooms[each.room] ?? ROOM;
          const types = Array.from({ length: each.count }, () => `t${number++}`);
          expected.get(roomId)?.push(...types);
          await house.append(
            roomId,
            types.map((type) => ({ type, content: {} })),
          );
        } else if (each.do === 'wait') await house.settle(each.ms);
        else if (each.do === 'fail') failing = each.times;
        else if (each.do === 'lose the answer') losing = each.times;
        else {
          await peeks.stop();
          peeks = house.another();
          await peeks.start();
        }
      }
      await house.settle(HOUR);
      await peeks.stop();
      for (const roomId of rooms) expect([...(arrived.get(roomId) ?? [])]).toEqual(expected.get(roomId));
      expect(house.servers.mostAtOnce).toBeLessThanOrEqual(1);
      expect(house.servers.sent.every((sent) => sent.pdus.length <= 50)).toBe(true);
    }),
    { numRuns: 40 },
  );
});
