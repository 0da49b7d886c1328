import { expect, test } from 'vitest';
import { HomeserverDown } from '../../../src/homeserver/homeserver.ts';
import { PeekingHouse } from '../../support/peeking-house.ts';
import { RoomBuilder } from '../../support/room-builder.ts';

const ROOM = new RoomBuilder();

test('a room is absent only when the homeserver says so; its word is trusted for ten seconds', async () => {
  const { residency, homeserver, clock } = await PeekingHouse.open();
  expect(await residency.isAbsent(ROOM.roomId)).toBe(true);
  homeserver.add(ROOM);
  await clock.advance(9_999);
  expect(await residency.isAbsent(ROOM.roomId)).toBe(true);
  await clock.advance(1);
  expect(await residency.isAbsent(ROOM.roomId)).toBe(false);
  expect(homeserver.calls.filter((call) => call === 'membership')).toHaveLength(2);
});

test.each(['partial', 'resident'] as const)('a %s room is not absent', async (membership) => {
  const { residency, homeserver } = await PeekingHouse.open();
  homeserver.add(ROOM).membership = membership;
  expect(await residency.isAbsent(ROOM.roomId)).toBe(false);
});

test('from the join request until it has failed the room is not absent', async () => {
  const { residency } = await PeekingHouse.open();
  expect(await residency.isAbsent(ROOM.roomId)).toBe(true);
  const join = residency.joining(ROOM.roomId);
  expect(await residency.isAbsent(ROOM.roomId)).toBe(false);
  join.failed();
  expect(await residency.isAbsent(ROOM.roomId)).toBe(true);
});

test('after the homeserver has left the room, an earlier join means nothing', async () => {
  const { residency } = await PeekingHouse.open();
  residency.joining(ROOM.roomId);
  expect(await residency.isAbsent(ROOM.roomId)).toBe(false);
  residency.left(ROOM.roomId);
  expect(await residency.isAbsent(ROOM.roomId)).toBe(true);
});

test('a request that failed takes back nothing that another one said', async () => {
  const { residency } = await PeekingHouse.open();
  const [first, second] = [residency.joining(ROOM.roomId), residency.joining(ROOM.roomId)];
  first.failed();
  first.failed();
  expect(await residency.isAbsent(ROOM.roomId)).toBe(false);
  second.failed();
  expect(await residency.isAbsent(ROOM.roomId)).toBe(true);
});

test('a flood of requests that fail leaves the room being joined, not forgotten', async () => {
  const { residency, clock } = await PeekingHouse.open();
  for (const request of Array.from({ length: 2000 }, () => residency.joining(ROOM.roomId))) request.failed();
  expect(await residency.isAbsent(ROOM.roomId)).toBe(false);
  await clock.advance(10 * 60_000);
  expect(await residency.isAbsent(ROOM.roomId)).toBe(true);
});

test('a join that nobody heard the end of is asked after when its time is up', async () => {
  const { residency, clock } = await PeekingHouse.open();
  residency.joining(ROOM.roomId);
  await clock.advance(10 * 60_000 - 1);
  expect(await residency.isAbsent(ROOM.roomId)).toBe(false);
  await clock.advance(1);
  expect(await residency.isAbsent(ROOM.roomId)).toBe(true);
});

test('a join that begins while the homeserver is being asked counts', async () => {
  const { residency, homeserver } = await PeekingHouse.open();
  homeserver.membership = async () => {
    residency.joining(ROOM.roomId);
    return 'absent';
  };
  expect(await residency.isAbsent(ROOM.roomId)).toBe(false);
});

test('a homeserver that does not answer leaves it open: the question fails', async () => {
  const { residency, homeserver } = await PeekingHouse.open();
  homeserver.failure = new HomeserverDown('down');
  await expect(residency.isAbsent(ROOM.roomId)).rejects.toThrow(HomeserverDown);
});
