import { beforeEach, describe, expect, test } from 'vitest';
import { createRoomAnswers } from '../../../src/app/room-answers.ts';
import type { JsonObject } from '../../../src/matrix/json.ts';
import { PEER } from '../../support/peeking-house.ts';
import { PASSED, ReadHouse } from '../../support/read-house.ts';
import { RoomBuilder } from '../../support/room-builder.ts';

let house: ReadHouse;
let space: RoomBuilder;
const via = [PEER];

beforeEach(async () => {
  house = await ReadHouse.open(createRoomAnswers);
  space = new RoomBuilder('11', PEER, 'space', { type: 'm.space' });
});

/** What the homeserver says of a room when it is asked with the servers that the space names. */
function known(roomId: string, more: JsonObject = {}, servers: readonly string[] = via): void {
  const query = servers.map((server) => `via=${encodeURIComponent(server)}`).join('&');
  const summary = { room_id: roomId, name: roomId.slice(1, -2), membership: 'leave', ...more };
  house.house.homeserver.answers.set(
    `/_matrix/client/v1/room_summary/${encodeURIComponent(roomId)}?${query}`,
    summary,
  );
}

const child = (roomId: string, content: JsonObject = { via }) =>
  space.state('m.space.child', roomId, content);

async function hierarchy(query = '') {
  const { status, body } = await house.get(space, `hierarchy${query}`);
  const { rooms = [], next_batch: next } = body as { rooms?: JsonObject[]; next_batch?: string };
  return { status, body, next, rooms, ids: rooms.map((room) => room.room_id) };
}

describe('the hierarchy of a peeked space', () => {
  test('is the space from what is here, and its children as the homeserver sums them up', async () => {
    space.state('m.room.name', '', { name: 'The space' });
    child('!a:t');
    child('!unknown:t');
    child('!b:t', { via: ['x.test', 'not a server', PEER] });
    known('!a:t');
    known('!b:t', {}, ['x.test', PEER]);
    await house.peeked(space);
    const { status, rooms, next } = await hierarchy();
    expect(status).toBe(200);
    expect(next).toBeUndefined();
    expect(rooms).toMatchObject([
      { room_id: space.roomId, name: 'The space', room_type: 'm.space', children_state: [{}, {}, {}] },
      { room_id: '!a:t', name: 'a', children_state: [] },
      { room_id: '!b:t', name: 'b', children_state: [] },
    ]);
    expect(rooms[1]).not.toHaveProperty('membership');
  });

  test('children that are peeked too are told of from what is here, spaces with their children', async () => {
    const inner = new RoomBuilder('11', PEER, 'inner', { type: 'm.space' });
    inner.state('m.space.child', '!deep:t', { via });
    inner.state('m.space.child', space.roomId, { via });
    child(inner.roomId);
    child('!after:t');
    known('!deep:t');
    known('!after:t');
    await house.peeked(inner);
    await house.peeked(space);
    expect((await hierarchy()).ids).toEqual([space.roomId, inner.roomId, '!deep:t', '!after:t']);
    expect((await hierarchy('?max_depth=1')).ids).toEqual([space.roomId, inner.roomId, '!after:t']);
    expect((await hierarchy('?max_depth=0')).ids).toEqual([space.roomId]);
  });

  test('a space below in which the homeserver is shows its children', async () => {
    child('!inner:t');
    known('!inner:t', { room_type: 'm.space' });
    known('!deep:t');
    const below = { type: 'm.space.child', state_key: '!deep:t', content: { via }, sender: '@a:t' };
    house.house.homeserver.answers.set(
      `/_matrix/client/v1/rooms/${encodeURIComponent('!inner:t')}/hierarchy?max_depth=0&limit=1`,
      { rooms: [{ room_id: '!inner:t', children_state: [below] }] },
    );
    await house.peeked(space);
    expect((await hierarchy()).ids).toEqual([space.roomId, '!inner:t', '!deep:t']);
  });

  test('suggested_only: of each space the children that it suggests', async () => {
    child('!a:t');
    child('!b:t', { via, suggested: true });
    known('!a:t');
    known('!b:t');
    await house.peeked(space);
    const { ids, rooms } = await hierarchy('?suggested_only=true');
    expect(ids).toEqual([space.roomId, '!b:t']);
    expect(rooms[0]?.children_state).toMatchObject([{ state_key: '!b:t' }]);
  });

  test('pages with limit and from give each room once, in order, and ask for none again', async () => {
    const children = Array.from({ length: 9 }, (_, i) => `!room${i}:t`);
    for (const roomId of children) child(roomId);
    for (const roomId of children.filter((id) => id !== '!room3:t')) known(roomId);
    await house.peeked(space);
    const seen: unknown[] = [];
    let from: string | undefined;
    for (let page = 0; page < 10; page++) {
      const answer = await hierarchy(`?limit=4${from === undefined ? '' : `&from=${from}`}`);
      expect(answer.rooms.length).toBeLessThanOrEqual(4);
      seen.push(...answer.ids);
      from = answer.next;
      if (from === undefined) break;
    }
    expect(seen).toEqual([space.roomId, ...children.filter((id) => id !== '!room3:t')]);
    const asked = house.house.homeserver.calls.filter((call) => call.includes('room_summary/!room0'));
    expect(asked).toHaveLength(1);
  });

  test('a child of which the homeserver says nothing for two seconds is left out', async () => {
    child('!slow:t');
    child('!a:t');
    known('!a:t');
    await house.peeked(space);
    const { homeserver, clock } = house.house;
    const { readAs } = homeserver;
    homeserver.readAs = (caller, target) =>
      target.includes('slow') ? new Promise(() => {}) : readAs.call(homeserver, caller, target);
    const answer = hierarchy();
    let there = false;
    void answer.then(() => {
      there = true;
    });
    while (!there) await clock.advance(500);
    expect((await answer).ids).toEqual([space.roomId, '!a:t']);
  });
});

test('more than ten in two seconds of one user ⇒ 429, and so it is when the homeserver says so', async () => {
  await house.peeked(space);
  const answers = await Promise.all(Array.from({ length: 60 }, () => hierarchy('?max_depth=0')));
  expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200, 429]));
  expect(answers.find(({ status }) => status === 429)?.body).toMatchObject({ errcode: 'M_LIMIT_EXCEEDED' });

  const other = await ReadHouse.open(createRoomAnswers);
  const room = await other.peeked(new RoomBuilder('11', PEER, 'other', { type: 'm.space' }));
  other.house.homeserver.readAs = async () => ({ status: 429, body: Buffer.from('{}') });
  expect((await other.get(room, 'hierarchy')).body).toEqual(PASSED);
});

test('a child that nobody tells of is not asked about again for a minute', async () => {
  child('!unknown:t');
  await house.peeked(space);
  const asked = () => house.house.homeserver.calls.filter((call) => call.includes('!unknown')).length;
  await hierarchy();
  await hierarchy();
  expect(asked()).toBe(1);
  await house.house.clock.advance(60_000);
  await hierarchy();
  expect(asked()).toBe(2);
});

test('what is kept of children is bounded by its size, whatever their servers make of it', async () => {
  const ids = Array.from({ length: 20 }, (_, i) => `!${i}:t`);
  for (const id of ids) {
    child(id);
    known(id, { topic: 'x'.repeat(1_000_000) });
  }
  await house.peeked(space);
  const asked = (id: string) =>
    house.house.homeserver.calls.filter((call) => call.includes(`${encodeURIComponent(id)}?`)).length;
  expect((await hierarchy()).ids).toHaveLength(21);
  await hierarchy('?limit=5');
  expect([asked('!0:t'), asked('!19:t')]).toEqual([2, 1]);
});

test('a space that cannot be summed up ⇒ the homeserver’s answer', async () => {
  await house.peeked(space);
  house.house.store.replicas.stateOf = () => Promise.reject(new Error('unforeseen'));
  expect((await hierarchy()).body).toEqual(PASSED);
});

describe('the homeserver goes first', () => {
  const own = (query = '') =>
    `/_matrix/client/v1/rooms/${encodeURIComponent(space.roomId)}/hierarchy?${query}`;

  test('its 200 is the answer', async () => {
    await house.peeked(space);
    house.house.homeserver.answers.set(own('limit=2'), { rooms: [{ room_id: '!by:homeserver' }] });
    expect((await hierarchy('?limit=2')).ids).toEqual(['!by:homeserver']);
    expect((await hierarchy('?limit=3')).ids).toEqual([space.roomId]);
  });

  test('a token that is its own, or nobody’s, is its business', async () => {
    await house.peeked(space);
    for (const from of ['abc', 'PEEK-H-0', 'PEEK-H-99999', 'PEEK-7', '']) {
      expect((await hierarchy(`?from=${from}`)).body).toEqual(PASSED);
    }
  });
});

test.each(['limit=0', 'limit=x', 'limit=-1', 'max_depth=-1', 'max_depth=1.5', 'limit='])(
  '%s ⇒ 400 M_INVALID_PARAM',
  async (query) => {
    await house.peeked(space);
    expect((await hierarchy(`?${query}`)).body).toMatchObject({ errcode: 'M_INVALID_PARAM' });
  },
);
