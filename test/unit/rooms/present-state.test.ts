import { expect, test } from 'vitest';
import { StateAt } from '../../../src/rooms/state-at.ts';
import { PeekingHouse } from '../../support/peeking-house.ts';
import { RoomBuilder } from '../../support/room-builder.ts';

async function peekedRoom() {
  const house = await PeekingHouse.open();
  const room = house.resident(new RoomBuilder());
  await house.peek(room.roomId);
  const stateAt = new StateAt(house.store, house.homeserver, house.clock);
  const topicAt = async (position: number) => {
    const state = await stateAt.read(await house.log(room.roomId), position, house.clock.now());
    return state.find(({ type }) => type === 'm.room.topic')?.content;
  };
  const readings = () => house.homeserver.calls.filter((call) => call === 'currentState').length;
  return { house, room, stateAt, topicAt, readings };
}

test('the homeserver is asked once for those who come together, and for those who come soon after', async () => {
  const { house, room, topicAt, readings } = await peekedRoom();
  const { head } = await house.log(room.roomId);
  await Promise.all([topicAt(head), topicAt(head), topicAt(head - 1)]);
  await topicAt(head);
  expect(readings()).toBe(1);
  await house.clock.advance(60_000);
  await topicAt(head);
  expect(readings()).toBe(2);
});

test('a position that came after the state was read is not told from it, an earlier one is', async () => {
  const { house, room, topicAt, readings } = await peekedRoom();
  const before = (await house.log(room.roomId)).head;
  await topicAt(before);
  room.state('m.room.topic', '', { topic: 'since' });
  await house.settle();
  expect(await topicAt(before)).toBeUndefined();
  expect(readings()).toBe(1);
  expect(await topicAt(before + 1)).toEqual({ topic: 'since' });
  expect(readings()).toBe(2);
});

test('after a redaction the state is read again', async () => {
  const { house, room, topicAt, readings } = await peekedRoom();
  const { eventId } = room.state('m.room.topic', '', { topic: 'regretted' });
  await house.settle();
  const { head } = await house.log(room.roomId);
  expect(await topicAt(head)).toEqual({ topic: 'regretted' });
  room.redaction(eventId);
  await house.settle();
  await topicAt(head);
  expect(readings()).toBe(2);
});

test('of what is not wanted nothing is made', async () => {
  const { house, room, stateAt } = await peekedRoom();
  const log = await house.log(room.roomId);
  const state = await stateAt.read(log, log.head, 0, (type) => type === 'm.room.create');
  expect(state.map(({ type }) => type)).toEqual(['m.room.create']);
});
