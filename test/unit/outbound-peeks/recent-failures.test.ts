import { describe, expect, test } from 'vitest';
import { AddressRefusedError } from '../../../src/platform/guarded-agent.ts';
import { HttpError } from '../../../src/platform/http-client.ts';
import type { MatrixError } from '../../../src/platform/matrix-error.ts';
import { RemoteUnreachable } from '../../../src/remote-servers/remote-servers.ts';
import { ALICE, PEER, PeekingHouse } from '../../support/peeking-house.ts';
import { RoomBuilder } from '../../support/room-builder.ts';
import { MINUTE, through } from './living.ts';

const ROOM = '!room:dead.test';
const BOB = { ...ALICE, userId: '@bob:here.test' };
const down = new RemoteUnreachable('down');

async function given() {
  const house = await PeekingHouse.open();
  house.remote.on('dead.test', 'PUT', '/peek/', down);
  const refused = async (who = ALICE, servers: readonly string[] = [], roomId = ROOM) =>
    (await house.peeking.peek(who, roomId, servers).catch((error: unknown) => error)) as MatrixError;
  const asked = (server: string) =>
    house.remote.sent('PUT').filter((sent) => sent.startsWith(`${server} `)).length;
  return { house, refused, asked };
}

describe('a server that has just failed', () => {
  test('is not asked again at once by the next user, who is told why; later it is', async () => {
    const { house, refused, asked } = await given();
    await refused();
    const error = await refused(BOB);
    expect(asked('dead.test')).toBe(1);
    expect(error.status).toBe(502);
    expect(error.message).toContain('dead.test: it did not answer a moment ago, and is asked again in 5 s');
    await house.settle(5000);
    await refused(BOB);
    expect(asked('dead.test')).toBe(2);
  });

  test('keeps nobody from a candidate that was not asked yet', async () => {
    const { house, refused, asked } = await given();
    await refused();
    const room = house.remoteRoom(new RoomBuilder('10', 'dead.test'));
    await house.peek(room.roomId, BOB, [PEER]);
    expect(await through(house, room)).toEqual([PEER]);
    expect(asked('dead.test')).toBe(1);
  });

  test('is left in peace for other rooms too, longer each time, ten minutes at most', async () => {
    const { house, refused, asked } = await given();
    for (let i = 0; i < 60; i++) {
      await refused(BOB, [], `!other${i}:dead.test`);
      await house.settle(MINUTE);
    }
    // After 5, 10, 20, 40 seconds, and then 80, 160, 320 and 600.
    expect(asked('dead.test')).toBeGreaterThanOrEqual(10);
    expect(asked('dead.test')).toBeLessThanOrEqual(14);
  });

  test('is asked at once again for whom it has worked meanwhile', async () => {
    const { house, refused, asked } = await given();
    await refused();
    const room = house.remoteRoom(new RoomBuilder('10', 'dead.test', 'second'), 'dead.test');
    await house.settle(5000);
    await house.peek(room.roomId, BOB, []);
    house.remote.on('dead.test', 'PUT', '/peek/', down);
    await refused();
    await house.settle(5000);
    await refused();
    expect(asked('dead.test')).toBe(4);
  });
});

test('a server that our own address guard refuses ⇒ the next user is told so too, with its name once', async () => {
  const { house, refused } = await given();
  const guard = new AddressRefusedError('10.0.0.1');
  const http = new HttpError('connection', `https://10.0.0.1:8448: ${guard.message}`, guard);
  const failure = new RemoteUnreachable(`dead.test: ${http.message}`, { cause: http });
  house.remote.on('dead.test', 'PUT', '/peek/', failure);
  expect((await refused()).message).toContain(
    '(dead.test: https://10.0.0.1:8448: 10.0.0.1 has no address that may be connected to)',
  );
  expect((await refused(BOB)).message).toContain(
    'dead.test: it was not asked (10.0.0.1 has no address that may be connected to) a moment ago',
  );
});

test.each<[string, number, string | null, string]>([
  ['a server without MSC2444', 404, 'M_UNRECOGNIZED', 'it could not be peeked a moment ago'],
  ['404 without errcode', 404, null, 'it could not be peeked a moment ago'],
  ['405', 405, null, 'it could not be peeked a moment ago'],
  ['502', 502, null, 'it answered 502 a moment ago'],
  ['500 (a room that Dendrite does not know)', 500, 'M_UNKNOWN', 'it answered 500 a moment ago'],
])('%s ⇒ not asked again at once either', async (_, status, errcode, why) => {
  const { house, refused, asked } = await given();
  for (const method of ['PUT', 'GET']) house.remote.refuse('dead.test', method, '/peek/', status, errcode);
  expect(await refused()).toMatchObject({ status: 502, errcode: 'M_UNKNOWN' });
  expect((await refused(BOB)).message).toContain(why);
  expect(asked('dead.test')).toBe(1);
});

test('500 for one room does not keep anybody from another', async () => {
  const { house, refused, asked } = await given();
  house.remote.refuse('dead.test', 'PUT', '/peek/', 500, 'M_UNKNOWN');
  await refused();
  await refused(BOB, [], '!second:dead.test');
  expect(asked('dead.test')).toBe(2);
});

test.each([
  [403, 'M_FORBIDDEN', 403],
  [404, 'M_NOT_FOUND', 404],
] as const)('%s %s is said of a room, and asked again each time', async (status, errcode, told) => {
  const { house, refused, asked } = await given();
  house.remote.refuse('dead.test', 'PUT', '/peek/', status, errcode);
  expect([(await refused()).status, (await refused(BOB)).status]).toEqual([told, told]);
  expect(asked('dead.test')).toBe(2);
});

test('a long reason of another server is cut', async () => {
  const { house, refused } = await given();
  house.remote.refuse('dead.test', 'PUT', '/peek/', 400, 'M_X'.repeat(10_000));
  expect((await refused()).message.length).toBeLessThan(400);
});

test('servers that a later user names are there when the first is gone', async () => {
  const { house } = await given();
  const room = house.remoteRoom(new RoomBuilder());
  await house.peek(room.roomId, ALICE, [PEER]);
  await house.peek(room.roomId, BOB, ['here.test', 'other.test', PEER]);
  expect((await house.outboundPeek(room.roomId))?.candidates).toEqual([PEER, 'other.test']);
  expect(house.remote.sent('PUT')).toHaveLength(1);
});
