import { beforeEach, describe, expect, test } from 'vitest';
import { createRoomAnswers } from '../../../src/app/room-answers.ts';
import { remoteHistoryToken } from '../../../src/client-view/history-token.ts';
import type { JsonObject } from '../../../src/matrix/json.ts';
import { ReadHouse } from '../../support/read-house.ts';
import { type BuiltEvent, RoomBuilder } from '../../support/room-builder.ts';
import { tellsPast } from '../../support/room-past.ts';

let house: ReadHouse;
let room: RoomBuilder;
/** Said on a branch that knows nothing of the room's opening, and deeper than that. */
let said: BuiltEvent[];
let opening: BuiltEvent;

beforeEach(async () => {
  house = await ReadHouse.open(createRoomAnswers);
  room = new RoomBuilder();
  room.state('m.room.history_visibility', '', { history_visibility: 'shared' });
  let { latest } = room;
  said = Array.from({ length: 6 }, (_, i) => {
    const content = { msgtype: 'm.text', body: `in private ${i}` };
    const depth = Number(latest.pdu.depth) + 1;
    latest = room.make({ type: 'm.room.message', content, prev: [latest.eventId], depth });
    return latest;
  });
  opening = room.state('m.room.history_visibility', '', { history_visibility: 'world_readable' });
  room.messages(60);
  room.events.unshift(...said);
  tellsPast(house.house, room);
  await house.peeked(room);
});

async function bodies(query: string): Promise<unknown[]> {
  const { status, body } = await house.get(room, `messages?${query}`);
  expect(status).toBe(200);
  const { chunk } = body as { chunk: JsonObject[] };
  return chunk.map(({ content }) => (content as JsonObject).body).filter((text) => text !== undefined);
}

const isPrivate = (text: unknown) => String(text).startsWith('in private');

describe('a branch from before the room was opened, deeper than the event that opened it', () => {
  test('is not shown by its IDs', async () => {
    expect(Number(said[5]?.pdu.depth)).toBeGreaterThan(Number(opening.pdu.depth));
    for (const { eventId } of said)
      expect(await house.get(room, `event/${eventId}`)).toMatchObject({ status: 404 });
  });

  test('is not shown to who makes up a token', async () => {
    const last = String(said[5]?.eventId);
    for (const upTo of [null, Number(opening.pdu.depth), Number(opening.pdu.depth) + 3, 1_000]) {
      const from = remoteHistoryToken({ kind: 'past', next: [last], upTo, onward: 0 });
      expect((await bodies(`dir=b&limit=100&from=${from}`)).filter(isPrivate), `up to ${upTo}`).toEqual([]);
      for (const { eventId } of said)
        expect((await house.get(room, `event/${eventId}`)).status, `up to ${upTo}`).toBe(404);
    }
  });

  test('is not shown where an event of the log that follows it follows the log too', async () => {
    const content = { msgtype: 'm.text', body: 'both' };
    const prev = [room.latest.eventId, String(said[5]?.eventId)];
    house.house.remote.refuse('there.test', 'POST', '/get_missing_events/', 500);
    await house.house.ingest(room, [room.add({ type: 'm.room.message', content, prev })]);
    const shown = await bodies('dir=b&limit=100');
    expect(shown).toContain('both');
    expect(shown.filter(isPrivate)).toEqual([]);
  });
});
