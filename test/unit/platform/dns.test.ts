import { mkdtemp, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { type Dns, systemDns } from '../../../src/platform/dns.ts';
import { type DnsServer, startDnsServer } from '../../support/dns-server.ts';
import { ManualClock } from '../../support/manual-clock.ts';

let server: DnsServer;
let dns: Dns;
/** For questions that are not answered. */
let impatient: Dns;

beforeAll(async () => {
  server = await startDnsServer();
});
beforeEach(() => {
  server.names.clear();
  server.asked.length = 0;
  dns = systemDns({ servers: [server.address], hostsFile: '/nowhere' });
  impatient = systemDns({ servers: [server.address], hostsFile: '/nowhere', timeoutMs: 250 });
});
afterAll(() => server.close());

const codeOf = (promise: Promise<unknown>) =>
  promise.then(
    () => 'found',
    (error: Error & { code?: string }) => error.code,
  );

describe('addresses', () => {
  test('A and AAAA, IPv4 first, through CNAMEs, with or without the last dot', async () => {
    server.names.set('a.example', { cname: 'b.example' });
    server.names.set('b.example', { cname: 'c.example' });
    server.names.set('c.example', { a: ['192.0.2.1', '192.0.2.2'], aaaa: ['2001:db8::1'] });
    const found = [
      { address: '192.0.2.1', family: 4 },
      { address: '192.0.2.2', family: 4 },
      { address: '2001:db8::1', family: 6 },
    ];
    expect(await dns.lookup('a.example')).toEqual(found);
    expect(await dns.lookup('A.example.')).toEqual(found);
  });

  test('one kind is enough, also where the other fails', async () => {
    server.names.set('four.example', { a: ['192.0.2.1'] });
    server.names.set('six.example', { aaaa: ['2001:db8::1'] });
    expect(await dns.lookup('four.example')).toEqual([{ address: '192.0.2.1', family: 4 }]);
    expect(await dns.lookup('six.example')).toEqual([{ address: '2001:db8::1', family: 6 }]);
  });

  test('none ⇒ rejected: no such name, no address, a failure, no answer, a name that is none', async () => {
    server.names.set('empty.example', {});
    server.names.set('broken.example', { fails: 'SERVFAIL' });
    server.names.set('silent.example', { fails: 'silent' });
    server.names.set('loop.example', { cname: 'loop.example' });
    expect(await codeOf(dns.lookup('none.example'))).toBe('ENOTFOUND');
    expect(await codeOf(dns.lookup('empty.example'))).toBe('ENODATA');
    expect(await codeOf(dns.lookup('broken.example'))).toBe('ESERVFAIL');
    expect(await codeOf(impatient.lookup('silent.example'))).toBe('ETIMEOUT');
    expect(await codeOf(dns.lookup('loop.example'))).toBe('ESERVFAIL');
    expect(await codeOf(dns.lookup(`${'a'.repeat(64)}.example`))).toBe('EBADNAME');
  });

  test('localhost and what ends in it is loopback, and no question for the DNS', async () => {
    for (const name of ['localhost', 'localhost.', 'LOCALHOST', 'a.b.localhost', 'a.localhost.']) {
      expect(await dns.lookup(name), name).toEqual([
        { address: '127.0.0.1', family: 4 },
        { address: '::1', family: 6 },
      ]);
    }
    expect(server.asked).toEqual([]);
  });

  test('names of one label, and no others, are for the system, which knows the search domains', async () => {
    const asked: string[] = [];
    const bySystem = async (name: string) => {
      asked.push(name);
      return [{ address: '192.0.2.7', family: 4 as const }];
    };
    const searching = systemDns({ servers: [server.address], hostsFile: '/nowhere', bySystem });
    server.names.set('a.example', { a: ['192.0.2.1'] });
    expect(await searching.lookup('Synapse')).toEqual([{ address: '192.0.2.7', family: 4 }]);
    expect(await searching.lookup('a.example')).toEqual([{ address: '192.0.2.1', family: 4 }]);
    expect(asked).toEqual(['synapse']);
    expect(server.asked.every((line) => line.endsWith(' a.example'))).toBe(true);
  });

  test('the hosts file comes first, and is read again when it has changed', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'hosts-'));
    onTestFinished(() => rm(dir, { recursive: true }));
    const hostsFile = join(dir, 'hosts');
    const listing = systemDns({ servers: [server.address], hostsFile });
    server.names.set('one.example', { a: ['192.0.2.9'] });
    expect(await listing.lookup('one.example')).toEqual([{ address: '192.0.2.9', family: 4 }]);
    await writeFile(
      hostsFile,
      '# of ours\n192.0.2.1\tOne.example two.example # both\n::1 two.example\nx y\n',
    );
    expect(await listing.lookup('one.example.')).toEqual([{ address: '192.0.2.1', family: 4 }]);
    expect(await listing.lookup('TWO.example')).toEqual([
      { address: '192.0.2.1', family: 4 },
      { address: '::1', family: 6 },
    ]);
    await writeFile(hostsFile, '192.0.2.3 one.example');
    await utimes(hostsFile, 1, 1);
    expect(await listing.lookup('one.example')).toEqual([{ address: '192.0.2.3', family: 4 }]);
    await rm(hostsFile);
    expect(await listing.lookup('one.example')).toEqual([{ address: '192.0.2.9', family: 4 }]);
  });

  test('names that are never answered hold up neither each other nor anything else', async () => {
    server.names.set('good.example', { a: ['192.0.2.1'] });
    let over = 0;
    for (let i = 0; i < 100; i++) {
      server.names.set(`s${i}.example`, { fails: 'silent' });
      void codeOf(dns.lookup(`s${i}.example`)).finally(() => over++);
    }
    expect((await dns.lookup('good.example')).length).toBe(1);
    expect((await readFile(import.meta.filename)).length).toBeGreaterThan(0);
    expect(over).toBe(0);
  });
});

describe('SRV', () => {
  test('every record, its target without the last dot; the root is empty', async () => {
    server.names.set('_m._tcp.example.org', {
      srv: [
        { target: 'a.example', port: 8448, priority: 10, weight: 5 },
        { target: '', port: 0 },
      ],
    });
    expect((await dns.srv('_m._tcp.example.org')).toSorted((a, b) => b.port - a.port)).toEqual([
      { target: 'a.example', port: 8448, priority: 10, weight: 5 },
      { target: '', port: 0, priority: 0, weight: 0 },
    ]);
  });

  test('no such name, no such record, no possible name ⇒ none; a failure or silence ⇒ rejected', async () => {
    server.names.set('_m._tcp.empty.example', { a: ['192.0.2.1'] });
    server.names.set('_m._tcp.broken.example', { fails: 'SERVFAIL' });
    server.names.set('_m._tcp.silent.example', { fails: 'silent' });
    for (const name of ['none.example', 'empty.example', `${'a'.repeat(64)}.example`]) {
      expect(await dns.srv(`_m._tcp.${name}`), name).toEqual([]);
    }
    expect(await codeOf(dns.srv('_m._tcp.broken.example'))).toBe('ESERVFAIL');
    expect(await codeOf(impatient.srv('_m._tcp.silent.example'))).toBe('ETIMEOUT');
  });
});

test('the name servers are taken up anew after a minute', async () => {
  const clock = new ManualClock();
  const servers = [server.address];
  const moving = systemDns({ servers, hostsFile: '/nowhere', clock });
  server.names.set('a.example', { a: ['192.0.2.1'] });
  expect((await moving.lookup('a.example')).length).toBe(1);
  const second = await startDnsServer();
  onTestFinished(() => second.close());
  second.names.set('a.example', { a: ['192.0.2.2'] });
  servers[0] = second.address;
  expect(await moving.lookup('a.example')).toEqual([{ address: '192.0.2.1', family: 4 }]);
  await clock.advance(60_001);
  expect(await moving.lookup('a.example')).toEqual([{ address: '192.0.2.2', family: 4 }]);
});
