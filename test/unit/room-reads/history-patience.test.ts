import { beforeEach, describe, expect, test } from 'vitest';
import { createRoomAnswers } from '../../../src/app/room-answers.ts';
import type { JsonObject } from '../../../src/matrix/json.ts';
import { PastEvents, pastEvent } from '../../../src/room-reads/history/past-event.ts';
import { ALICE } from '../../support/peeking-house.ts';
import { ReadHouse } from '../../support/read-house.ts';
import { RoomBuilder } from '../../support/room-builder.ts';
import { tellsPast } from '../../support/room-past.ts';

const PEER = 'there.test';
const OTHER = 'else.test';
const BOB = { ...ALICE, userId: '@bob:here.test', deviceId: 'TABLET' };
let house: ReadHouse;
let room: RoomBuilder;

beforeEach(async () => {
  house = await ReadHouse.open(createRoomAnswers);
  room = new RoomBuilder();
  room.member(`@guest:${OTHER}`, 'join');
  room.messages(60);
  await house.peeked(room);
});

const page = (more = '', token = 'alice') => house.get(room, `messages?dir=b&limit=100${more}`, token);
const count = (body: unknown) => (body as { chunk: JsonObject[] }).chunk.length;
const backfills = () => house.house.remote.sent('GET').filter((path) => path.includes('/backfill/'));

describe('servers of the room', () => {
  test('the peeked one is down ⇒ that of its members tells', async () => {
    tellsPast(house.house, room, { server: OTHER });
    const got = await page();
    expect([got.status, count(got.body)]).toEqual([200, room.events.length]);
    expect(new Set(backfills().map((path) => path.split(' ')[0]))).toEqual(new Set([PEER, OTHER]));
  });

  test('the peeked one lacks an event ⇒ that of its members gives it', async () => {
    const lacked = room.events[20];
    tellsPast(house.house, room, { has: (event) => event !== lacked });
    tellsPast(house.house, room, { server: OTHER });
    const got = await page();
    expect([got.status, count(got.body)]).toEqual([200, room.events.length]);
  });

  test('all are down ⇒ what is here with a token, then 502; they are back ⇒ it goes on', async () => {
    const first = await page();
    expect([first.status, count(first.body)]).toEqual([200, 20]);
    const { end } = first.body as { end: string };
    expect(await page(`&from=${end}`)).toMatchObject({ status: 502, body: { errcode: 'M_UNKNOWN' } });
    tellsPast(house.house, room);
    expect(count((await page(`&from=${end}`)).body)).toBe(room.events.length - 20);
  });
});

test('of one user four reads are under way at once, those of another are not delayed by them', async () => {
  tellsPast(house.house, room);
  house.house.homeserver.identities.set('Bearer bob', BOB);
  await house.house.peek(room.roomId, BOB);
  const held = Promise.withResolvers<JsonObject>();
  let waiting = 0;
  house.house.remote.on(PEER, 'GET', '/backfill/', () => {
    waiting++;
    return held.promise;
  });
  const reads = Array.from({ length: 6 }, () => page());
  const { status } = await house.get(room, 'messages?dir=b&limit=10', 'bob');
  expect(status).toBe(200);
  expect(waiting).toBeLessThanOrEqual(4);
  held.resolve({ pdus: room.events.map(({ pdu }) => pdu).reverse() });
  for (const { body } of await Promise.all(reads)) expect(count(body)).toBe(room.events.length);
  // What the first of them was given is there for the others.
  expect(waiting).toBeLessThanOrEqual(4);
});

test('nobody answers ⇒ after fourteen seconds what is here', async () => {
  house.house.remote.on(PEER, 'GET', '/backfill/', ({ signal }) => {
    const { promise, reject } = Promise.withResolvers<JsonObject>();
    signal?.addEventListener('abort', () => reject(new Error('left')));
    return promise;
  });
  const reading = page();
  while (backfills().length === 0) await house.house.clock.advance(0);
  await house.house.clock.advance(14_000);
  const got = await reading;
  expect([got.status, count(got.body)]).toEqual([200, 20]);
});

test('what is remembered of the past is bounded by its bytes', () => {
  const past = new PastEvents(200_000);
  const big = new RoomBuilder();
  for (const { eventId, pdu } of big.messages(300)) {
    past.add(big.roomId, pastEvent(eventId, pdu, big.rules, { eventId, pdu, redacted: false }));
    expect(past.bytes).toBeLessThanOrEqual(200_000);
  }
  expect(past.get(big.roomId, big.latest.eventId)).toBeDefined();
  expect(past.get(big.roomId, String(big.events[6]?.eventId))).toBeUndefined();
});
