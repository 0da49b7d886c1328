import { beforeEach, describe, expect, test } from 'vitest';
import { InvalidServerNameError, ServerResolver } from '../../../src/remote-servers/server-resolver.ts';
import { NoServiceError, SrvTargets } from '../../../src/remote-servers/srv-targets.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { seededRandom } from '../../support/seeded-random.ts';
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
  resolver = new ServerResolver({ wellKnown, srv: new SrvTargets({ dns, clock, random: noRandom }) });
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
    { host: 'one.example', port: 1, ...name, connectTimeoutMs: 4000 },
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
    const srv = new SrvTargets({ dns, clock, random });
    const [route] = await new ServerResolver({ wellKnown, srv }).resolve('example.org');
    return route?.host;
  };
  expect(await first(1)).toBe('light.example');
  expect(await first(2)).toBe('heavy.example');
  expect(await first(10)).toBe('heavy.example');
});

test('SRV: a target of weight 0 is first only when 0 is drawn', async () => {
  const equal = { priority: 1, port: 1 };
  const records = [
    { target: 'one.example', weight: 1, ...equal },
    { target: 'zero.example', weight: 0, ...equal },
  ];
  dns.records.set('_matrix-fed._tcp.example.org', records);
  const drawing = (drawn: number) => {
    const random = { ...noRandom, below: (limit: number) => Math.min(drawn, limit - 1) };
    return new SrvTargets({ dns, clock, random }).of('example.org');
  };
  expect((await drawing(0)).map(({ target }) => target)).toEqual(['zero.example', 'one.example']);
  expect((await drawing(1)).map(({ target }) => target)).toEqual(['one.example', 'zero.example']);
});

test('SRV: weights share the load, as they say', async () => {
  const records = [1, 3, 6].map((weight) => ({ target: `w${weight}.x`, port: 1, priority: 1, weight }));
  dns.records.set('_matrix-fed._tcp.example.org', records);
  const srv = new SrvTargets({ dns, clock, random: seededRandom(7) });
  const firsts = new Map<string, number>();
  for (let i = 0; i < 2000; i++) {
    const targets = (await srv.of('example.org')).map(({ target }) => target);
    expect(targets.toSorted()).toEqual(['w1.x', 'w3.x', 'w6.x']);
    firsts.set(targets[0] ?? '', (firsts.get(targets[0] ?? '') ?? 0) + 1);
  }
  expect(firsts.get('w6.x')).toBeGreaterThan(1000);
  expect(firsts.get('w3.x')).toBeGreaterThan(450);
  expect(firsts.get('w1.x')).toBeGreaterThan(100);
});

test('SRV: the target "." ⇒ there is no service, neither under the older name nor at the default port', async () => {
  dns.records.set('_matrix-fed._tcp.example.org', [{ target: '', port: 0, priority: 0, weight: 0 }]);
  dns.records.set('_matrix._tcp.example.org', [{ target: 'old.example', port: 9, priority: 1, weight: 1 }]);
  await expect(resolver.resolve('example.org')).rejects.toThrow(NoServiceError);
  dns.records.set('_matrix._tcp.old.org', [{ target: '', port: 0, priority: 0, weight: 0 }]);
  await expect(resolver.resolve('old.org')).rejects.toThrow(NoServiceError);
});

test('SRV: targets that are no host, and ports that are none, are left out; of many the first eight count', async () => {
  const odd = ['a b', 'x\r\ny', 'é.example', '[::1]', 'a'.repeat(254)].map((target) => ({ target, port: 1 }));
  odd.push({ target: 'zero.example', port: 0 });
  const records = odd.map((record) => ({ ...record, priority: 1, weight: 0 }));
  dns.records.set('_matrix-fed._tcp.example.org', records);
  expect(await resolver.resolve('example.org')).toMatchObject([{ host: 'example.org', port: 8448 }]);
  const many = Array.from({ length: 30 }, (_, i) => ({ target: `t${i}.x`, port: 1, priority: i, weight: 0 }));
  dns.records.set('_matrix-fed._tcp.many.org', many);
  expect((await resolver.resolve('many.org')).map(({ host }) => host)).toEqual(
    Array.from({ length: 8 }, (_, i) => `t${i}.x`),
  );
});

test('one look-up for all who ask at once, in whatever case; the names go out as they were written', async () => {
  const routes = await Promise.all(['Example.ORG', 'example.org'].map((name) => resolver.resolve(name)));
  expect(dns.asked).toEqual(['_matrix-fed._tcp.example.org', '_matrix._tcp.example.org']);
  expect(routes.flat().map(({ hostHeader }) => hostHeader)).toEqual(['Example.ORG', 'example.org']);
});

describe('a DNS that does not answer', () => {
  const down = async () => {
    throw new Error('SERVFAIL');
  };

  test('⇒ the default port, and it is asked again half a minute later', async () => {
    const up = dns.srv.bind(dns);
    dns.srv = down;
    expect(await resolver.resolve('example.org')).toMatchObject([{ host: 'example.org', port: 8448 }]);
    dns.records.set('_matrix-fed._tcp.example.org', [{ target: 'a.x', port: 1, priority: 1, weight: 1 }]);
    dns.srv = up;
    await clock.advance(29_999);
    expect(await resolver.resolve('example.org')).toMatchObject([{ port: 8448 }]);
    await clock.advance(1);
    expect(await resolver.resolve('example.org')).toMatchObject([{ host: 'a.x' }]);
  });

  test('⇒ the records that were read within the hour', async () => {
    dns.records.set('_matrix-fed._tcp.example.org', [{ target: 'a.x', port: 1, priority: 1, weight: 1 }]);
    await resolver.resolve('example.org');
    dns.srv = down;
    for (let minute = 0; minute < 59; minute++) {
      await clock.advance(60_000);
      expect(await resolver.resolve('example.org')).toMatchObject([{ host: 'a.x', port: 1 }]);
    }
    await clock.advance(60_000);
    expect(await resolver.resolve('example.org')).toMatchObject([{ host: 'example.org', port: 8448 }]);
  });
});
