import { readFile } from 'node:fs/promises';
import type { RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createServer, type Server } from 'node:net';
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { addressGuard, parseCidrs } from '../../../src/platform/address-guard.ts';
import { systemClock } from '../../../src/platform/clock.ts';
import type { Dns } from '../../../src/platform/dns.ts';
import { type Destination, GuardedAgent, type HttpsRequest } from '../../../src/platform/guarded-agent.ts';
import { HttpError } from '../../../src/platform/http-client.ts';
import { systemRandom } from '../../../src/platform/random.ts';
import { certificateAdvice } from '../../../src/platform/untrusted-certificate.ts';
import { ServerResolver } from '../../../src/remote-servers/server-resolver.ts';
import { SrvTargets } from '../../../src/remote-servers/srv-targets.ts';
import { testCertificates } from '../../support/certificates.ts';
import { selfSigned } from './self-signed.ts';
import { startTlsPeer, type TlsPeer } from './tls-peer.ts';

const DAY = 24 * 60 * 60_000;
const get: HttpsRequest = { method: 'GET', path: '/', timeoutMs: 5000, maxBytes: 1000 };

let ca: string;
let good: { cert: Buffer; key: Buffer };
let wrongName: { cert: Buffer; key: Buffer };
let addresses: Map<string, string[]>;
let lookedUp: string[];
const ends: (() => Promise<unknown>)[] = [];

beforeAll(async () => {
  const made = await testCertificates();
  ca = await readFile(made.ca, 'utf8');
  good = { cert: await readFile(made.certificate), key: await readFile(made.key) };
  wrongName = { cert: await readFile(made.wrongNameCertificate), key: await readFile(made.wrongNameKey) };
});

beforeEach(() => {
  addresses = new Map([['localhost', ['127.0.0.1']]]);
  lookedUp = [];
});

afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

const dns: Dns = {
  async lookup(host) {
    lookedUp.push(host);
    const found = addresses.get(host);
    if (found === undefined) throw Object.assign(new Error(`no ${host}`), { code: 'ENOTFOUND' });
    return found.map((address) => ({ address, family: address.includes(':') ? 6 : 4 }));
  },
  srv: async () => [],
};

function agent(options: { allow?: string; extraCa?: string; connectTimeoutMs?: number } = {}): GuardedAgent {
  const { allow = '127.0.0.1', extraCa = ca, connectTimeoutMs } = options;
  const made = new GuardedAgent({
    guard: addressGuard(parseCidrs(allow)),
    dns,
    ...(extraCa === '' ? {} : { extraCa }),
    ...(connectTimeoutMs === undefined ? {} : { connectTimeoutMs }),
  });
  ends.push(() => made.close());
  return made;
}

const hello: RequestListener = (req, res) => res.end(`hello ${req.headers.host} ${req.url}`);

async function peer(
  identity: { cert: string | Buffer; key: string | Buffer },
  listener = hello,
): Promise<TlsPeer> {
  const started = await startTlsPeer(identity, listener);
  ends.push(() => started.close());
  return started;
}

const named = ({ port }: TlsPeer, host = 'localhost', certificateName = host): Destination => {
  return { host, port, certificateName };
};

async function failure(promise: Promise<unknown>): Promise<HttpError> {
  const error = await promise.then(
    () => 'answered',
    (reason: unknown) => reason,
  );
  if (error instanceof HttpError) return error;
  throw new Error(`expected an HttpError, got ${String(error)}`);
}

describe('bad cert, wrong name, expired, self-signed', () => {
  test('one of the added authority for the right name is accepted; name and Host are those of the server', async () => {
    const server = await peer(good);
    const answer = await agent().request(named(server), { ...get, headers: { host: 'localhost:1' } });
    expect(answer.body.toString()).toBe('hello localhost:1 /');
    expect(server.serverNames).toEqual(['localhost']);
  });

  test('one for an IP address is accepted at that address, without SNI', async () => {
    const server = await peer(good);
    expect((await agent().request(named(server, '127.0.0.1'), get)).status).toBe(200);
    expect(server.serverNames).toEqual([false]);
  });

  test('one for an IPv6 address is accepted at that address; a machine without IPv6 gets no connection', async () => {
    const server = await startTlsPeer(good, hello, '::1').catch(() => null);
    const there = { host: '::1', port: server?.port ?? 1, certificateName: '::1' };
    const answer = agent({ allow: '::1' }).request(there, { ...get, headers: { host: '[::1]:1' } });
    if (server === null) return expect(await failure(answer)).toMatchObject({ nothingSent: true });
    ends.push(() => server.close());
    expect((await answer).body.toString()).toBe('hello [::1]:1 /');
    expect(server.serverNames).toEqual([false]);
  });

  test('the name is checked, not the host that was connected to (SRV)', async () => {
    const server = await peer(wrongName);
    addresses.set('target.test', ['127.0.0.1']);
    const right = named(server, 'target.test', 'elsewhere.test');
    expect((await agent().request(right, get)).status).toBe(200);
    expect(server.serverNames).toEqual(['elsewhere.test']);
    await failure(agent().request(named(server, 'target.test', 'target.test'), get));
  });

  test('wrong name ⇒ refused, also for an IP address, and the request is not sent', async () => {
    let received = 0;
    const server = await peer(wrongName, (_req, res) => {
      received++;
      res.end();
    });
    expect(await failure(agent().request(named(server), get))).toMatchObject({ nothingSent: true });
    expect((await failure(agent().request(named(server, '127.0.0.1'), get))).reason).toBe('connection');
    expect(received).toBe(0);
  });

  test('self-signed ⇒ refused', async () => {
    const server = await peer(
      selfSigned('localhost', new Date(Date.now() - DAY), new Date(Date.now() + DAY)),
    );
    const error = await failure(agent().request(named(server), get));
    expect(error.message).toMatch(/: its certificate is self-signed$/);
    expect(certificateAdvice(error).advice).toContain('PEEK_FEDERATION_CA_PATH');
  });

  test('expired ⇒ refused, though its authority is trusted', async () => {
    const expired = selfSigned('localhost', new Date(Date.now() - 2 * DAY), new Date(Date.now() - DAY));
    const server = await peer(expired);
    const trusting = agent({ extraCa: expired.cert });
    const error = await failure(trusting.request(named(server), get));
    expect(error.message).toMatch(/expired/);
    expect(certificateAdvice(error)).toEqual({});
  });

  test('the same self-signed one is accepted in its time when it is trusted: the check above is of time', async () => {
    const valid = selfSigned('localhost', new Date(Date.now() - DAY), new Date(Date.now() + DAY));
    const server = await peer(valid);
    expect((await agent({ extraCa: valid.cert }).request(named(server), get)).status).toBe(200);
  });

  test('bad cert: of an unknown authority ⇒ refused', async () => {
    const server = await peer(good);
    const error = await failure(agent({ extraCa: '' }).request(named(server), get));
    expect(error.reason).toBe('connection');
    expect(error.message).toMatch(/: its certificate is of no authority that is trusted here$/);
    expect(certificateAdvice(new Error('outer', { cause: error })).advice).toContain(
      'PEEK_FEDERATION_CA_PATH',
    );
  });
});

describe('addresses', () => {
  test.each(['127.0.0.1', '::1', '::ffff:127.0.0.1', '0.0.0.0', '2130706433', '0x7f.1', '64:ff9b::7f00:1'])(
    'the literal %s ⇒ refused without a connection or a look-up',
    async (host) => {
      const server = await peer(good);
      const error = await failure(agent({ allow: '' }).request(named(server, host), get));
      expect(error).toMatchObject({ reason: 'connection', nothingSent: true });
      expect(server.connections()).toBe(0);
      expect(lookedUp).toEqual([]);
    },
  );

  test('A record private, CNAME to private, localhost., nip.io name ⇒ refused at the look-up', async () => {
    const server = await peer(good);
    for (const host of ['private.example', 'localhost.', '127.0.0.1.nip.io']) {
      addresses.set(host, ['127.0.0.1', '::1', '10.0.0.1']);
      const error = await failure(agent({ allow: '' }).request(named(server, host), get));
      expect(error.nothingSent, host).toBe(true);
      expect(error.message).toMatch(/no address/);
    }
    expect(server.connections()).toBe(0);
    expect(lookedUp).toEqual(['private.example', 'localhost.', '127.0.0.1.nip.io']);
  });

  test.each([
    '127.0.0.1',
    '[::1]',
    '[::ffff:127.0.0.1]',
    '0.0.0.0',
    '169.254.169.254',
    '2130706433',
    '0x7f.1',
    '[64:ff9b::7f00:1]',
    '[2002:7f00:1::]',
    'localhost.',
    '127.0.0.1.nip.io',
  ])(
    'well-known → 127.0.0.1, [::1], [::ffff:127.0.0.1], 0.0.0.0, 169.254.169.254, 2130706433, 0x7f.1, [64:ff9b::7f00:1], [2002:7f00:1::], localhost., nip.io name ⇒ no connection, with a port or without: %s',
    async (delegate) => {
      const server = await peer(good);
      addresses.set('localhost.', ['127.0.0.1']).set('127.0.0.1.nip.io', ['127.0.0.1']);
      const guarded = agent({ allow: '' });
      for (const to of [delegate, `${delegate}:${server.port}`]) {
        const wellKnown = { delegate: async () => to };
        const srv = new SrvTargets({ dns, clock: systemClock, random: systemRandom });
        const resolver = new ServerResolver({ wellKnown, srv });
        const routes = await resolver.resolve('evil.example');
        expect(routes.length).toBe(1);
        for (const route of routes) {
          const error = await failure(guarded.request(route, get));
          expect(error.message, to).toMatch(/no address that may be connected to/);
        }
      }
      expect(server.connections()).toBe(0);
    },
  );

  test('of several addresses only those that are permitted are connected to', async () => {
    const server = await peer(good);
    addresses.set('localhost', ['127.0.0.2', '10.0.0.1', '127.0.0.1']);
    expect((await agent().request(named(server), get)).status).toBe(200);
  });

  test('rebinding: public then private ⇒ the second connection is refused', async () => {
    const server = await peer(good, (_req, res) => res.setHeader('connection', 'close').end());
    const client = agent();
    expect((await client.request(named(server), get)).status).toBe(200);
    addresses.set('localhost', ['127.0.0.2']);
    await expect
      .poll(async () => (await client.request(named(server), get).catch((e: Error) => e)) instanceof Error)
      .toBe(true);
    expect(lookedUp.length).toBeGreaterThanOrEqual(2);
    expect(server.connections()).toBe(1);
  });

  test('a name that does not exist ⇒ nothing sent', async () => {
    const error = await failure(agent().request({ host: 'x.test', port: 1, certificateName: 'x.test' }, get));
    expect(error.nothingSent).toBe(true);
  });
});

describe('bounds', () => {
  test('body 51 KiB and an endless one ⇒ an error at the limit', async () => {
    const server = await peer(good, (req, res) => {
      if (req.url === '/long') return res.end('x'.repeat(51 * 1024));
      const more = () => {
        while (!res.destroyed && res.write('x'.repeat(65_536)));
      };
      res.on('drain', more);
      return more();
    });
    for (const path of ['/long', '/endless']) {
      const request = { ...get, path, maxBytes: 50 * 1024 };
      expect((await failure(agent().request(named(server), request))).reason, path).toBe('too_large');
    }
  });

  test('endless drip ⇒ ended by the total time', async () => {
    const server = await peer(good, (_req, res) => {
      const drip = setInterval(() => res.write(' '), 10);
      res.on('close', () => clearInterval(drip));
    });
    expect((await failure(agent().request(named(server), { ...get, timeoutMs: 300 }))).reason).toBe(
      'timeout',
    );
  });

  test('gzip is not asked for', async () => {
    const server = await peer(good, (req, res) => res.end(String(req.headers['accept-encoding'])));
    expect((await agent().request(named(server), get)).body.toString()).toBe('undefined');
  });

  test('a server that accepts and never says hello ⇒ given up after the time for connecting', async () => {
    let open = 0;
    const silent: Server = createServer((socket) => {
      open++;
      socket
        .resume()
        .on('error', () => {})
        .on('close', () => open--);
    });
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    ends.push(() => new Promise((resolve) => silent.close(resolve)));
    const { port } = silent.address() as AddressInfo;
    const client = agent({ connectTimeoutMs: 300 });
    const error = await failure(
      client.request({ host: 'localhost', port, certificateName: 'localhost' }, get),
    );
    expect(error).toMatchObject({ reason: 'connection', nothingSent: true });
    await expect.poll(() => open).toBe(0);
  });

  test('a header of 64 KiB ⇒ an error', async () => {
    const server = await peer(good, (_req, res) => res.setHeader('x', 'y'.repeat(65_536)).end());
    expect((await failure(agent().request(named(server), get))).reason).toBe('connection');
  });
});
