import { expect, test } from 'vitest';
import { CatchUpMarks } from '../../../src/federation-api/catch-up-marks.ts';
import { StoreDownError } from '../../../src/store/store.ts';
import { PeekingHouse } from '../../support/peeking-house.ts';
import { RoomBuilder } from '../../support/room-builder.ts';

test('a mark that the store does not take is set when it is back, one timer for all', async () => {
  const house = await PeekingHouse.open();
  const rooms = ['one', 'two'].map((name) => house.remoteRoom(new RoomBuilder('10', 'there.test', name)));
  for (const room of rooms) await house.peek(room.roomId);
  const marks = new CatchUpMarks(house.store, house.clock);
  const { setFeed } = house.store.logs;
  house.store.logs.setFeed = () => Promise.reject(new StoreDownError('down'));
  const before = house.clock.pending;
  for (const room of rooms) await marks.mark([room.roomId]);
  expect(house.clock.pending).toBe(before + 1);
  await house.clock.advance(5_000);
  house.store.logs.setFeed = setFeed;
  await house.clock.advance(5_000);
  for (const room of rooms) expect((await house.log(room.roomId)).needsCatchUp).toBe(true);
  expect(house.clock.pending).toBe(before);
});
