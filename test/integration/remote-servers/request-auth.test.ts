import http from 'node:http';
import type { AddressInfo } from 'node:net';
import express from 'express';
import pino from 'pino';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { createFederationRouter } from '../../../src/federation-api/router.ts';
import { createListener } from '../../../src/forward/listener.ts';
import type { JsonObject } from '../../../src/matrix/json.ts';
import type { SigningKey } from '../../../src/matrix/signing-key.ts';
import { signRequest } from '../../../src/matrix/x-matrix.ts';
import { createMetrics } from '../../../src/platform/metrics.ts';
import { directKeys } from '../../../src/remote-servers/direct-keys.ts';
import { federationDomains } from '../../../src/remote-servers/federation-domains.ts';
import { FederationKeyRing } from '../../../src/remote-servers/key-ring.ts';
import { RequestAuthenticator } from '../../../src/remote-servers/request-authenticator.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { keyAnswer, testKey } from '../../unit/remote-servers/fakes.ts';
import { type Internet, startInternet } from './internet.ts';

const US = 'us.example';
const PEER = 'peer.example';
const TARGET = '/_matrix/federation/v1/peek/!r:us.example/abc?ver=12';
const SNAPSHOT = '/_matrix/federation/v1/peek/!r:us.example?ver=12';
const HOUR = 60 * 60_000;
const DAY = 24 * HOUR;
const ourKey = testKey('ours');
const key = testKey('peer');
const second = testKey('second');

let internet: Internet;
let listener: http.Server;
let port: number;
let clock: ManualClock;
/** Whom requests were taken to be of. */
let taken: string[];
/** What servers answer when they are asked for their keys, and how often they were. */
const keysOf = new Map<string, (server: string) => JsonObject>();
let keysServed: string[];

beforeAll(async () => {
  internet = await startInternet();
  clock = new ManualClock(Date.now());
  const keyRing = new FederationKeyRing({
    serverName: US,
    ownKey: ourKey,
    notary: async () => [],
    direct: directKeys(internet.servers),
    clock,
    logger: pino({ level: 'silent' }),
    metrics: createMetrics(),
  });
  const domains = federationDomains(US);
  const authenticator = new RequestAuthenticator({ serverName: US, domains, keyRing, clock });
  const note = async (server: string) => {
    taken.push(server);
    return { bytes: 2, chunks: [Buffer.from('{}')], release: () => {} };
  };
  const removed = async (server: string) => {
    taken.push(server);
    return {};
  };
  const inboundPeeks = {
    put: note,
    snapshotOnly: note,
    remove: removed,
    renew: removed,
    mayPeek: () => false,
  };
  const nobody = () => Promise.reject(new Error('nothing is forwarded here'));
  const app = express();
  app.use(
    createFederationRouter({
      inboundPeeks: inboundPeeks as never,
      peerReads: { serve: nobody },
      authenticate: (request) =>
        authenticator.authenticate({ ...request, content: request.content as JsonObject | undefined }),
      forwarder: { fetch: nobody, pipe: nobody },
      rate: { count: 10_000, perMs: 60_000 },
      clock,
      logger: pino({ level: 'silent' }),
    }),
  );
  listener = createListener(app);
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
  port = (listener.address() as AddressInfo).port;
});

afterAll(async () => {
  listener.closeAllConnections();
  await new Promise((resolve) => listener.close(resolve));
  await internet.close();
});

beforeEach(() => {
  taken = [];
  keysServed = [];
});

/** A server that is found at port 8448 under its name, and gives these keys. */
async function serves(server: string, keys: (server: string) => JsonObject): Promise<void> {
  const host = server.replace(/:\d+$/, '').replace(/\.$/, '').toLowerCase();
  const at = /:\d+$/.test(server) ? server : `${server}:8448`;
  internet.dns.names.set(host, { a: ['127.0.0.1'] });
  keysOf.set(server, keys);
  await internet.host([host], [at], (_req, res) => {
    keysServed.push(server);
    res.end(JSON.stringify(keysOf.get(server)?.(server) ?? {}));
  });
}

const withKeys =
  (...keys: SigningKey[]) =>
  (server: string) =>
    keyAnswer(server, keys, clock.now() + DAY);

interface Signed {
  readonly method?: string;
  readonly uri?: string;
  readonly origin?: string;
  readonly destination?: string;
  readonly content?: JsonObject | null;
}

function sign(signed: Signed = {}, signer = key): string {
  const { content = {}, ...rest } = signed;
  const request = { method: 'PUT', uri: TARGET, origin: PEER, destination: US, ...rest };
  return signRequest(content === null ? request : { ...request, content }, signer);
}

interface Sent {
  readonly method?: string;
  readonly target?: string;
  readonly body?: string;
}

/** What the listener answers to a request with these `Authorization` headers. */
function send(authorization: string[], { method = 'PUT', target = TARGET, body = '{}' }: Sent = {}) {
  return new Promise<string>((resolve, reject) => {
    const headers = ['host', US, 'content-length', String(body.length)];
    for (const value of authorization) headers.push('authorization', value);
    const request = http.request({ host: '127.0.0.1', port, method, path: target, headers, agent: false });
    request.on('response', async (response) => {
      let text = '';
      for await (const chunk of response) text += chunk;
      const errcode = (JSON.parse(text) as { errcode?: string }).errcode;
      resolve(`${response.statusCode}${errcode === undefined ? '' : ` ${errcode}`}`);
    });
    request.on('error', reject);
    request.end(body);
  });
}

const REFUSED = '401 M_UNAUTHORIZED';

describe('requests at the listener', () => {
  beforeAll(async () => {
    keysServed = [];
    await serves(PEER, withKeys(key));
  });

  test('unquoted values, upper-case param names, backslash escapes in quotes, unknown param, missing destination (allowed) ⇒ 200', async () => {
    const good = sign();
    const bare = good.replaceAll('"', '');
    const forms = [
      good,
      bare,
      good.replace('origin=', 'ORIGIN=').replace('sig=', 'Sig=').replace('key=', 'KEY='),
      good.replace('"peer.', '"pe\\er\\.'),
      `${good},v="2",x=",\\""`,
      good.replace(`destination="${US}",`, ''),
      good.replace('X-Matrix', 'x-matrix'),
    ];
    expect(new Set(forms).size).toBe(forms.length);
    for (const form of forms) expect(await send([form]), form).toBe('200');
    expect(taken).toEqual(forms.map(() => PEER));
  });

  test('no header, `Bearer` on federation path, two X-Matrix headers, different origins, destination of another server ⇒ 401', async () => {
    const good = sign();
    await serves('other.example', withKeys(second));
    const other = sign({ origin: 'other.example' }, second);
    expect(await send([other])).toBe('200');
    const cases = [[], ['Bearer abc'], ['Basic abc'], [good, other], [other, good]];
    cases.push([sign({ destination: 'them.example' })], [sign({ destination: 'US.example' })]);
    cases.push([good.replace('ed25519:peer', 'ed25519:none')], [good, `${good},a`]);
    for (const headers of cases) expect(await send(headers), headers.join()).toBe(REFUSED);
    expect(taken).toEqual(['other.example']);
    expect(await send(['Bearer abc', good])).toBe('200');
  });

  test('origin = us ⇒ 401, though our own key signed it', async () => {
    for (const origin of [US, 'US.example']) expect(await send([sign({ origin }, ourKey)])).toBe(REFUSED);
    expect(taken).toEqual([]);
  });

  test('origin with port, IPv6, trailing dot, upper case, IDN, 300 chars ⇒ a name of its own, with its own keys, or 401', async () => {
    const names = ['port.example:7000', 'dot.example.', 'UPPER.example', '127.0.0.1:7001'];
    for (const origin of names) {
      expect(await send([sign({ origin })]), origin).toBe(REFUSED);
    }
    await clock.advance(HOUR);
    for (const origin of names) {
      await serves(origin, withKeys(key));
      expect(await send([sign({ origin })]), origin).toBe('200');
    }
    expect(taken).toEqual(names);
    // Keys of one spelling are not those of another.
    for (const origin of ['upper.example', 'dot.example', 'Peer.example', `${PEER}.`]) {
      expect(await send([sign({ origin })]), origin).toBe(REFUSED);
    }
    for (const origin of ['[2001:db8::1]', '[::1]:8448', `${'a'.repeat(292)}.example`, 'a b', '999.1.1.1']) {
      expect(await send([sign({ origin })]), origin).toBe(REFUSED);
    }
    const idn = Buffer.from(sign().replace(PEER, 'bücher.example')).toString('latin1');
    expect(await send([idn])).toBe(REFUSED);
  });

  test('body changed after signing ⇒ 401; the target, the method too', async () => {
    const good = sign();
    expect(await send([good], { body: '{"a":1}' })).toBe(REFUSED);
    expect(await send([good], { target: TARGET.replace('abc', 'abd') })).toBe(REFUSED);
    expect(await send([good], { target: TARGET.replace('!', '%21') })).toBe(REFUSED);
    expect(await send([good], { target: `${TARGET}&` })).toBe(REFUSED);
    expect(await send([good], { method: 'DELETE' })).toBe(REFUSED);
    expect(await send([good], { body: ' { } ' })).toBe('200');
  });

  test('GET with body ⇒ the body is signed too', async () => {
    const get = { method: 'GET', target: SNAPSHOT };
    const without = sign({ method: 'GET', uri: SNAPSHOT, content: null });
    const withBody = sign({ method: 'GET', uri: SNAPSHOT, content: { a: 1 } });
    expect(await send([without], { ...get, body: '' })).toBe('200');
    expect(await send([without], { ...get, body: '{}' })).toBe(REFUSED);
    expect(await send([withBody], { ...get, body: '{"a":1}' })).toBe('200');
    expect(await send([withBody], { ...get, body: '' })).toBe(REFUSED);
  });

  test('1 MB header ⇒ 431, and the next request is served', async () => {
    const long = `${sign()},x="${'a'.repeat(1_000_000)}"`;
    const answer = await send([long]).catch((error: NodeJS.ErrnoException) => error.code);
    expect(['431 M_TOO_LARGE', 'ECONNRESET', 'EPIPE']).toContain(answer);
    expect(await send([`${sign()},x="${'a'.repeat(8000)}"`])).toBe(REFUSED);
    expect(taken).toEqual([]);
    expect(await send([sign()])).toBe('200');
  });
});

describe('keys that a server gives of itself', () => {
  test('key expired / valid_until in past / > 7 d ahead ⇒ valid to its end, and never longer than 7 days', async () => {
    const past = (server: string) => keyAnswer(server, [key], clock.now() - 1);
    const given_up = (server: string) =>
      keyAnswer(server, [second], clock.now() + DAY, [{ key, expiredAt: clock.now() + DAY }]);
    const far = (server: string) => keyAnswer(server, [key], clock.now() + 1000 * DAY);
    const kinds = { 'past.example': past, 'old.example': given_up, 'far.example': far };
    for (const [origin, keys] of Object.entries(kinds)) await serves(origin, keys);
    expect(await send([sign({ origin: 'past.example' })])).toBe(REFUSED);
    expect(await send([sign({ origin: 'old.example' })])).toBe(REFUSED);
    expect(await send([sign({ origin: 'old.example' }, second)])).toBe('200');
    expect(await send([sign({ origin: 'far.example' })])).toBe('200');
    keysOf.delete('far.example');
    await clock.advance(7 * DAY);
    expect(await send([sign({ origin: 'far.example' })])).toBe('200');
    expect(keysServed.filter((name) => name === 'far.example').length).toBe(1);
    await clock.advance(1);
    expect(await send([sign({ origin: 'far.example' })])).toBe(REFUSED);
    expect(keysServed.filter((name) => name === 'far.example').length).toBe(2);
  });

  test.each<[string, (server: string) => JsonObject]>([
    ['key response not self-signed', (server) => ({ ...withKeys(key)(server), signatures: {} })],
    ['server_name ≠ asked', () => withKeys(key)(PEER)],
    ['no keys', () => ({})],
  ])('%s ⇒ 401', async (what, keys) => {
    const origin = `${what.replace(/[^a-z]/g, '')}.example`;
    await serves(origin, keys);
    expect(await send([sign({ origin })])).toBe(REFUSED);
    expect(keysServed).toEqual([origin]);
    // Not asked again for every further request.
    for (let i = 0; i < 20; i++) expect(await send([sign({ origin })])).toBe(REFUSED);
    expect(keysServed).toEqual([origin]);
  });

  test('a flood of requests in one name is one fetch, with keys that are there and with such as are not', async () => {
    await serves('busy.example', withKeys(key));
    const good = Array.from({ length: 50 }, () => send([sign({ origin: 'busy.example' })]));
    expect(new Set(await Promise.all(good))).toEqual(new Set(['200']));
    const bad = Array.from({ length: 50 }, (_, i) => {
      const unknown = { ...second, keyId: `ed25519:u${i}` };
      return send([sign({ origin: 'busy.example' }, unknown)]);
    });
    expect(new Set(await Promise.all(bad))).toEqual(new Set([REFUSED]));
    expect(keysServed).toEqual(['busy.example']);
  });
});
