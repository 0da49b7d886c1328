import { beforeEach, describe, expect, test } from 'vitest';
import { PeerReads } from '../../../src/inbound-peeks/peer-reads.ts';
import type { JsonObject } from '../../../src/matrix/json.ts';
import { bodyOf, House, PEER, ROOM } from './house.ts';

const PATH = `/_matrix/federation/v1/timestamp_to_event/${encodeURIComponent(ROOM)}`;
const AT = `${PATH}?ts=1700000000000&dir=b`;
const MISSING = { status: 404, errcode: 'M_NOT_FOUND' };

let house: House;
let reads: PeerReads;

beforeEach(async () => {
  house = await House.open();
  reads = new PeerReads(house);
  await house.put();
  house.homeserver.addEvent('$open', { room_id: ROOM });
  house.homeserver.addEvent('$secret', { room_id: ROOM }, false);
});

async function serve(target: string, origin = PEER): Promise<JsonObject | null> {
  const answer = await reads.serve(origin, 'GET', target, undefined);
  return answer === null ? null : bodyOf(answer);
}

function names(eventId: string, target = AT): void {
  const more = { origin: 'here.test' };
  house.homeserver.selfAnswers.set(target, { event_id: eventId, origin_server_ts: 7, ...more });
}

describe('the event closest to a time, asked for by a peeking server', () => {
  test.each(['ts=1700000000000&dir=b', 'ts=-5&dir=f'])('%s: what the homeserver names', async (query) => {
    names('$open', `${PATH}?${query}`);
    expect(await serve(`${PATH}?${query}`)).toEqual({ event_id: '$open', origin_server_ts: 7 });
  });

  test('that was not world-readable, that is none, or of which nothing is said ⇒ 404', async () => {
    await expect(serve(AT)).rejects.toMatchObject(MISSING);
    names('$secret');
    await expect(serve(AT)).rejects.toMatchObject(MISSING);
    house.homeserver.selfAnswers.set(AT, { event_id: 7, origin_server_ts: 7 });
    await expect(serve(AT)).rejects.toMatchObject(MISSING);
  });

  test.each([
    '',
    '?dir=b',
    '?ts=1',
    '?ts=1&dir=x',
    '?ts=1.5&dir=b',
    '?ts=1e3&dir=b',
    `?ts=${'9'.repeat(16)}&dir=b`,
    '/more?ts=1&dir=b',
  ])('%s is left to the homeserver', async (rest) => {
    expect(await serve(PATH + rest)).toBeNull();
    expect(house.homeserver.selfRequests).toEqual([]);
  });

  test('a server without a peek on the room is left to the homeserver, and nothing is asked', async () => {
    names('$open');
    expect(await serve(AT, 'else.test')).toBeNull();
    await house.peeks.remove(PEER, ROOM, 'peek1');
    expect(await serve(AT)).toBeNull();
    expect(house.homeserver.selfRequests).toEqual([]);
  });

  test('the room has closed, or its ACL denies the server by now ⇒ 403', async () => {
    names('$open');
    house.homeserver.setState(ROOM, 'm.room.server_acl', '', { allow: ['*'], deny: [PEER] });
    await expect(serve(AT)).rejects.toMatchObject({ status: 403 });
    house.homeserver.setState(ROOM, 'm.room.server_acl', '', { allow: ['*'] });
    expect(await serve(AT)).not.toBeNull();
    house.homeserver.setState(ROOM, 'm.room.history_visibility', '', { history_visibility: 'shared' });
    await expect(serve(AT)).rejects.toMatchObject({ status: 403 });
    expect(house.homeserver.selfRequests).toHaveLength(1);
  });

  test('counts as a read of history: 60 a minute in a room, then 429', async () => {
    names('$open');
    for (let i = 0; i < 60; i++) await serve(AT);
    await expect(serve(AT)).rejects.toMatchObject({ status: 429, errcode: 'M_LIMIT_EXCEEDED' });
    expect(house.homeserver.selfRequests).toHaveLength(60);
  });
});
