import { beforeEach, describe, expect, test } from 'vitest';
import { InvalidServerNameError, ServerResolver } from '../../../src/remote-servers/server-resolver.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { FakeSrv, noRandom } from './fakes.ts';

let dns: FakeSrv;
let delegates: Map<string, string>;
let clock: ManualClock;
let resolver: ServerResolver;

beforeEach(() => {
  dns = new FakeSrv();
  delegates = new Map();
  clock = new ManualClock();
  const wellKnown = { delegate: async (host: string) => delegates.get(host) ?? null };
  resolver = new ServerResolver({ wellKnown, dns, clock, random: noRandom });
});

describe('a server name that says where it is needs no discovery', () => {
  test.each([
    ['192.0.2.7', '192.0.2.7', 8448, '192.0.2.7'],
    ['192.0.2.7:443', '192.0.2.7', 443, '192.0.2.7'],
    ['[2001:db8::7]', '2001:db8::7', 8448, '2001:db8::7'],
    ['[2001:db8::7]:8000', '2001:db8::7', 8000, '2001:db8::7'],
    ['example.org:8000', 'example.org', 8000, 'example.org'],
    ['localhost.:8000', 'localhost.', 8000, 'localhost'],
  ])('%s', async (server, host, port, certificateName) => {
    delegates.set('example.org', 'elsewhere.example:1');
    expect(await resolver.resolve(server)).toEqual([{ host, port, certificateName, hostHeader: server }]);
    expect(dns.asked).toEqual([]);
  });
});

test.each([
  '',
  'a b',
  'example.org:99999',
  'example.org:0',
  '[::1',
  'https://example.org',
  '999.1.1.1',
  'ex/../',
])('no server name: %j ⇒ refused', async (server) => {
  await expect(resolver.resolve(server)).rejects.toThrow(InvalidServerNameError);
});

test('a name alone: port 8448, after well-known and both SRV services have nothing', async () => {
  expect(await resolver.resolve('example.org')).toEqual([
    { host: 'example.org', port: 8448, certificateName: 'example.org', hostHeader: 'example.org' },
  ]);
  expect(dns.asked).toEqual(['_matrix-fed._tcp.example.org', '_matrix._tcp.example.org']);
});

test('well-known delegates to a port, a literal or a name; the delegate is who must prove itself', async () => {
  delegates.set('a.example', 'matrix.a.example:443');
  delegates.set('b.example', '192.0.2.7');
  delegates.set('c.example', 'matrix.c.example');
  expect(await resolver.resolve('a.example')).toEqual([
    {
      host: 'matrix.a.example',
      port: 443,
      certificateName: 'matrix.a.example',
      hostHeader: 'matrix.a.example:443',
    },
  ]);
  expect(await resolver.resolve('b.example')).toMatchObject([{ host: '192.0.2.7', port: 8448 }]);
  expect(await resolver.resolve('c.example')).toMatchObject([{ host: 'matrix.c.example', port: 8448 }]);
  expect(dns.asked).toEqual(['_matrix-fed._tcp.matrix.c.example', '_matrix._tcp.matrix.c.example']);
});

test('SRV: lowest priority first, the certificate is for the name and not for the target', async () => {
  dns.records.set('_matrix-fed._tcp.example.org', [
    { target: 'two.example', port: 2, priority: 20, weight: 5 },
    { target: 'one.example', port: 1, priority: 10, weight: 0 },
    { target: '', port: 1, priority: 1, weight: 0 },
  ]);
  dns.records.set('_matrix._tcp.example.org', [{ target: 'old.example', port: 9, priority: 1, weight: 1 }]);
  const name = { certificateName: 'example.org', hostHeader: 'example.org' };
  expect(await resolver.resolve('example.org')).toEqual([
    { host: 'one.example', port: 1, ...name },
    { host: 'two.example', port: 2, ...name },
  ]);
});

test('SRV: the older service is asked when the newer has nothing, and an answer is kept five minutes', async () => {
  dns.records.set('_matrix._tcp.example.org', [{ target: 'old.example', port: 9, priority: 1, weight: 1 }]);
  expect(await resolver.resolve('example.org')).toMatchObject([{ host: 'old.example', port: 9 }]);
  await resolver.resolve('example.org');
  expect(dns.asked.length).toBe(2);
  await clock.advance(5 * 60_000);
  await resolver.resolve('example.org');
  expect(dns.asked.length).toBe(4);
});

test('SRV: weights decide between equals', async () => {
  dns.records.set('_matrix-fed._tcp.example.org', [
    { target: 'light.example', port: 1, priority: 1, weight: 1 },
    { target: 'heavy.example', port: 1, priority: 1, weight: 9 },
  ]);
  const first = async (drawn: number) => {
    const random = { ...noRandom, below: (limit: number) => Math.min(drawn, limit - 1) };
    const wellKnown = { delegate: async () => null };
    const [route] = await new ServerResolver({ wellKnown, dns, clock, random }).resolve('example.org');
    return route?.host;
  };
  expect(await first(1)).toBe('light.example');
  expect(await first(2)).toBe('heavy.example');
  expect(await first(10)).toBe('heavy.example');
});

test('a DNS that does not answer ⇒ the default port', async () => {
  dns.srv = async () => {
    throw new Error('SERVFAIL');
  };
  expect(await resolver.resolve('example.org')).toMatchObject([{ host: 'example.org', port: 8448 }]);
});
