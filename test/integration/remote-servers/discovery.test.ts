import { afterEach, beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import type { HttpsRequest } from '../../../src/platform/guarded-agent.ts';
import { HttpError } from '../../../src/platform/http-client.ts';
import { NoServiceError } from '../../../src/remote-servers/srv-targets.ts';
import { type Internet, startCutter, startInternet } from './internet.ts';

const get: HttpsRequest = { method: 'GET', path: '/x', timeoutMs: 5000, maxBytes: 1000 };
const put: HttpsRequest = { ...get, method: 'PUT', body: '{}' };
const HERE = { a: ['127.0.0.1'] };

let internet: Internet;
beforeEach(async () => {
  internet = await startInternet();
});
afterEach(() => internet.close());

async function ask(server: string, request = get): Promise<string> {
  return (await internet.servers.request(server, request)).body.toString();
}

const failure = (server: string, request = get) =>
  internet.servers.request(server, request).then(
    () => expect.fail(`${server} answered`),
    (error: unknown) => error,
  );

describe('names that say where they are', () => {
  test('an IPv4 literal, without a port and with one: its certificate is for the address, no SNI', async () => {
    const host = await internet.host(['127.0.0.1'], ['127.0.0.1:8448', '127.0.0.1:7000']);
    expect(await ask('127.0.0.1')).toBe('for 127.0.0.1');
    expect(await ask('127.0.0.1:7000')).toBe('for 127.0.0.1:7000');
    expect(host.serverNames).toEqual([false, false]);
    expect(internet.connected).toEqual(['127.0.0.1:8448', '127.0.0.1:7000']);
    expect(internet.dns.asked).toEqual([]);
  });

  test('a certificate for a name proves no address, and one for an address no name', async () => {
    internet.dns.names.set('a.example', HERE);
    await internet.host(['a.example'], ['127.0.0.1:8448']);
    await internet.host(['127.0.0.1'], ['a.example:7000']);
    expect(await failure('127.0.0.1')).toMatchObject({ nothingSent: true });
    expect(await failure('a.example:7000')).toMatchObject({ nothingSent: true });
  });

  test('a name with a port: no well-known, no SRV; Host has the port, SNI has not', async () => {
    internet.dns.names.set('a.example', HERE);
    const host = await internet.host(['a.example'], ['a.example:7000']);
    expect(await ask('a.example:7000')).toBe('for a.example:7000');
    expect(host.serverNames).toEqual(['a.example']);
    expect(internet.connected).toEqual(['a.example:7000']);
    expect(internet.dns.asked.toSorted()).toEqual(['A a.example', 'AAAA a.example']);
  });
});

describe('.well-known', () => {
  test('to a literal, with a port and without', async () => {
    await internet.wellKnownOf('a.example', '127.0.0.1:7000');
    await internet.wellKnownOf('b.example', '127.0.0.1');
    await internet.host(['127.0.0.1'], ['127.0.0.1:8448', '127.0.0.1:7000']);
    expect(await ask('a.example')).toBe('for 127.0.0.1:7000');
    expect(await ask('b.example')).toBe('for 127.0.0.1');
  });

  test('to a name with a port: that name counts, and it is not discovered further', async () => {
    await internet.wellKnownOf('a.example', 'm.example:7000');
    internet.dns.names.set('m.example', HERE);
    const host = await internet.host(['m.example'], ['m.example:7000']);
    expect(await ask('a.example')).toBe('for m.example:7000');
    expect(host.serverNames).toEqual(['m.example']);
    expect(internet.dns.asked.some((line) => line.startsWith('SRV'))).toBe(false);
    expect(internet.connected).toEqual(['a.example:443', 'm.example:7000']);
  });

  test('to a name: SRV of that name, whose own well-known is not read; the name counts, not the target', async () => {
    await internet.wellKnownOf('a.example', 'm.example');
    const other = await internet.wellKnownOf('m.example', 'evil.example:1');
    internet.dns.names.set('_matrix-fed._tcp.m.example', { srv: [{ target: 't.example', port: 7000 }] });
    internet.dns.names.set('t.example', HERE);
    const host = await internet.host(['m.example'], ['t.example:7000']);
    expect(await ask('a.example')).toBe('for m.example');
    expect(host.serverNames).toEqual(['m.example']);
    expect(other.connections()).toBe(0);
  });

  test('to a name that has the older SRV alone, and to one that has none', async () => {
    await internet.wellKnownOf('a.example', 'm.example');
    await internet.wellKnownOf('b.example', 'n.example');
    internet.dns.names.set('_matrix._tcp.m.example', { srv: [{ target: 't.example', port: 7000 }] });
    internet.dns.names.set('t.example', HERE);
    internet.dns.names.set('n.example', HERE);
    await internet.host(['m.example'], ['t.example:7000']);
    await internet.host(['n.example'], ['n.example:8448']);
    expect(await ask('a.example')).toBe('for m.example');
    expect(await ask('b.example')).toBe('for n.example');
  });

  test('the delegate does not prove itself with a certificate of the name that delegates', async () => {
    await internet.wellKnownOf('a.example', 'm.example:7000');
    internet.dns.names.set('m.example', HERE);
    const host = await internet.host(['a.example'], ['m.example:7000']);
    expect(await failure('a.example')).toMatchObject({ reason: 'connection', nothingSent: true });
    expect(host.asked).toEqual([]);
  });

  test('of a host that has not the right certificate is not believed', async () => {
    internet.dns.names.set('a.example', HERE);
    const file = JSON.stringify({ 'm.server': 'evil.example:7000' });
    const liar = await internet.host(['b.example'], ['a.example:443'], (_req, res) => void res.end(file));
    await internet.host(['a.example'], ['a.example:8448']);
    expect(await ask('a.example')).toBe('for a.example');
    expect(liar.asked).toEqual([]);
  });
});

describe('SRV', () => {
  test('no well-known: the certificate is for the server name, and one for the target does not do', async () => {
    internet.dns.names.set('_matrix-fed._tcp.a.example', { srv: [{ target: 't.example', port: 7000 }] });
    internet.dns.names.set('_matrix-fed._tcp.b.example', { srv: [{ target: 't.example', port: 7001 }] });
    internet.dns.names.set('t.example', HERE);
    const right = await internet.host(['a.example'], ['t.example:7000']);
    const wrong = await internet.host(['t.example'], ['t.example:7001']);
    expect(await ask('a.example')).toBe('for a.example');
    expect(right.serverNames).toEqual(['a.example']);
    expect(await failure('b.example')).toMatchObject({ nothingSent: true });
    expect(wrong.asked).toEqual([]);
  });

  test('targets are tried in the order of their priority: a dead one, one with a wrong certificate, one that cuts the handshake, one that is there', async () => {
    const cutting = await startCutter();
    onTestFinished(() => cutting.close());
    internet.lead(cutting.port, ['t.example:7003']);
    internet.dns.names.set('t.example', HERE);
    internet.dns.names.set('_matrix-fed._tcp.a.example', {
      srv: [
        { target: 't.example', port: 7004, priority: 40 },
        { target: 't.example', port: 7003, priority: 30 },
        { target: 't.example', port: 7002, priority: 20 },
        { target: 'gone.example', port: 7001, priority: 10 },
      ],
    });
    await internet.host(['b.example'], ['t.example:7002']);
    await internet.host(['a.example'], ['t.example:7004']);
    expect(await ask('a.example', put)).toBe('for a.example');
    const targets = ['gone.example:7001', 't.example:7002', 't.example:7003', 't.example:7004'];
    expect(internet.connected.slice(1)).toEqual(targets);
    internet.connected.length = 0;
    expect(await ask('a.example', put)).toBe('for a.example');
    expect(internet.connected).toEqual(['t.example:7004']);
  });

  test('the target "." ⇒ no service: nothing is connected to, also where the name has an address', async () => {
    internet.dns.names.set('a.example', HERE);
    internet.dns.names.set('_matrix-fed._tcp.a.example', { srv: [{ target: '', port: 0 }] });
    const host = await internet.host(['a.example'], ['a.example:8448']);
    expect(await failure('a.example')).toBeInstanceOf(NoServiceError);
    expect(host.connections()).toBe(0);
  });

  test('a target that is an alias (CNAME) is followed, though RFC 2782 forbids it', async () => {
    internet.dns.names.set('_matrix-fed._tcp.a.example', { srv: [{ target: 'alias.example', port: 7000 }] });
    internet.dns.names.set('alias.example', { cname: 't.example' });
    internet.dns.names.set('t.example', HERE);
    await internet.host(['a.example'], ['alias.example:7000']);
    expect(await ask('a.example')).toBe('for a.example');
  });

  test('a DNS that fails or is silent ⇒ port 8448', async () => {
    await internet.close();
    internet = await startInternet({ dnsTimeoutMs: 400 });
    for (const [name, fails] of [['a.example', 'SERVFAIL'] as const, ['b.example', 'silent'] as const]) {
      internet.dns.names.set(`_matrix-fed._tcp.${name}`, { fails });
      internet.dns.names.set(`_matrix._tcp.${name}`, { fails });
      internet.dns.names.set(name, HERE);
      await internet.host([name], [`${name}:8448`]);
      expect(await ask(name)).toBe(`for ${name}`);
    }
  });
});

describe('a name alone', () => {
  test('nothing there: port 8448, with its own name', async () => {
    internet.dns.names.set('a.example', HERE);
    const host = await internet.host(['a.example'], ['a.example:8448']);
    expect(await ask('a.example')).toBe('for a.example');
    expect(host.serverNames).toEqual(['a.example']);
    expect(internet.connected).toEqual(['a.example:443', 'a.example:8448']);
  });

  test('an alias (CNAME) is followed; the certificate is for the name and not for what it stands for', async () => {
    internet.dns.names.set('a.example', { cname: 'b.example' });
    internet.dns.names.set('b.example', { cname: 'c.example' });
    internet.dns.names.set('c.example', HERE);
    await internet.host(['a.example'], ['a.example:8448']);
    await internet.host(['c.example'], ['b.example:8448']);
    expect(await ask('a.example')).toBe('for a.example');
    expect(await failure('b.example')).toMatchObject({ nothingSent: true });
  });

  test('of several addresses the next one is tried when one is dead', async () => {
    await internet.close();
    internet = await startInternet({ allow: '127.0.0.0/8' });
    internet.dns.names.set('a.example', { a: ['127.0.0.2', '127.0.0.3', '127.0.0.1'] });
    const host = await internet.host(['a.example'], ['a.example:8448']);
    expect(await ask('a.example')).toBe('for a.example');
    expect(host.connections()).toBe(1);
  });

  test('no address, no answer of the DNS ⇒ nothing sent', async () => {
    internet.dns.names.set('b.example', { fails: 'SERVFAIL' });
    for (const name of ['a.example', 'b.example']) {
      const error = await failure(name, put);
      expect(error).toBeInstanceOf(HttpError);
      expect(error).toMatchObject({ reason: 'connection', nothingSent: true });
    }
  });
});
