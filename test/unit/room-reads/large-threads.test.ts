import { expect, test } from 'vitest';
import { createRoomAnswers } from '../../../src/app/room-answers.ts';
import { ReadHouse } from '../../support/read-house.ts';
import { RoomBuilder } from '../../support/room-builder.ts';

test('of a thread of very large events a few megabytes are read for what is bundled', async () => {
  const house = await ReadHouse.open(createRoomAnswers);
  const room = new RoomBuilder();
  const root = room.message('root');
  await house.peeked(room);
  const { store } = house.house;
  const relates = { rel_type: 'm.thread', event_id: root.eventId };
  for (let batch = 0; batch < 3; batch++) {
    const replies = Array.from({ length: 50 }, (_, i) => {
      const content = {
        msgtype: 'm.text',
        body: `${batch * 50 + i} ${'x'.repeat(60_000)}`,
        'm.relates_to': relates,
      };
      return room.add({ type: 'm.room.message', content });
    });
    await house.house.ingest(room, replies);
  }
  const event = store.replicas.event.bind(store.replicas);
  let read = 0;
  store.replicas.event = (...args) => {
    read++;
    return event(...args);
  };
  const { status, body } = await house.get(room, `event/${root.eventId}`);
  expect(status).toBe(200);
  const { unsigned } = body as {
    unsigned: Record<string, Record<string, { latest_event: { content: { body: string } } }>>;
  };
  expect(unsigned['m.relations']?.['m.thread']?.latest_event.content.body).toMatch(/^149 /);
  expect(read).toBeLessThan(110);
});
