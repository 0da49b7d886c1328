import { beforeEach, describe, expect, test } from 'vitest';
import { ReadLimits } from '../../../src/client-api/read-limits.ts';
import { roomPathOf } from '../../../src/client-api/room-path.ts';
import { deviceHash, wrapToken } from '../../../src/client-sync/sync-token.ts';
import { remoteHistoryToken } from '../../../src/client-view/history-token.ts';
import { HomeserverDown, HomeserverRefusal } from '../../../src/homeserver/homeserver.ts';
import type { Json } from '../../../src/matrix/json.ts';
import { MatrixError } from '../../../src/platform/matrix-error.ts';
import type { RoomRead } from '../../../src/room-reads/room-read.ts';
import { StoreDownError } from '../../../src/store/store.ts';
import { ALICE } from '../../support/peeking-house.ts';
import { PASSED, ReadHouse } from '../../support/read-house.ts';
import { RoomBuilder } from '../../support/room-builder.ts';

const BOB = { userId: '@bob:here.test', deviceId: 'LAPTOP', isGuest: false };
const TABLET = { ...ALICE, deviceId: 'TABLET' };

let reads: RoomRead[];
let answer: (read: RoomRead) => Promise<Json>;
let house: ReadHouse;
let previewed: Set<string>;

beforeEach(async () => {
  reads = [];
  previewed = new Set();
  answer = async () => ({ ours: true });
  const handler = (read: RoomRead) => {
    reads.push(read);
    return answer(read);
  };
  const viewers = [
    {
      get anyone() {
        return previewed.size > 0;
      },
      mayRead: (who: { userId: string }) => previewed.has(who.userId),
    },
  ];
  house = await ReadHouse.open(() => new Map([['state', handler]]), { viewers });
  house.house.homeserver.identities.set('Bearer bob', BOB).set('Bearer tablet', TABLET);
});

describe('a read of a peeked room', () => {
  test.each(['r0', 'v1', 'v3', 'unstable', 'api/v1'])('is answered here under %s', async (prefix) => {
    const { roomId } = await house.peeked();
    const target = `/_matrix/client/${prefix}/rooms/${encodeURIComponent(roomId)}/state/a%2Fb/?format=event`;
    const got = await house.request('GET', target);
    expect(got).toMatchObject({ status: 200, body: { ours: true } });
    expect(got.headers.get('access-control-allow-origin')).toBe('*');
    expect(got.headers.get('content-type')).toBe('application/json');
    expect(reads[0]).toMatchObject({
      roomId,
      path: ['state', 'a/b', ''],
      who: { userId: ALICE.userId },
      log: { roomId },
    });
    expect(reads[0]?.query.get('format')).toBe('event');
  });

  test('that no handler is there for is the homeserver’s', async () => {
    const room = await house.peeked();
    expect((await house.get(room, 'notes')).body).toEqual(PASSED);
  });

  test('by another method is the homeserver’s', async () => {
    const { roomId } = await house.peeked();
    for (const method of ['HEAD', 'OPTIONS', 'PUT', 'POST', 'DELETE']) {
      expect((await house.request(method, `/_matrix/client/v3/rooms/${roomId}/state`)).status).toBe(403);
    }
    expect(house.passed).toHaveLength(5);
  });

  test('gets the refusal of its handler, with errcode', async () => {
    const room = await house.peeked();
    answer = () => Promise.reject(new MatrixError(404, 'M_NOT_FOUND', 'No such event'));
    const got = await house.get(room, 'state');
    expect(got).toMatchObject({ status: 404, body: { errcode: 'M_NOT_FOUND', error: 'No such event' } });
    expect(got.headers.get('access-control-allow-origin')).toBe('*');
  });

  test.each([new Error('unforeseen'), new StoreDownError('down')])(
    'gets the homeserver’s answer when ours fails: %s',
    async (error) => {
      const room = await house.peeked();
      answer = () => Promise.reject(error);
      expect((await house.get(room, 'state')).body).toEqual(PASSED);
    },
  );

  test('beyond fifty a second of one user is 429, with the time to wait', async () => {
    const limits = new ReadLimits();
    for (let i = 0; i < 50; i++) await limits.spend(ALICE.userId);
    await limits.spend(BOB.userId);
    const tooFast = await limits.spend(ALICE.userId).catch((error: unknown) => error);
    expect(tooFast).toMatchObject({ status: 429, errcode: 'M_LIMIT_EXCEEDED' });

    const other = await ReadHouse.open(() => new Map([['state', answer]]), {
      limits: { spend: () => Promise.reject(tooFast) },
    });
    const got = await other.get(await other.peeked(), 'state');
    expect(got).toMatchObject({ status: 429, body: { errcode: 'M_LIMIT_EXCEEDED' } });
    expect(got.headers.get('retry-after')).toBe('1');
  });

  test('is counted by who has answered it', async () => {
    const room = await house.peeked();
    await house.get(room, 'state');
    for (const failure of [new MatrixError(404, 'M_NOT_FOUND', 'No such event'), new Error('unforeseen')]) {
      answer = () => Promise.reject(failure);
      await house.get(room, 'state');
    }
    const counted = async () => {
      const { values } = await house.house.metrics.roomReads.get();
      return values.map(({ labels, value }) => `${labels.outcome} ${value}`);
    };
    // A client has its answer before it is counted.
    await expect.poll(counted).toEqual(['answered 1', 'refused 1', 'homeserver 1']);
  });

  test('with a large body has all of it', async () => {
    const room = await house.peeked();
    const events = Array.from({ length: 5000 }, (_, i) => ({ event_id: `$${i}`, content: { body: 'ä"\n' } }));
    for (const body of [
      events,
      { chunk: events, end: 'e' },
      { joined: Object.fromEntries(events.entries()) },
    ]) {
      answer = async () => body as Json;
      expect((await house.get(room, 'state')).body).toEqual(JSON.parse(JSON.stringify(body)));
    }
  });
});

describe('who may read', () => {
  test('token of user A, peek of B ⇒ the homeserver’s 403', async () => {
    const room = await house.peeked();
    expect(await house.get(room, 'state', 'bob')).toMatchObject({ status: 403, body: PASSED });
    expect(reads).toEqual([]);
  });

  test('another device of the same user does not peek', async () => {
    const room = await house.peeked();
    expect((await house.get(room, 'state', 'tablet')).body).toEqual(PASSED);
  });

  test('a device that peeks into another room only', async () => {
    const room = await house.peeked();
    const other = house.house.remoteRoom(new RoomBuilder('10', 'there.test', 'other'));
    await house.house.peek(other.roomId, BOB);
    expect((await house.get(room, 'state', 'bob')).body).toEqual(PASSED);
    expect((await house.get(other, 'state', 'bob')).body).toEqual({ ours: true });
  });

  test('whoever is shown a preview of it', async () => {
    const room = await house.peeked();
    previewed.add(BOB.userId);
    expect((await house.get(room, 'state', 'bob')).body).toEqual({ ours: true });
  });

  test('nobody after the peek has ended', async () => {
    const room = await house.peeked();
    await house.house.peeking.unpeek(ALICE, room.roomId);
    expect((await house.get(room, 'state')).body).toEqual(PASSED);
  });

  test('peeker’s user is banned ⇒ the homeserver’s 403', async () => {
    const room = await house.peeked();
    const ban = room.state('m.room.member', ALICE.userId, { membership: 'ban' });
    await house.house.store.replicas.add(
      room.roomId,
      [{ eventId: ban.eventId, json: JSON.stringify(ban.pdu), type: ban.pdu.type, stateKey: ALICE.userId }],
      [],
    );
    expect((await house.get(room, 'state')).body).toEqual(PASSED);
  });

  test('`joined`/`invited`/`shared` room ⇒ 403, all endpoints: a log that has closed is read no more', async () => {
    const room = await house.peeked();
    answer = async () => {
      const shut = room.state('m.room.history_visibility', '', { history_visibility: 'shared' });
      await house.house.ingest(room, [shut]);
      return { secret: true };
    };
    expect((await house.get(room, 'state')).body).toEqual(PASSED);
    answer = async () => ({ secret: true });
    expect((await house.get(room, 'state')).body).toEqual(PASSED);
  });

  test('of a room that the homeserver is in, or joins, the homeserver decides', async () => {
    const room = await house.peeked();
    house.house.residency.joining(room.roomId);
    expect((await house.get(room, 'state')).body).toEqual(PASSED);
    const resident = house.house.resident(new RoomBuilder('10', 'here.test', 'own'));
    await house.house.peek(resident.roomId);
    expect((await house.get(resident, 'state')).body).toEqual(PASSED);
  });

  test.each([
    new HomeserverRefusal(401, Buffer.from('{"errcode":"M_UNKNOWN_TOKEN"}')),
    new HomeserverDown('gone'),
  ])('a caller of whom the homeserver says nothing is passed to it: %s', async (failure) => {
    const room = await house.peeked();
    house.house.homeserver.failure = failure;
    house.house.homeserver.identities.clear();
    expect((await house.get(room, 'state')).body).toEqual(PASSED);
  });

  test('without any peek nobody is asked anything', async () => {
    const room = new RoomBuilder();
    expect((await house.get(room, 'state')).body).toEqual(PASSED);
    expect(house.house.homeserver.calls).toEqual([]);
  });
});

test('a read knows the position of history tokens and of its own device’s sync tokens', async () => {
  const { roomId } = await house.peeked();
  const [peek] = await house.house.devicePeeks.of(ALICE);
  await house.request('GET', `/_matrix/client/v3/rooms/${roomId}/state`);
  const peeks = new Map([[peek?.instance ?? 0, 77]]);
  const token = (device: string) => wrapToken('s1_2', { device, peeks }, 'suffix');
  const positionOf = reads[0]?.positionOf;
  expect(positionOf?.(remoteHistoryToken({ kind: 'log', position: 5, beside: null }))).toBe(5);
  expect(positionOf?.(token(deviceHash(ALICE.userId, ALICE.deviceId)))).toBe(77);
  expect(positionOf?.(token(deviceHash(BOB.userId, BOB.deviceId)))).toBeNull();
  expect(positionOf?.('s1_2_3')).toBeNull();
});

test.each([
  ['/_matrix/client/v3/rooms/!a:b/state', { roomId: '!a:b', parts: ['state'] }],
  ['/_matrix/client/v3/rooms/%21a%3Ab/state/x%2525/?y=/z', { roomId: '!a:b', parts: ['state', 'x%25', ''] }],
  ['/_matrix/client/v3/rooms/!a:b', null],
  ['/_matrix/client/v3/rooms/!a:b/', null],
  ['/_matrix/client/v3/rooms/%zz/state', null],
  ['/_matrix/client/v4/rooms/!a:b/state', null],
  ['/_matrix/client/v3/join/!a:b', null],
])('the room of %s', (url, path) => {
  expect(roomPathOf(url)).toEqual(path);
});
