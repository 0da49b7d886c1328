import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import express from 'express';
import { pino } from 'pino';
import request from 'supertest';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { requestLog } from '../../../src/app/request-log.ts';
import { createFederationRouter, type FederationRouterDeps } from '../../../src/federation-api/router.ts';
import { RawForwarder } from '../../../src/forward/raw-forwarder.ts';
import { TrustedProxies } from '../../../src/forward/trusted-proxies.ts';
import { createUpstream } from '../../../src/forward/upstream.ts';
import { HomeserverDown } from '../../../src/homeserver/homeserver.ts';
import { MatrixError } from '../../../src/platform/matrix-error.ts';
import type { ReceivedRequest } from '../../../src/remote-servers/request-authenticator.ts';
import { StoreDownError } from '../../../src/store/store.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { seededRandom } from '../../support/seeded-random.ts';

const PEEK = '/_matrix/federation/v1/peek/!r:here.test/abc';
const AUTHORIZATION = `X-Matrix origin="there.test",key="ed25519:1",sig="${'A'.repeat(86)}"`;

let homeserver: Server;
let asked: { method: string | undefined; url: string | undefined; body: string }[];
let homeserverAnswer: { status: number; body: string };
let calls: unknown[][];
/** Answers that were let go of. */
let released: number;
let signed: ReceivedRequest[];
let deps: FederationRouterDeps;
let clock: ManualClock;
let upstream: ReturnType<typeof createUpstream>;

function answerOf(body: Buffer) {
  return { bytes: body.length, chunks: [body], release: () => void released++ };
}

beforeEach(async () => {
  asked = [];
  calls = [];
  signed = [];
  homeserverAnswer = { status: 403, body: '{"errcode":"M_FORBIDDEN","error":"Host not in room."}' };
  homeserver = createServer(async (req: IncomingMessage, res) => {
    let body = '';
    for await (const chunk of req) body += chunk;
    asked.push({ method: req.method, url: req.url, body });
    res.writeHead(homeserverAnswer.status, { 'X-Homeserver': 'yes', 'Content-Type': 'application/json' });
    res.end(homeserverAnswer.body);
  });
  await new Promise<void>((listening) => homeserver.listen(0, '127.0.0.1', listening));
  const url = `http://127.0.0.1:${(homeserver.address() as AddressInfo).port}`;
  upstream = createUpstream(url);
  const note =
    <Answer extends object>(name: string, answer: Answer) =>
    async (...args: unknown[]) => {
      calls.push([name, ...args]);
      return { ...answer };
    };
  clock = new ManualClock();
  const noteRoom = (name: string, answer: object) => {
    const chunks =
      JSON.stringify(answer)
        .match(/.{1,3}/g)
        ?.map((part) => Buffer.from(part)) ?? [];
    const bytes = chunks.reduce((sum, { length }) => sum + length, 0);
    released = 0;
    return note(name, { bytes, chunks, release: () => void released++ });
  };
  deps = {
    inboundPeeks: {
      put: noteRoom('put', { peek_id: 'abc' }),
      renew: note('renew', { renewal_interval: 1 }),
      remove: note('remove', {}),
      snapshotOnly: noteRoom('snapshot', { state: [] }),
      mayPeek: (server) => server === 'there.test',
    },
    peerReads: { serve: async () => answerOf(Buffer.from('{"ours":true}')) },
    authenticate: async (request) => {
      signed.push(request);
      if (request.authorizationHeaders[0] !== AUTHORIZATION) {
        throw new MatrixError(401, 'M_UNAUTHORIZED', 'Not signed');
      }
      return 'there.test';
    },
    forwarder: new RawForwarder(upstream, new TrustedProxies([])),
    rate: { count: 5, perMs: 60_000 },
    clock,
    logger: pino({ level: 'silent' }),
  };
});

afterEach(async () => {
  await upstream.destroy();
  await new Promise((closed) => homeserver.close(closed));
});

/** Where requests have their line. */
let requests = pino({ level: 'silent' });

/** The lines of the log from now on. */
function logInto(): () => Record<string, unknown>[] {
  const lines: string[] = [];
  deps = { ...deps, logger: pino({ level: 'info' }, { write: (line: string) => void lines.push(line) }) };
  return () => lines.map((line) => JSON.parse(line) as Record<string, unknown>);
}

function app() {
  const app = express();
  app.use(requestLog(requests, clock, seededRandom(1)));
  app.use(createFederationRouter(deps));
  app.use((_req, res) => void res.status(299).send('next'));
  return request(app);
}

describe('peek endpoints', () => {
  test('PUT, POST renew, DELETE and GET reach their story with decoded names', async () => {
    const auth = { Authorization: AUTHORIZATION };
    await app().put(`${PEEK}?ver=10&ver=11`).set(auth).send({}).expect(200, { peek_id: 'abc' });
    await app().post(`${PEEK}/renew`).set(auth).send({}).expect(200, { renewal_interval: 1 });
    await app().get('/_matrix/federation/v1/peek/%21r:here.test?ver=12').set(auth).expect(200, { state: [] });
    expect(calls).toEqual([
      ['put', 'there.test', '!r:here.test', 'abc', ['10', '11']],
      ['renew', 'there.test', '!r:here.test', 'abc'],
      ['snapshot', 'there.test', '!r:here.test', ['12']],
    ]);
    expect(released).toBe(2);
  });

  test('the line of a request that went well names the server and the room; of one that is not signed, neither', async () => {
    const lines: string[] = [];
    requests = pino({ level: 'info' }, { write: (line: string) => void lines.push(line) });
    await app().put(PEEK).set({ Authorization: AUTHORIZATION }).send({}).expect(200);
    const forged = { Authorization: AUTHORIZATION.replace('A', 'B') };
    await app().put(PEEK).set(forged).send({}).expect(401);
    await expect.poll(() => lines.length).toBe(2);
    requests = pino({ level: 'silent' });
    const [well, badly] = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(well).toMatchObject({ path: PEEK, status: 200, server: 'there.test', room: '!r:here.test' });
    expect(badly).toMatchObject({ path: PEEK, status: 401 });
    expect(badly).not.toHaveProperty('server');
    expect(badly).not.toHaveProperty('room');
  });

  test('DELETE is accepted with and without a body, and the signature covers the one that is there', async () => {
    await app().delete(PEEK).set({ Authorization: AUTHORIZATION }).expect(200, {});
    await app().delete(PEEK).set({ Authorization: AUTHORIZATION }).send({ a: 1 }).expect(200, {});
    expect(calls).toHaveLength(2);
    expect(signed.map((each) => each.content)).toEqual([undefined, { a: 1 }]);
    expect(signed[0]).toMatchObject({ method: 'DELETE', rawUrl: PEEK });
  });

  test.each(['put', 'delete', 'get'] as const)(
    '%s without a valid signature ⇒ 401, nothing done',
    async (method) => {
      const answer = await app()[method](PEEK).set({ Authorization: 'Bearer token' }).send({});
      expect(answer.status).toBe(401);
      expect(answer.body).toMatchObject({ errcode: 'M_UNAUTHORIZED' });
      expect(calls).toEqual([]);
    },
  );

  test.each([
    ['{', 400, 'M_NOT_JSON'],
    ['', 400, 'M_NOT_JSON'],
    ['[]', 400, 'M_BAD_JSON'],
    ['"x"', 400, 'M_BAD_JSON'],
    [`${'['.repeat(5000)}${']'.repeat(5000)}`, 400, 'M_BAD_JSON'],
    [`{"a":"${'x'.repeat(70_000)}"}`, 413, 'M_TOO_LARGE'],
  ])('body %.20s ⇒ %i %s', async (body, status, errcode) => {
    const answer = await app()
      .put(PEEK)
      .set({ Authorization: AUTHORIZATION, 'Content-Type': 'application/json' })
      .send(body);
    expect(answer.status).toBe(status);
    expect(answer.body).toMatchObject({ errcode });
    expect(calls).toEqual([]);
  });

  test('unknown keys of the body are ignored', async () => {
    await app()
      .put(PEEK)
      .set({ Authorization: AUTHORIZATION })
      .send({ unknown: [1] })
      .expect(200);
  });

  test('a server that asks too often ⇒ 429 with retry_after_ms and Retry-After; renewals are counted by themselves', async () => {
    const client = app();
    const auth = { Authorization: AUTHORIZATION };
    for (let i = 0; i < 5; i++) await client.put(PEEK).set(auth).send({}).expect(200);
    const answer = await client.put(PEEK).set(auth).send({});
    expect(answer.status).toBe(429);
    expect(answer.body).toMatchObject({ errcode: 'M_LIMIT_EXCEEDED', retry_after_ms: expect.any(Number) });
    expect(Number(answer.headers['retry-after'])).toBe(Math.ceil(answer.body.retry_after_ms / 1000));
    await client.post(`${PEEK}/renew`).set(auth).send({}).expect(200);
    await client.delete(PEEK).set(auth).expect(200);
  });

  test('a hundred renewals and ends for each room that may be asked for, then 429; a renewal needs no body', async () => {
    deps = { ...deps, rate: { count: 1, perMs: 60_000 } };
    const client = app();
    const auth = { Authorization: AUTHORIZATION };
    for (let i = 0; i < 99; i++) await client.post(`${PEEK}/renew`).set(auth).expect(200);
    await client.delete(PEEK).set(auth).expect(200);
    await client.post(`${PEEK}/renew`).set(auth).expect(429);
    await client.put(PEEK).set(auth).send({}).expect(200);
  });

  test('a refusal is logged with server, room and reason; without what was sent', async () => {
    const logged = logInto();
    const refused = new MatrixError(403, 'M_FORBIDDEN', 'This room is encrypted');
    deps = { ...deps, inboundPeeks: { ...deps.inboundPeeks, put: () => Promise.reject(refused) } };
    await app().put(PEEK).set({ Authorization: AUTHORIZATION }).send({ secret: 'words' }).expect(403);
    expect(logged()[0]).toMatchObject({
      action: 'put',
      server: 'there.test',
      room: '!r:here.test',
      status: 403,
      errcode: 'M_FORBIDDEN',
      reason: 'This room is encrypted',
    });
    expect(JSON.stringify(logged())).not.toContain('words');
  });

  test.each([
    ['no JSON', 400, 'M_NOT_JSON', {}, '{'],
    ['a body that is too large', 413, 'M_TOO_LARGE', {}, `{"a":"${'x'.repeat(70_000)}"}`],
    ['a homeserver that is down', 503, 'M_UNKNOWN', { put: new HomeserverDown('down') }, '{}'],
    ['a store that is down', 503, 'M_UNKNOWN', { put: new StoreDownError('down') }, '{}'],
    ['a bug', 500, 'M_UNKNOWN', { put: new Error('a bug') }, '{}'],
    [
      'a signature that does not hold',
      401,
      'M_UNAUTHORIZED',
      { authenticate: new MatrixError(401, 'M_UNAUTHORIZED', 'Not signed') },
      '{}',
    ],
  ] as [string, number, string, { put?: Error; authenticate?: Error }, string][])(
    '%s ⇒ %i, and one line that names the server, the room and the reason',
    async (_, status, errcode, fails, body) => {
      const logged = logInto();
      const { put, authenticate } = fails;
      if (put !== undefined)
        deps = { ...deps, inboundPeeks: { ...deps.inboundPeeks, put: () => Promise.reject(put) } };
      if (authenticate !== undefined) deps = { ...deps, authenticate: () => Promise.reject(authenticate) };
      const headers = { Authorization: AUTHORIZATION, 'Content-Type': 'application/json' };
      await app().put(PEEK).set(headers).send(body).expect(status);
      const refusals = logged().filter(({ room }) => room !== undefined);
      expect(refusals).toEqual([
        expect.objectContaining({
          action: 'put',
          server: 'there.test',
          room: '!r:here.test',
          status,
          errcode,
          reason: expect.stringMatching(/./),
        }),
      ]);
    },
  );

  test('what is no room ID ⇒ 404', async () => {
    const auth = { Authorization: AUTHORIZATION };
    await app().put('/_matrix/federation/v1/peek/room/abc').set(auth).send({}).expect(404);
    expect(calls).toEqual([]);
  });

  test.each([
    [new StoreDownError('down'), 503, 'M_UNKNOWN'],
    [new HomeserverDown('down'), 503, 'M_UNKNOWN'],
    [new MatrixError(403, 'M_FORBIDDEN', 'no'), 403, 'M_FORBIDDEN'],
    [new Error('a bug'), 500, 'M_UNKNOWN'],
  ])('%s ⇒ %i', async (error, status, errcode) => {
    deps = { ...deps, inboundPeeks: { ...deps.inboundPeeks, put: () => Promise.reject(error) } };
    const answer = await app().put(PEEK).set({ Authorization: AUTHORIZATION }).send({});
    expect(answer.status).toBe(status);
    expect(answer.body.errcode).toBe(errcode);
    expect(answer.body.error).not.toContain('a bug');
  });

  test.each([
    ['post', PEEK],
    ['put', `${PEEK}/renew`],
    ['put', '/_matrix/federation/v1/peek/!r:here.test'],
    ['get', '/_matrix/federation/v1/version'],
    ['put', '/_matrix/federation/v1/PEEK/!r:here.test/abc'],
  ] as const)('%s %s goes on, unread', async (method, path) => {
    await app()[method](path).expect(299);
  });
});

describe('reads', () => {
  const EVENT = '/_matrix/federation/v1/event/%24abc';
  const auth = { Authorization: AUTHORIZATION };

  test('the homeserver is asked first; what it gives goes out as it came', async () => {
    homeserverAnswer = { status: 200, body: '{ "pdus" : [] }' };
    const answer = await app().get(EVENT).set(auth);
    expect([answer.status, answer.text, answer.headers['x-homeserver']]).toEqual([
      200,
      '{ "pdus" : [] }',
      'yes',
    ]);
    expect(asked).toEqual([{ method: 'GET', url: EVENT, body: '' }]);
    expect(signed).toEqual([]);
  });

  test.each([403, 404])('its %i to a server that peeks is replaced by our answer', async (status) => {
    homeserverAnswer = { status, body: '{}' };
    await app().get(EVENT).set(auth).expect(200, { ours: true });
  });

  test('a POST is read, and reaches the homeserver and us as it came', async () => {
    const path = '/_matrix/federation/v1/get_missing_events/!r:here.test';
    await app().post(path).set(auth).send('{ "limit": 5 }').type('json').expect(200, { ours: true });
    expect(asked).toEqual([{ method: 'POST', url: path, body: '{ "limit": 5 }' }]);
    expect(signed[0]?.content).toEqual({ limit: 5 });
  });

  test.each([500, 429, 401])('its %i stands', async (status) => {
    homeserverAnswer = { status, body: '{"errcode":"X"}' };
    await app().get(EVENT).set(auth).expect(status, { errcode: 'X' });
  });

  test('its refusal stands where we have no answer, fail, or cannot authenticate the server', async () => {
    for (const change of [
      { peerReads: { serve: async () => null } },
      { peerReads: { serve: () => Promise.reject(new StoreDownError('down')) } },
      { authenticate: () => Promise.reject(new MatrixError(401, 'M_UNAUTHORIZED', 'forged')) },
    ]) {
      deps = { ...deps, ...change };
      const answer = await app().get(EVENT).set(auth);
      expect([answer.status, answer.headers['x-homeserver']]).toEqual([403, 'yes']);
    }
  });

  test('a server that reads too often is told when to come again', async () => {
    const refusal = new MatrixError(429, 'M_LIMIT_EXCEEDED', 'too often', { retry_after_ms: 7 });
    deps = { ...deps, peerReads: { serve: () => Promise.reject(refusal) } };
    await app()
      .get(EVENT)
      .set(auth)
      .expect(429, refusal.body() as object);
  });

  test('an event by its time: what the homeserver refuses we answer, also that there is none to be told of', async () => {
    const path = '/_matrix/federation/v1/timestamp_to_event/!r:here.test?ts=5&dir=f';
    await app().get(path).set(auth).expect(200, { ours: true });
    const none = new MatrixError(404, 'M_NOT_FOUND', 'none');
    deps = { ...deps, peerReads: { serve: () => Promise.reject(none) } };
    await app()
      .get(path)
      .set(auth)
      .expect(404, none.body() as object);
    expect(asked.map(({ url }) => url)).toEqual([path, path]);
  });

  test.each([
    ['event/%24abc', 429, { room: null, event: '$abc' }],
    ['state_ids/!r:here.test?event_id=%24abc', 503, { room: '!r:here.test', event: '$abc' }],
    ['backfill/!r:here.test?v=%24abc&limit=5', 429, { room: '!r:here.test', event: null }],
  ])(
    'what is refused here is in the log, with server, room and reason: %s ⇒ %i',
    async (read, status, named) => {
      const logged = logInto();
      const refusal = new MatrixError(status, 'M_UNKNOWN', 'not at the moment', { retry_after_ms: 7 });
      deps = { ...deps, peerReads: { serve: () => Promise.reject(refusal) } };
      await app().get(`/_matrix/federation/v1/${read}`).set(auth).expect(status);
      const action = read.split('/', 1)[0];
      const reason = 'not at the moment';
      expect(logged()).toEqual([
        expect.objectContaining({ action, server: 'there.test', ...named, status, reason }),
      ]);
    },
  );

  test('a homeserver that cannot be asked is in the log too', async () => {
    const logged = logInto();
    const path = '/_matrix/federation/v1/get_missing_events/!r:here.test';
    await upstream.destroy();
    await app().post(path).set(auth).send('{}').type('json').expect(502);
    const action = 'get_missing_events';
    expect(logged()).toEqual([
      expect.objectContaining({ action, server: 'there.test', room: '!r:here.test', status: 502 }),
    ]);
  });

  test('a server that does not peek goes on, unread', async () => {
    await app()
      .get(EVENT)
      .set({ Authorization: AUTHORIZATION.replace('there', 'else') })
      .expect(299);
    await app().get(EVENT).expect(299);
    expect(asked).toEqual([]);
  });
});
