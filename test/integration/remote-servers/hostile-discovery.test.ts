import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import type { HttpsRequest } from '../../../src/platform/guarded-agent.ts';
import { HttpError } from '../../../src/platform/http-client.ts';
import { type Internet, startInternet } from './internet.ts';

const put: HttpsRequest = { method: 'PUT', path: '/x', body: '{}', timeoutMs: 5000, maxBytes: 1000 };
const HERE = { a: ['127.0.0.1'] };

let internet: Internet;
beforeEach(async () => {
  internet = await startInternet();
});
afterEach(() => internet.close());

async function refused(server: string): Promise<void> {
  const error = await internet.servers.request(server, put).catch((reason: unknown) => reason);
  expect(error, server).toBeInstanceOf(HttpError);
  expect(error, server).toMatchObject({ nothingSent: true });
  expect((error as HttpError).message, server).toMatch(/no address that may be connected to/);
}

describe('where the DNS leads', () => {
  test('A record private ⇒ refused, wherever the name came from', async () => {
    const private_ = {
      a: ['10.0.0.1', '169.254.169.254', '192.168.1.1'],
      aaaa: ['::1', 'fd00::1', '::ffff:7f00:1'],
    };
    internet.dns.names.set('in.example', private_);
    internet.dns.names.set('_matrix-fed._tcp.srv.example', { srv: [{ target: 'in.example', port: 7000 }] });
    await internet.wellKnownOf('named.example', 'in.example');
    await internet.wellKnownOf('ported.example', 'in.example:7000');
    await internet.wellKnownOf('twice.example', 'srv.example');
    for (const name of ['in.example', 'in.example:7000', 'srv.example', 'named.example', 'ported.example']) {
      await refused(name);
    }
    await refused('twice.example');
  });

  test('CNAME to private ⇒ refused', async () => {
    internet.dns.names.set('a.example', { cname: 'b.example' });
    internet.dns.names.set('b.example', { a: ['10.0.0.1'] });
    await refused('a.example');
  });

  test('public and private addresses under one name ⇒ only the public one is connected to', async () => {
    internet.dns.names.set('a.example', { a: ['10.0.0.1', '127.0.0.1'], aaaa: ['fd00::1'] });
    const host = await internet.host(['a.example'], ['a.example:8448']);
    expect((await internet.servers.request('a.example', put)).status).toBe(200);
    expect(host.connections()).toBe(1);
  });

  test('an SRV target that is written as a literal ⇒ judged as one', async () => {
    for (const [i, target] of ['10.0.0.1', '2130706433', '0x7f.1', '127.0.0.1'].entries()) {
      internet.dns.names.set(`_matrix-fed._tcp.s${i}.example`, { srv: [{ target, port: 7000 }] });
    }
    await internet.host(['s3.example'], ['127.0.0.1:7000']);
    for (const name of ['s0.example', 's1.example', 's2.example']) await refused(name);
    expect((await internet.servers.request('s3.example', put)).status).toBe(200);
  });

  test('rebinding: public then private ⇒ what was looked up is what is connected to, each time anew', async () => {
    internet.dns.names.set('a.example', HERE);
    const host = await internet.host(['a.example'], ['a.example:7000'], (_req, res) => {
      // The next look-up is another.
      internet.dns.names.set('a.example', { a: ['127.0.0.2'] });
      res.setHeader('connection', 'close').end();
    });
    expect((await internet.servers.request('a.example:7000', put)).status).toBe(200);
    expect(internet.dns.asked.filter((line) => line === 'A a.example').length).toBe(1);
    await expect
      .poll(async () => internet.servers.request('a.example:7000', put).catch(String))
      .toMatch(/no address/);
    expect(host.connections()).toBe(1);
  });
});

describe('the file itself', () => {
  const file = JSON.stringify({ 'm.server': 'evil.example:7000' });

  test('redirect loop / 31 redirects ⇒ given up after five, and there is none', async () => {
    internet.dns.names.set('a.example', HERE);
    const loop = await internet.host(['a.example'], ['a.example:443'], (req, res) => {
      const hop = Number(new URL(`https://x${req.url}`).searchParams.get('hop') ?? 0);
      if (hop === 31) return void res.end(file);
      res.writeHead(302, { location: `/x?hop=${hop + 1}` }).end();
    });
    expect(await internet.wellKnown.delegate('a.example')).toBeNull();
    expect(loop.asked.length).toBe(6);
  });

  test('redirect to a name, an address or a port of the inside ⇒ refused at that hop', async () => {
    internet.dns.names.set('in.example', { a: ['10.0.0.1'] });
    const inside = [
      'in.example',
      'in.example:7000',
      '10.0.0.1',
      '[::1]:7000',
      '0x7f.2',
      'localhost.localhost',
      '2130706434',
    ];
    for (const [i, to] of inside.entries()) {
      const name = `r${i}.example`;
      internet.dns.names.set(name, HERE);
      const location = `https://${to}/x`;
      await internet.host(
        [name],
        [`${name}:443`],
        (_req, res) => void res.writeHead(302, { location }).end(),
      );
      expect(await internet.wellKnown.delegate(name), to).toBeNull();
      expect(internet.connected.at(-1), to).not.toBe(`${name}:443`);
    }
  });

  test('redirect to `data:`/`file:`/http ⇒ not followed', async () => {
    let plain = 0;
    const insecure = createServer((_req, res) => void res.end(file)).on('connection', () => plain++);
    await new Promise<void>((resolve) => insecure.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => void insecure.close());
    const { port } = insecure.address() as AddressInfo;
    for (const [i, location] of [
      `http://127.0.0.1:${port}/`,
      `data:application/json,${file}`,
      'file:///etc/passwd',
    ].entries()) {
      const name = `r${i}.example`;
      internet.dns.names.set(name, HERE);
      await internet.host(
        [name],
        [`${name}:443`],
        (_req, res) => void res.writeHead(302, { location }).end(),
      );
      expect(await internet.wellKnown.delegate(name), location).toBeNull();
    }
    expect(plain).toBe(0);
  });

  test('two Location headers, two Cache-Control headers ⇒ the first leads nowhere, the second is read', async () => {
    internet.dns.names.set('a.example', HERE);
    internet.dns.names.set('b.example', HERE);
    await internet.host(['a.example'], ['a.example:443'], (_req, res) => {
      res.statusCode = 302;
      res.setHeader('location', ['https://b.example/', 'https://b.example/']).end();
    });
    await internet.host(['b.example'], ['b.example:443'], (_req, res) => {
      res.setHeader('cache-control', ['public', 'max-age=3600']).end(file);
    });
    expect(await internet.wellKnown.delegate('a.example')).toBeNull();
    expect(await internet.wellKnown.delegate('b.example')).toBe('evil.example:7000');
  });

  test('body 51 KiB, 1 GiB, one without end ⇒ there is none, and no more of it is read than the limit', async () => {
    const padded = `{"m.server":"evil.example:7000","x":"${'x'.repeat(51 * 1024)}"}`;
    internet.dns.names.set('long.example', HERE);
    internet.dns.names.set('said.example', HERE);
    internet.dns.names.set('endless.example', HERE);
    await internet.host(['long.example'], ['long.example:443'], (_req, res) => void res.end(padded));
    await internet.host(['said.example'], ['said.example:443'], (_req, res) => {
      res.writeHead(200, { 'content-length': 2 ** 30 });
      res.write(padded.slice(0, 1000));
    });
    let written = 0;
    await internet.host(['endless.example'], ['endless.example:443'], (_req, res) => {
      const more = () => {
        while (!res.destroyed && res.write('x'.repeat(65_536))) written += 65_536;
      };
      res.on('drain', more);
      more();
    });
    for (const name of ['long.example', 'said.example', 'endless.example']) {
      expect(await internet.wellKnown.delegate(name), name).toBeNull();
    }
    expect(written).toBeLessThan(64 * 1024 * 1024);
  });

  test('an endless drip ⇒ ended by the time for all', async () => {
    await internet.close();
    internet = await startInternet({ mostMs: 1000 });
    internet.dns.names.set('drip.example', HERE);
    let dripping = false;
    await internet.host(['drip.example'], ['drip.example:443'], (_req, res) => {
      dripping = true;
      const drip = setInterval(() => res.write(' '), 20);
      res.on('close', () => {
        clearInterval(drip);
        dripping = false;
      });
    });
    expect(await internet.wellKnown.delegate('drip.example')).toBeNull();
    await expect.poll(() => dripping).toBe(false);
  });

  test('gzip bomb 10 MB → 10 GB ⇒ not asked for, never unpacked', async () => {
    const encodings: unknown[] = [];
    const packed = gzipSync(file.padEnd(1024 * 1024));
    internet.dns.names.set('small.example', HERE);
    internet.dns.names.set('large.example', HERE);
    for (const [name, body] of [
      ['small.example', packed],
      ['large.example', Buffer.alloc(10 * 1024 * 1024)],
    ] as const) {
      await internet.host([name], [`${name}:443`], (req, res) => {
        encodings.push(req.headers['accept-encoding']);
        res.setHeader('content-encoding', 'gzip').end(body);
      });
      expect(await internet.wellKnown.delegate(name), name).toBeNull();
    }
    expect(encodings).toEqual([undefined, undefined]);
  });
});
