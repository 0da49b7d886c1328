import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { connect } from 'node:net';
import express from 'express';
import { pino } from 'pino';
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { requestLog } from '../../../src/app/request-log.ts';
import { createClientRouter } from '../../../src/client-api/router.ts';
import { TrustedProxies } from '../../../src/forward/trusted-proxies.ts';
import { HomeserverDown, HomeserverRefusal } from '../../../src/homeserver/homeserver.ts';
import type { JsonObject } from '../../../src/matrix/json.ts';
import { RemoteUnreachable } from '../../../src/remote-servers/remote-servers.ts';
import { ALICE, EXPIRE_AFTER, PEER, PeekingHouse } from '../../support/peeking-house.ts';
import { RoomBuilder } from '../../support/room-builder.ts';
import { seededRandom } from '../../support/seeded-random.ts';

const C = '/_matrix/client';
let house: PeekingHouse;
let port: number;
/** The lines of the requests. */
let lines: JsonObject[];

beforeEach(async () => {
  house = await PeekingHouse.open();
  house.homeserver.identities.set('Bearer alice', ALICE);
  const rate = { count: 10, perMs: 60_000 };
  const app = express();
  lines = [];
  const write = (line: string) => void lines.push(JSON.parse(line) as JsonObject);
  app.use(requestLog(pino({ level: 'info' }, { write }), house.clock, seededRandom(1)));
  app.use(createClientRouter({ ...house, trusted: new TrustedProxies(), rate }));
  app.use((_req, res) => void res.status(404).json({ passed: 'on' }));
  const server = createServer(app).listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => void server.close());
  port = (server.address() as AddressInfo).port;
});

/** A POST whose target goes out byte for byte. */
async function post(target: string, body = '', authorization = 'Bearer alice') {
  const socket = connect(port, '127.0.0.1');
  const head = [
    `POST ${target} HTTP/1.1`,
    'Host: here.test',
    `Authorization: ${authorization}`,
    `Content-Length: ${Buffer.byteLength(body)}`,
    'Connection: close',
  ];
  socket.write(`${head.join('\r\n')}\r\n\r\n${body}`);
  let text = '';
  for await (const chunk of socket) text += String(chunk);
  const [headers = '', ...rest] = text.split('\r\n\r\n');
  const json = rest.join('\r\n\r\n').replace(/^[0-9a-f]+\r\n|\r\n0\r\n\r\n$/g, '');
  return {
    status: Number(headers.split(' ')[1]),
    headers: headers.toLowerCase(),
    body: JSON.parse(json) as JsonObject,
  };
}

const peek = (room: string, query = '', body = '') =>
  post(`${C}/v3/peek/${encodeURIComponent(room)}${query}`, body);
const unpeek = (room: string) => post(`${C}/v3/rooms/${encodeURIComponent(room)}/unpeek`);
const resident = () => house.resident(new RoomBuilder()).roomId;

describe('/peek answers', () => {
  test.each(['r0', 'v3', 'unstable/org.matrix.msc2753'])(
    '200 with room_id and peek_expiry_ts, under %s',
    async (prefix) => {
      const room = resident();
      const answer = await post(`${C}/${prefix}/peek/${encodeURIComponent(room)}`);
      expect(answer).toMatchObject({
        status: 200,
        body: { room_id: room, peek_expiry_ts: house.clock.now() + EXPIRE_AFTER },
      });
      expect(answer.headers).toContain('access-control-allow-origin: *');
      expect(answer.headers).toContain('content-type: application/json');
    },
  );

  test('under other prefixes nothing: it goes on', async () => {
    const room = resident();
    for (const prefix of ['v1', 'unstable', 'v3/x']) {
      expect((await post(`${C}/${prefix}/peek/${room}`)).body).toEqual({ passed: 'on' });
    }
  });

  test.each([['nonsense'], ['@user:here.test'], ['%23']])(
    '400 M_INVALID_PARAM: neither a room ID nor an alias: %s',
    async (room) => {
      expect(await peek(room)).toMatchObject({ status: 400, body: { errcode: 'M_INVALID_PARAM' } });
    },
  );

  test('400 M_BAD_STATE: the user is already joined', async () => {
    const room = house.resident(new RoomBuilder());
    room.state('m.room.member', ALICE.userId, { membership: 'join' });
    expect(await peek(room.roomId)).toMatchObject({ status: 400, body: { errcode: 'M_BAD_STATE' } });
  });

  test('403 M_FORBIDDEN: not world_readable', async () => {
    const room = resident();
    house.homeserver.close(room);
    expect(await peek(room)).toMatchObject({ status: 403, body: { errcode: 'M_FORBIDDEN' } });
  });

  test('404 M_NOT_FOUND: unknown alias', async () => {
    expect(await peek('#none:here.test')).toMatchObject({ status: 404, body: { errcode: 'M_NOT_FOUND' } });
  });

  test('429 M_LIMIT_EXCEEDED with retry_after_ms and Retry-After: rate limit', async () => {
    const room = resident();
    for (let i = 0; i < 10; i++) expect(await peek(room)).toMatchObject({ status: 200 });
    const answer = await peek(room);
    expect(answer).toMatchObject({ status: 429, body: { errcode: 'M_LIMIT_EXCEEDED' } });
    expect(answer.body.retry_after_ms).toBeGreaterThan(0);
    expect(answer.headers).toMatch(/^retry-after: [1-9][0-9]*$/m);
  });

  test('429 when all users together are too many, however little each of them asks for', async () => {
    const room = resident();
    const users = Array.from({ length: 100 }, (_, n) => ({ ...ALICE, userId: `@user${n}:here.test` }));
    for (const [n, user] of users.entries()) house.homeserver.identities.set(`Bearer ${n}`, user);
    house.peeking.peek = async () => ({ roomId: room, expiresAt: 1 });
    for (let i = 0; i < 10; i++) {
      const answers = await Promise.all(users.map((_, n) => post(`${C}/v3/peek/${room}`, '', `Bearer ${n}`)));
      expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200]));
      // What is refused to one user takes nothing from the others.
      if (i === 9) expect((await post(`${C}/v3/peek/${room}`, '', 'Bearer 0')).status).toBe(429);
    }
    const answer = await peek(room);
    expect(answer).toMatchObject({ status: 429, body: { errcode: 'M_LIMIT_EXCEEDED' } });
    expect(answer.body.retry_after_ms).toBeGreaterThan(0);
    expect(answer.headers).toMatch(/^retry-after: [1-9][0-9]*$/m);
    expect(await post(`${C}/v3/rooms/${room}/unpeek`)).toMatchObject({ status: 400 });
  });

  test('502 M_UNKNOWN: every candidate server failed; the text names each and why', async () => {
    house.remote.on('a.test', 'PUT', '/peek/', new RemoteUnreachable('a.test: no route'));
    const answer = await peek('!room:b.test', '?server_name=a.test');
    expect(answer).toMatchObject({ status: 502, body: { errcode: 'M_UNKNOWN' } });
    expect(answer.body.error).toContain('a.test: no route');
    expect(answer.body.error).toContain('b.test');
  });

  test('503 M_UNKNOWN with retry_after_ms: our store is down', async () => {
    const room = resident();
    await house.store.close();
    const answer = await peek(room);
    expect(answer).toMatchObject({ status: 503, body: { errcode: 'M_UNKNOWN' } });
    expect(answer.body.retry_after_ms).toBeGreaterThan(0);
    expect(answer.headers).toContain('retry-after:');
  });

  test('502: the homeserver is down', async () => {
    const room = resident();
    house.homeserver.failure = new HomeserverDown('down');
    expect(await peek(room)).toMatchObject({ status: 502, body: { errcode: 'M_UNKNOWN' } });
  });

  test('guest/deactivated/revoked token ⇒ the homeserver’s own 401, as it came', async () => {
    const body = '{"errcode":"M_UNKNOWN_TOKEN","soft_logout":true}';
    house.homeserver.whoami = () => Promise.reject(new HomeserverRefusal(401, Buffer.from(body)));
    const answer = await peek(resident());
    expect(answer).toMatchObject({ status: 401, body: JSON.parse(body) });
    expect(answer.headers).toContain('access-control-allow-origin: *');
  });
});

describe('the servers to peek via', () => {
  test('are server_name and via of the query, then `servers` of the body; what is no server name is passed over', async () => {
    const body = JSON.stringify({ servers: ['d.test', 7, 'not a name', '', 'a.test'], other: {} });
    await peek('!room:own.test', '?server_name=a.test&via=c.test&server_name=b.test&via=%00', body);
    expect(house.remote.sent('PUT').map((sent) => sent.split(' ')[0])).toEqual([
      'a.test',
      'b.test',
      'c.test',
      'd.test',
      'own.test',
    ]);
  });
});

describe('the body', () => {
  test.each([
    ['', 200, undefined],
    ['{}', 200, undefined],
    ['{"servers":"x"}', 200, undefined],
    ['{', 400, 'M_NOT_JSON'],
    ['not json', 400, 'M_NOT_JSON'],
    ['[]', 400, 'M_BAD_JSON'],
    ['"x"', 400, 'M_BAD_JSON'],
    ['null', 400, 'M_BAD_JSON'],
    [`{"a":${'['.repeat(5000)}${']'.repeat(5000)}}`, 400, 'M_BAD_JSON'],
    [`{"a":"${'x'.repeat(70_000)}"}`, 413, 'M_TOO_LARGE'],
  ])('%.20s ⇒ %s %s', async (body, status, errcode) => {
    const answer = await peek(resident(), '', body);
    expect(answer.status).toBe(status);
    expect(answer.body.errcode).toBe(errcode);
    expect(answer.headers).toContain('access-control-allow-origin: *');
  });
});

test.each([
  ['', 200, undefined],
  ['{}', 200, undefined],
  ['{', 400, 'M_NOT_JSON'],
  ['[]', 400, 'M_BAD_JSON'],
])('the body %s of an unpeek ⇒ %s %s', async (body, status, errcode) => {
  const room = resident();
  await peek(room);
  const answer = await post(`${C}/v3/rooms/${encodeURIComponent(room)}/unpeek`, body);
  expect([answer.status, answer.body.errcode]).toEqual([status, errcode]);
  expect(await house.store.devicePeeks.ofRoom(room)).toHaveLength(status === 200 ? 0 : 1);
});

describe('odd percent-encoding of the room', () => {
  test.each([
    ['%zz', 400, 'M_INVALID_PARAM'],
    ['%ff%fe', 400, 'M_INVALID_PARAM'],
    ['%2523alias%253Ahere.test', 400, 'M_INVALID_PARAM'],
    ['%23a%2Fb%3Ahere.test', 404, 'M_NOT_FOUND'],
    ['!room:there.test%00', 400, 'M_INVALID_PARAM'],
    ['%21%F0%9F%98%80%3Ab.test', 502, 'M_UNKNOWN'],
  ])('%s ⇒ %s %s', async (segment, status, errcode) => {
    const answer = await post(`${C}/v3/peek/${segment}`);
    expect([answer.status, answer.body.errcode]).toEqual([status, errcode]);
  });
});

describe('/unpeek answers', () => {
  test('200 {}', async () => {
    const room = resident();
    await peek(room);
    expect(await unpeek(room)).toMatchObject({ status: 200, body: {} });
  });

  test('404 M_NOT_FOUND: unrecognised ID', async () => {
    for (const room of ['!none:x.test', 'nonsense'])
      expect(await unpeek(room)).toMatchObject({ status: 404, body: { errcode: 'M_NOT_FOUND' } });
  });

  test('400 M_BAD_STATE: known but not peeked by this device', async () => {
    expect(await unpeek(resident())).toMatchObject({ status: 400, body: { errcode: 'M_BAD_STATE' } });
  });

  test('a remote room that was peeked is known until its time is over', async () => {
    const room = house.remoteRoom(new RoomBuilder('12', PEER));
    await peek(room.roomId, `?via=${PEER}`);
    expect(await unpeek(room.roomId)).toMatchObject({ status: 200 });
    expect(await unpeek(room.roomId)).toMatchObject({ status: 400 });
  });
});

test('the line of a request names the user and the room, and of a stranger’s neither', async () => {
  const room = resident();
  await peek(room);
  await unpeek(room);
  house.homeserver.whoami = () => Promise.reject(new HomeserverRefusal(401, Buffer.from('{}')));
  await peek(room);
  await expect.poll(() => lines.length).toBe(3);
  const who = { user: ALICE.userId, room };
  expect(lines).toMatchObject([{ status: 200, ...who }, { status: 200, ...who }, { status: 401 }]);
  expect(lines[2]).not.toHaveProperty('user');
  expect(lines[2]).not.toHaveProperty('room');
});
