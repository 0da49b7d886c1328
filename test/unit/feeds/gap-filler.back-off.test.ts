import { expect, test } from 'vitest';
import { PEER, PeekingHouse } from '../../support/peeking-house.ts';
import { RoomBuilder } from '../../support/room-builder.ts';

test('the sender of an event is asked for what is missing before it even while back-off is running', async () => {
  const house = await PeekingHouse.open();
  const room = house.remoteRoom(new RoomBuilder('10', PEER));
  await house.peek(room.roomId);
  const missing = room.message('missing');
  const next = room.message('next');
  const request = house.remote.request.bind(house.remote);
  const asked: unknown[] = [];
  house.remote.on(PEER, 'POST', '/get_missing_events/', { events: [missing.pdu] });
  house.remote.request = (server, sent) => {
    if (sent.path.includes('get_missing_events')) asked.push([server, sent.ignoreBackOff]);
    return request(server, sent);
  };
  await house.ingest(room, [next]);
  expect(asked).toEqual([[PEER, true]]);
  const held = await house.store.logs.read(room.roomId, 0, 100);
  expect(held.slice(-2).map(({ eventId }) => eventId)).toEqual([missing.eventId, next.eventId]);
});
