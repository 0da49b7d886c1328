import type { IncomingMessage, ServerResponse } from 'node:http';
import { beforeEach, describe, expect, test } from 'vitest';
import { JoinServers } from '../../../src/client-api/join-servers.ts';
import { StoreDownError } from '../../../src/store/store.ts';
import { PEER, PeekingHouse } from '../../support/peeking-house.ts';
import { RoomBuilder } from '../../support/room-builder.ts';

const C = '/_matrix/client/v3';
let house: PeekingHouse;
let room: RoomBuilder;

beforeEach(async () => {
  house = await PeekingHouse.open();
  room = house.remoteRoom(new RoomBuilder('10', 'home.test'), PEER);
  await house.peek(room.roomId);
});

/** `ROOM` stands for the room's ID as a client encodes it. */
async function rewritten(target: string, method = 'POST'): Promise<string> {
  const id = encodeURIComponent(room.roomId);
  const req = { method, url: target.replace('ROOM', id) } as IncomingMessage;
  const joins = new JoinServers(house);
  await new Promise<void>((pass) => {
    if (!joins.take(req, { destroyed: false } as ServerResponse, pass)) pass();
  });
  return (req.url ?? '').replace(id, 'ROOM');
}

describe('joining and knocking on a remotely peeked room', () => {
  test.each([
    [`${C}/join/ROOM`, `${C}/join/ROOM?`],
    [`${C}/join/ROOM?`, `${C}/join/ROOM?`],
    [`${C}/rooms/ROOM/join`, `${C}/join/ROOM?`],
    [`${C}/rooms/ROOM/join?access_token=a%2fb&x`, `${C}/join/ROOM?access_token=a%2fb&x&`],
    [`${C}/knock/ROOM`, `${C}/knock/ROOM?`],
    ['/_matrix/client/api/v1/rooms/ROOM/join', '/_matrix/client/api/v1/join/ROOM?'],
    ['/_matrix/client/r0/join/ROOM', '/_matrix/client/r0/join/ROOM?'],
    ['/_matrix/client/unstable/join/ROOM', '/_matrix/client/unstable/join/ROOM?'],
  ])('names the peeked server, then the room ID’s own, in both parameters: %s', async (from, to) => {
    expect(await rewritten(from)).toBe(
      `${to}via=${PEER}&via=home.test&server_name=${PEER}&server_name=home.test`,
    );
  });

  test('comes behind the servers that the client named, which both parameters then have, without repeats', async () => {
    expect(await rewritten(`${C}/join/ROOM?server_name=mine.test%3A8448&via=home.test&via=home.test`)).toBe(
      `${C}/join/ROOM?server_name=mine.test%3A8448&via=home.test&via=home.test` +
        `&via=mine.test%3A8448&via=${PEER}&server_name=home.test&server_name=${PEER}`,
    );
    const whole = `${C}/join/ROOM?via=${PEER}&via=home.test&server_name=${PEER}&server_name=home.test`;
    expect(await rewritten(whole)).toBe(whole);
  });

  test('knows the candidates that later peekers have named, five at most', async () => {
    const named = ['c1', 'c2', 'c3', 'c4', 'c5', 'c6'].map((name) => `${name}.test`);
    await house.peek(room.roomId, undefined, named);
    const via = new URLSearchParams((await rewritten(`${C}/join/ROOM`)).split('?')[1]).getAll('via');
    expect(via[0]).toBe(PEER);
    expect(via).toHaveLength(6);
    expect(new Set(via).size).toBe(6);
    expect(named).toEqual(expect.arrayContaining(via.slice(2)));
  });

  test.each([
    `${C}/join/%23alias%3Ahome.test`,
    `${C}/join/!unknown:home.test`,
    `${C}/rooms/!unknown:home.test/join?a=b`,
    `${C}/rooms/ROOM/knock`,
    `${C}/rooms/ROOM/leave`,
    `${C}/rooms/ROOM/join/`,
    `${C}/join/ROOM/txn`,
    `${C}/join/%zz`,
    `${C}/join/ROOM?reason=${'x'.repeat(8_000)}`,
    '/_matrix/client/v1/join/ROOM',
  ])('any other target is left as it is: %.60s', async (target) => {
    expect(await rewritten(target)).toBe(target);
  });

  test('by another method is left as it is', async () => {
    for (const method of ['GET', 'PUT', 'OPTIONS']) {
      expect(await rewritten(`${C}/rooms/ROOM/join`, method)).toBe(`${C}/rooms/ROOM/join`);
    }
  });

  test('names those it was peeked through while its peeks sleep; a store that is down changes nothing', async () => {
    await house.outbound.letGo(room.roomId);
    await house.settle();
    expect(await rewritten(`${C}/rooms/ROOM/join`)).toBe(`${C}/rooms/ROOM/join`);
    await house.store.logs.setFeed(room.roomId, { asleep: { via: [PEER] } });
    expect(await rewritten(`${C}/rooms/ROOM/join`)).toBe(`${C}/join/ROOM?via=${PEER}&server_name=${PEER}`);
    house.store.logs.get = () => Promise.reject(new StoreDownError('gone'));
    expect(await rewritten(`${C}/rooms/ROOM/join`)).toBe(`${C}/rooms/ROOM/join`);
  });

  test('of a room that nothing is kept of any more is left as it is', async () => {
    await house.outbound.letGo(room.roomId);
    await house.store.logs.drop(room.roomId);
    await house.settle();
    expect(await rewritten(`${C}/rooms/ROOM/join`)).toBe(`${C}/rooms/ROOM/join`);
  });
});
