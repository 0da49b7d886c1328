import { describe, expect, test } from 'vitest';
import { ALICE, brief, PeekingHouse, TestDevice } from '../../support/peeking-house.ts';
import { RoomBuilder } from '../../support/room-builder.ts';

/** A room of our own that a device peeks, with what closes it. */
async function peeked() {
  const house = await PeekingHouse.open();
  const room = house.resident(new RoomBuilder());
  const device = new TestDevice(house);
  await device.sync();
  await house.peek(room.roomId);
  const close = async () => {
    room.message('the last words');
    room.state('m.room.history_visibility', '', { history_visibility: 'joined' });
    await house.settle();
  };
  return { house, room, device, close };
}

describe('a peek whose room closed before its first section was seen to arrive', () => {
  test('is told in leave, with what the lost section held and what came after it', async () => {
    const { house, room, device, close } = await peeked();
    await device.lostSync();
    await close();
    const answer = await device.sync();
    const { timeline = [] } = brief(answer.leave.get(room.roomId)) ?? {};
    expect(timeline.slice(-2)).toEqual(['the last words', expect.stringContaining('history_visibility')]);
    expect(answer.peek.size).toBe(0);
    expect((await device.sync()).leave.size).toBe(0);
    expect(await house.store.devicePeeks.all()).toEqual([]);
  });

  test('is told again when that answer too is lost', async () => {
    const { room, device, close } = await peeked();
    await device.lostSync();
    await close();
    const [lost, again] = [await device.lostSync(), await device.sync()];
    expect(lost.leave.has(room.roomId)).toBe(true);
    expect(again.leave.get(room.roomId)).toEqual(lost.leave.get(room.roomId));
  });

  test('is told where the device never saw the room at all', async () => {
    const { room, device, close } = await peeked();
    await close();
    expect((await device.sync()).leave.has(room.roomId)).toBe(true);
    expect((await device.sync()).leave.size).toBe(0);
  });
});

test('a peek that the device itself ended before it saw the room is not told', async () => {
  const { house, room, device } = await peeked();
  await house.peeking.unpeek(ALICE, room.roomId);
  expect((await device.sync()).leave.size).toBe(0);
});
