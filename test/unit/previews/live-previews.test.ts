import { expect, test } from 'vitest';
import { LivePreviews } from '../../../src/device-peeks/live-previews.ts';
import { previewDevice } from '../../../src/device-peeks/preview-devices.ts';
import { ALICE, PEER, PeekingHouse } from '../../support/peeking-house.ts';
import { RoomBuilder } from '../../support/room-builder.ts';

test('another process knows of a preview, and of its end', async () => {
  const house = await PeekingHouse.open();
  const room = house.remoteRoom(new RoomBuilder());
  const early = new LivePreviews(house.store);
  await early.start();
  house.learned.learn(room.roomId, [PEER], 'named', 'somebody');
  const { peek } = await house.previewing.begin(ALICE, room.roomId);
  const late = new LivePreviews(house.store);
  await late.start();
  await house.settle();
  const device = previewDevice(ALICE);
  for (const other of [early, late]) {
    expect([other.count, other.has(device, room.roomId), other.has(ALICE, room.roomId)]).toEqual([
      1,
      true,
      false,
    ]);
    expect(other.ofUser(ALICE.userId)).toMatchObject([{ roomId: room.roomId }]);
  }
  await house.previewing.end(peek);
  await house.settle();
  for (const other of [early, late]) {
    expect([other.count, other.has(device, room.roomId)]).toEqual([0, false]);
    expect(other.ofUser(ALICE.userId)).toEqual([]);
  }
});
