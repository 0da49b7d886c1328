import { beforeEach, describe, expect, test } from 'vitest';
import { decodeBase64 } from '../../../src/matrix/base64.ts';
import { verifySignature } from '../../../src/matrix/ed25519.ts';
import type { Json, JsonObject } from '../../../src/matrix/json.ts';
import { parseXMatrix, requestToVerify } from '../../../src/matrix/x-matrix.ts';
import { HttpError, NotConnectedError } from '../../../src/platform/http-client.ts';
import { createMetrics } from '../../../src/platform/metrics.ts';
import { federationDomains } from '../../../src/remote-servers/federation-domains.ts';
import {
  RemoteRefusal,
  type RemoteRequest,
  RemoteUnreachable,
} from '../../../src/remote-servers/remote-servers.ts';
import { ServerHttp } from '../../../src/remote-servers/server-http.ts';
import type { Route } from '../../../src/remote-servers/server-resolver.ts';
import { SignedClient } from '../../../src/remote-servers/signed-client.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { FakeHttps, noRandom, response, testKey } from './fakes.ts';

const signingKey = testKey('ours');
const get: RemoteRequest = { method: 'GET', path: '/_matrix/x', timeoutMs: 5000, maxBytes: 1000 };

let clock: ManualClock;
let https: FakeHttps;
let metrics: ReturnType<typeof createMetrics>;
let routes: Route[];
let client: SignedClient;

beforeEach(() => {
  clock = new ManualClock();
  metrics = createMetrics();
  https = new FakeHttps(() => response(200, { ok: true }));
  routes = [{ host: 'h', port: 1, certificateName: 'peer.example', hostHeader: 'peer.example' }];
  client = clientWith(null);
});

function clientWith(allowed: string[] | null) {
  const domains = federationDomains('us.example', allowed);
  const resolver = { resolve: async () => routes };
  return new SignedClient({
    serverName: 'us.example',
    signingKey,
    domains,
    servers: new ServerHttp({ resolver, https, clock }),
    clock,
    random: noRandom,
    metrics,
  });
}

const connectionLost = (code: string) => () =>
  Promise.reject(new HttpError('connection', code, Object.assign(new Error(code), { code })));

async function outcome(promise: Promise<unknown>): Promise<unknown> {
  return promise.catch((error: unknown) => error);
}

describe('what is sent', () => {
  test('an event as deep as any may be, in a transaction', async () => {
    const content = JSON.parse(`${'['.repeat(98)}1${']'.repeat(98)}`) as Json;
    await client.request('peer.example', {
      ...get,
      method: 'PUT',
      body: { pdus: [{ type: 'x', content: { content } }] },
    });
    expect(https.asked).toHaveLength(1);
  });

  test('the raw target and the JSON that was signed, for that destination, with its Host', async () => {
    const body = { b: 'ü', a: [1, { z: null, y: true }] };
    const path = '/_matrix/federation/v1/peek/!a%3Ab%2F/%21?ver=1&ver=12&x';
    expect(await client.request('peer.example', { ...get, method: 'PUT', path, body })).toEqual({ ok: true });
    const { request } = https.asked[0] ?? expect.fail();
    expect(request).toMatchObject({ method: 'PUT', path, maxBytes: 1000 });
    expect(request.headers).toMatchObject({ host: 'peer.example', 'content-type': 'application/json' });
    expect(request.body).toBe('{"a":[1,{"y":true,"z":null}],"b":"ü"}');
    const header = parseXMatrix(request.headers?.authorization ?? '') ?? expect.fail();
    expect(header).toMatchObject({ origin: 'us.example', destination: 'peer.example', key: 'ed25519:ours' });
    const content = JSON.parse(String(request.body)) as JsonObject;
    const signed = requestToVerify({
      method: 'PUT',
      uri: path,
      origin: 'us.example',
      destination: 'peer.example',
      content,
    });
    const sig = decodeBase64(header.sig) ?? expect.fail();
    expect(verifySignature(signingKey.publicKey, Buffer.from(signed), sig)).toBe(true);
  });

  test('a body that is canonical JSON already is sent and signed as the same object would be', async () => {
    const body = { b: 'ü', a: [1, { z: null, y: true }], pdus: [{ n: 1.5 }] };
    const put = { ...get, method: 'PUT', path: '/_matrix/x' } as const;
    await client.request('peer.example', { ...put, body });
    await client.request('peer.example', {
      ...put,
      canonicalBody: '{"a":[1,{"y":true,"z":null}],"b":"ü","pdus":[{"n":1.5}]}',
    });
    const [first, second] = https.asked;
    expect(second?.request.body).toBe(first?.request.body);
    expect(second?.request.headers).toEqual(first?.request.headers);
  });

  test('a GET has no body and its signature covers none', async () => {
    await client.request('peer.example', get);
    const { request } = https.asked[0] ?? expect.fail();
    expect('body' in request).toBe(false);
    expect(request.headers).not.toHaveProperty('content-type');
  });

  test('an answer of more names and values than allowed is none', async () => {
    https.answer = () => response(200, { list: [1, 2, 3] });
    expect(await client.request('peer.example', { ...get, maxValues: 6 })).toEqual({ list: [1, 2, 3] });
    const tooMany = client.request('peer.example', { ...get, maxValues: 5 });
    expect(await outcome(tooMany)).toBeInstanceOf(RemoteUnreachable);
  });

  test.each(['', 'x', '/a b', '/a\r\nx: y', '/ü'])('a target that is none is not sent: %j', async (path) => {
    expect(await outcome(client.request('peer.example', { ...get, path }))).toBeInstanceOf(RemoteUnreachable);
    expect(https.asked).toEqual([]);
    expect(client.availableIn('peer.example')).toBe(0);
  });

  test('nothing goes to our own name, to what is no server name, or past the list of allowed servers', async () => {
    const listed = clientWith(['friend.example']);
    for (const [from, to] of [
      [client, 'us.example'],
      [client, 'US.example'],
      [client, 'a/b'],
      [client, ''],
      [listed, 'peer.example'],
    ] as const) {
      expect(await outcome(from.request(to, get)), to).toBeInstanceOf(RemoteUnreachable);
    }
    expect(https.asked).toEqual([]);
    expect(await listed.request('Friend.example', get)).toEqual({ ok: true });
  });
});

describe('what comes back', () => {
  test('any status but 2xx is a refusal, with errcode and body where they are', async () => {
    https.answer = () => response(403, { errcode: 'M_FORBIDDEN', error: 'no' });
    const refusal = await outcome(client.request('peer.example', get));
    expect(refusal).toBeInstanceOf(RemoteRefusal);
    expect(refusal).toMatchObject({ status: 403, errcode: 'M_FORBIDDEN', body: { error: 'no' } });
    https.answer = () => response(502, '<html>');
    expect(await outcome(client.request('peer.example', { ...get, ignoreBackOff: true }))).toMatchObject({
      status: 502,
      errcode: null,
      body: {},
    });
  });

  test.each<[string, string]>([
    ['HTML', '<html>'],
    ['an array', '[]'],
    ['nothing', ''],
    ['nested JSON of depth 200 000', `{"a":${'['.repeat(200_000)}${']'.repeat(200_000)}}`],
  ])('a 200 with what is no JSON object ⇒ unreachable: %s', async (_, body) => {
    https.answer = () => response(200, body);
    expect(await outcome(client.request('peer.example', get))).toBeInstanceOf(RemoteUnreachable);
  });

  test('an event nested 5 000 deep, and one with a number beyond all bounds, cost the answer nothing', async () => {
    https.answer = () => response(200, `{"a":1,"b":${'['.repeat(5000)}${']'.repeat(5000)},"c":1e400}`);
    expect(await client.request('peer.example', get)).toMatchObject({ a: 1, c: Number.POSITIVE_INFINITY });
  });

  test('floats, as events of old room versions hold them, are let through', async () => {
    https.answer = () => response(200, '{"a":1.5}');
    expect(await client.request('peer.example', get)).toEqual({ a: 1.5 });
  });
});

describe('back-off', () => {
  test('after a failure nothing is sent for a while, except what a user waits for', async () => {
    https.answer = connectionLost('UND_ERR_SOCKET');
    expect(await outcome(client.request('peer.example', get))).toBeInstanceOf(RemoteUnreachable);
    expect(client.availableIn('peer.example')).toBe(1000);
    expect(await outcome(client.request('peer.example', get))).toBeInstanceOf(RemoteUnreachable);
    expect(https.asked.length).toBe(1);
    https.answer = () => response(200, {});
    await client.request('peer.example', { ...get, ignoreBackOff: true });
    expect(client.availableIn('peer.example')).toBe(0);
    const { text } = await metrics.exposition();
    expect(text).toContain('peek_proxy_remote_requests_total{outcome="backing_off"} 1');
    expect(text).toContain('peek_proxy_remote_requests_total{outcome="unreachable"} 1');
  });

  test.each<[string, number, unknown, number]>([
    ['404 is an answer', 404, '', 0],
    ['429 is an answer', 429, { errcode: 'M_LIMIT_EXCEEDED' }, 0],
    ['500 in Matrix words is an answer', 500, { errcode: 'M_UNKNOWN' }, 0],
    ['500 of something else is none', 500, '<html>', 1000],
    ['502 is none', 502, { errcode: 'M_UNKNOWN' }, 1000],
  ])('%s', async (_, status, body, wait) => {
    https.answer = () => response(status, body);
    await outcome(client.request('peer.example', get));
    expect(client.availableIn('peer.example')).toBe(wait);
  });

  test('an answer over the limit is an error, but a sign of life; a cancelled request is no sign at all', async () => {
    https.answer = () => Promise.reject(new HttpError('too_large', 'big'));
    expect(await outcome(client.request('peer.example', get))).toBeInstanceOf(RemoteUnreachable);
    expect(client.availableIn('peer.example')).toBe(0);
    const abort = new AbortController();
    https.answer = () => new Promise(() => {});
    const running = outcome(client.request('peer.example', { ...get, signal: abort.signal }));
    await clock.advance(10);
    abort.abort();
    expect(await running).toBeInstanceOf(RemoteUnreachable);
    expect(client.availableIn('peer.example')).toBe(0);
    expect(clock.pending).toBe(0);
  });

  test('discovery, connection and answer share one time', async () => {
    https.answer = () => new Promise(() => {});
    const running = outcome(client.request('peer.example', get));
    await clock.advance(4999);
    expect(client.availableIn('peer.example')).toBe(0);
    await clock.advance(1);
    expect(await running).toBeInstanceOf(RemoteUnreachable);
    expect(client.availableIn('peer.example')).toBe(1000);
  });
});

describe('several targets', () => {
  beforeEach(() => {
    routes.push({ host: 'h2', port: 2, certificateName: 'peer.example', hostHeader: 'peer.example' });
  });

  test('the next one is tried where there was no connection', async () => {
    https.answer = ({ destination }) =>
      destination.host === 'h' ? connectionLost('ECONNREFUSED')() : response(200, {});
    await client.request('peer.example', get);
    expect(https.asked.map(({ destination }) => destination.host)).toEqual(['h', 'h2']);
  });

  test('what may have been sent is not sent twice, save a GET', async () => {
    https.answer = connectionLost('UND_ERR_SOCKET');
    await outcome(client.request('peer.example', { ...get, method: 'PUT', body: {} }));
    expect(https.asked.length).toBe(1);
    await outcome(client.request('peer.example', { ...get, ignoreBackOff: true }));
    expect(https.asked.length).toBe(3);
  });

  test('a handshake that fails is no connection', async () => {
    const failed = new NotConnectedError(Object.assign(new Error('reset'), { code: 'ECONNRESET' }));
    https.answer = ({ destination }) =>
      destination.host === 'h'
        ? Promise.reject(new HttpError('connection', 'reset', failed))
        : response(200, {});
    await client.request('peer.example', { ...get, method: 'PUT', body: {} });
    expect(https.asked.map(({ destination }) => destination.host)).toEqual(['h', 'h2']);
  });

  test('a dead target is tried after the others for five minutes, or until it is back', async () => {
    const asked = async () => {
      https.asked.length = 0;
      await client.request('peer.example', { ...get, ignoreBackOff: true });
      return https.asked.map(({ destination }) => destination.host);
    };
    const dead = new Set(['h']);
    https.answer = ({ destination }) =>
      dead.has(destination.host) ? connectionLost('ECONNREFUSED')() : response(200, {});
    expect(await asked()).toEqual(['h', 'h2']);
    expect(await asked()).toEqual(['h2']);
    await clock.advance(5 * 60_000);
    expect(await asked()).toEqual(['h', 'h2']);
    dead.delete('h');
    dead.add('h2');
    expect(await asked()).toEqual(['h2', 'h']);
    expect(await asked()).toEqual(['h']);
  });

  test('an answer that is refused, or does not come in time, is not asked for elsewhere', async () => {
    https.answer = () => response(503, '');
    await outcome(client.request('peer.example', get));
    https.answer = () => Promise.reject(new HttpError('timeout', 'slow'));
    await outcome(client.request('peer.example', { ...get, ignoreBackOff: true }));
    expect(https.asked.length).toBe(2);
  });
});

describe('software', () => {
  test('is asked once for many and kept an hour', async () => {
    https.answer = () => response(200, { server: { name: 'Dendrite', version: '0.15.2' } });
    const found = await Promise.all([client.software('peer.example'), client.software('peer.example')]);
    expect(found).toEqual(Array(2).fill({ name: 'Dendrite', version: '0.15.2' }));
    await clock.advance(60 * 60_000 - 1);
    await client.software('peer.example');
    expect(https.asked.length).toBe(1);
    await clock.advance(1);
    await client.software('peer.example');
    expect(https.asked.length).toBe(2);
  });

  test.each([{}, { server: 'x' }, { server: { name: 1, version: '1' } }])(
    'null when it does not say: %j',
    async (body) => {
      https.answer = () => response(200, body);
      expect(await client.software('peer.example')).toBeNull();
    },
  );
});
