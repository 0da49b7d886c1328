import { once } from 'node:events';
import { request } from 'node:http';
import { expect, test } from 'vitest';
import { createRoomAnswers } from '../../../src/app/room-answers.ts';
import { remoteHistoryToken } from '../../../src/client-view/history-token.ts';
import type { StoredEvent } from '../../../src/store/store.ts';
import { longestTask } from '../../support/longest-task.ts';
import { ReadHouse } from '../../support/read-house.ts';
import type { RoomBuilder } from '../../support/room-builder.ts';

const MEMBERS = 28_000;
/** Ten times what is meant. */
const LONGEST_TASK_MS = 500;

/** Member events as a store has them, of the size that they have in large rooms. */
function members(room: RoomBuilder): StoredEvent[] {
  const sample = '@sample:there.test';
  const content = {
    membership: 'join',
    displayname: 'Somebody with a name',
    avatar_url: 'mxc://there.test/AbCdEfGhIjKlMnOpQrStUvWx',
  };
  const { pdu } = room.make({ type: 'm.room.member', stateKey: sample, sender: sample, content });
  const [before = '', after = ''] = JSON.stringify(pdu).split('"state_key":"@sample:there.test"');
  return Array.from({ length: MEMBERS }, (_, i) => {
    const stateKey = `@user-${i}:there.test`;
    const json = `${before}"state_key":"${stateKey}"${after}`;
    return { eventId: `$member-${i}`, json, type: 'm.room.member', stateKey };
  });
}

async function largeHouse(): Promise<{ house: ReadHouse; room: RoomBuilder; events: number }> {
  const house = await ReadHouse.open(createRoomAnswers);
  const room = await house.peeked();
  const { store } = house.house;
  const added = members(room);
  for (let at = 0; at < added.length; at += 500) {
    await store.replicas.add(room.roomId, added.slice(at, at + 500), []);
  }
  return { house, room, events: (await store.replicas.state(room.roomId)).length };
}

/** Reads an answer without looking into it; the text of it, and the longest task while it came. */
async function read(target: string): Promise<{ status: number; chunks: Buffer[]; longest: number }> {
  const chunks: Buffer[] = [];
  let status = 0;
  const longest = await longestTask(async () => {
    const asked = request(target, { headers: { authorization: 'Bearer alice' } }).end();
    const [answer] = await once(asked, 'response');
    status = answer.statusCode;
    for await (const chunk of answer) chunks.push(chunk as Buffer);
  });
  return { status, chunks, longest };
}

test('a room of 28 000 members is read whole, and the event loop goes on', async () => {
  const { house, room, events } = await largeHouse();
  const { head } = await house.house.log(room.roomId);
  await house.house.ingest(room, [room.member('@late:there.test', 'join')]);
  const count = async (path: string, of: (body: never) => number) => {
    const { status, chunks, longest } = await read(house.target(room, path));
    expect(status).toBe(200);
    expect(longest).toBeLessThan(LONGEST_TASK_MS);
    return of(JSON.parse(Buffer.concat(chunks).toString()) as never);
  };
  const inChunk = ({ chunk }: { chunk: [] }) => chunk.length;
  expect(await count('state', (state: []) => state.length)).toBe(events + 1);
  const now = await count('members', inChunk);
  expect(now).toBeGreaterThan(MEMBERS);
  const at = remoteHistoryToken({ kind: 'log', position: head, beside: null });
  expect(await count(`members?at=${at}`, inChunk)).toBe(now - 1);
  expect(await count('joined_members', ({ joined }: { joined: object }) => Object.keys(joined).length)).toBe(
    now,
  );

  // Clients that go away in the middle leave their place to the next: a user has one, and two may wait.
  for (let i = 0; i < 5; i++) {
    const asked = request(house.target(room, 'state'), { headers: { authorization: 'Bearer alice' } }).end();
    asked.on('error', () => undefined);
    const [answer] = await once(asked, 'response');
    await once(answer, 'data');
    asked.destroy();
  }
  expect((await read(house.target(room, 'state'))).status).toBe(200);
}, 60_000);
