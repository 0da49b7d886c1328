import { expect, test } from 'vitest';
import { PEER, PeekingHouse } from '../../support/peeking-house.ts';
import { RoomBuilder } from '../../support/room-builder.ts';

/** A peeked room of which the peeked server's answer showed only the newest events. */
async function peekedLate() {
  const house = await PeekingHouse.open();
  const room = house.remoteRoom(new RoomBuilder('10', PEER));
  const early = room.messages(3, 'early');
  const topic = room.state('m.room.topic', '', { topic: 'of long ago' });
  room.state('m.room.topic', '', { topic: 'current' });
  room.messages(60, 'recent');
  await house.peek(room.roomId);
  const log = await house.log(room.roomId);
  const heldIds = async () =>
    (await house.store.logs.read(room.roomId, 0, 1000)).map(({ eventId }) => eventId);
  return { house, room, early, topic, log, heldIds };
}

test('events from before the answer that a server sends after it ⇒ acknowledged, and not shown as new', async () => {
  const { house, room, early, log, heldIds } = await peekedLate();
  const before = await heldIds();
  await house.ingest(room, early);
  expect(await heldIds()).toEqual(before);
  expect(await house.log(room.roomId)).toMatchObject({ head: log.head, needsCatchUp: false });
  const next = room.message('next');
  await house.ingest(room, [next]);
  expect(await heldIds()).toEqual([...before, next.eventId]);
});

test('in one transaction with news ⇒ the news alone are shown', async () => {
  const { house, room, early, heldIds } = await peekedLate();
  const before = await heldIds();
  const next = room.message('next');
  await house.ingest(room, [...early, next]);
  expect(await heldIds()).toEqual([...before, next.eventId]);
});

test('state from before the answer ⇒ not shown, and the peeked server is asked what is current', async () => {
  const { house, room, topic, heldIds } = await peekedLate();
  const before = await heldIds();
  await house.ingest(room, [topic]);
  expect(await heldIds()).toEqual(before);
  expect((await house.log(room.roomId)).needsCatchUp).toBe(true);
});

test('a late branch that grows out of an event of the log ⇒ shown', async () => {
  const { house, room, heldIds } = await peekedLate();
  const before = await heldIds();
  const branch = room.make({
    type: 'm.room.message',
    content: { msgtype: 'm.text', body: 'a branch' },
    prev: [before[0] ?? ''],
    depth: 1,
  });
  await house.ingest(room, [branch]);
  expect(await heldIds()).toEqual([...before, branch.eventId]);
});
