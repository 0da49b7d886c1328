import { describe, expect, it } from 'vitest';
import { startForwarding, WAYS } from './forwarding.ts';
import { field, fields, type Wire } from './wire.ts';

const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}';

/** Targets that a URL parser would change or refuse. */
const ODD_TARGETS = [
  '/_matrix/client/v3/rooms/!a:b.c/state/m.room.name/',
  '/_matrix/client/v3/rooms/%21a%3Ab.c/state',
  '/_matrix//client///versions',
  '/a/../b/./c',
  '/x?',
  '/x?a=1&a=2&&b',
  '/x?q=%zz%2',
  '/x\\y?z=\\',
  '/x#fragment',
  '/[]{}|^`"<>\'',
  '//host/path',
  `/${'l'.repeat(9000)}`,
];

async function ask(client: Wire, request: string): Promise<void> {
  client.write(request.replaceAll('\n', '\r\n'));
}

describe.each(WAYS)('requests, %s', (way) => {
  it('ten odd URLs forwarded byte-for-byte', async () => {
    const { upstream, client } = await startForwarding(way);
    const wire = await client();
    let up: Wire | null = null;
    for (const target of ODD_TARGETS) {
      await ask(wire, `GET ${target} HTTP/1.1\nHost: a\n\n`);
      up ??= await upstream.accept();
      expect((await up.head()).start).toBe(`GET ${target} HTTP/1.1`);
      up.write(OK);
      expect((await wire.body(await wire.head())).toString()).toBe('{}');
    }
  });

  it('every end-to-end header arrives in its order, duplicates and odd bytes kept', async () => {
    const { upstream, client } = await startForwarding(way);
    const wire = await client();
    const sent = [
      ['Authorization', 'X-Matrix origin=a,key="ed25519:1",sig="x"'],
      ['Authorization', 'X-Matrix origin=a,key="ed25519:2",sig="y"'],
      ['Content-Type', 'application/json'],
      ['X-Latin', 'caf\u00e9\u0080\u00ff'],
      ['X-Empty', ''],
      ['__proto__', 'own'],
      ['Cookie', 'a=1'],
      ['Range', 'bytes=0-'],
      ['accept-encoding', 'gzip'],
    ] as const;
    const lines = sent.map(([name, value]) => `${name}: ${value}\r\n`).join('');
    wire.write(`GET / HTTP/1.1\r\nHost: hs.example:8448\r\n${lines}\r\n`);
    const head = await (await upstream.accept()).head();
    expect(field(head, 'host')).toBe('hs.example:8448');
    const names = new Set(sent.map(([name]) => name.toLowerCase()));
    const arrived = head.headers.filter(([name]) => names.has(name.toLowerCase()));
    const lower = (list: readonly (readonly [string, string])[]) =>
      list.map(([n, v]) => [n.toLowerCase(), v]);
    expect(way === 'pass-through' ? arrived : lower(arrived)).toEqual(lower(sent));
    if (way !== 'pass-through') expect(arrived).toEqual(sent);
  });

  it('hop-by-hop headers, Proxy-Authorization and what Connection names stay behind', async () => {
    const { upstream, client } = await startForwarding(way);
    await ask(
      await client(),
      'GET / HTTP/1.1\nHost: a\nConnection: X-Secret, keep-alive, Host\nKeep-Alive: 5\nX-Secret: 1\nTE: trailers\n' +
        'Proxy-Authorization: Basic eA==\nProxy-Connection: close\nTrailer: X\nUpgrade: h2c\nX-Kept: 1\n\n',
    );
    const head = await (await upstream.accept()).head();
    for (const name of ['x-secret', 'te', 'proxy-authorization', 'proxy-connection', 'trailer', 'upgrade']) {
      expect(field(head, name), name).toBeUndefined();
    }
    expect(field(head, 'keep-alive')).toBeUndefined();
    expect(field(head, 'host')).toBe('a');
    expect(field(head, 'x-kept')).toBe('1');
  });

  it('X-Forwarded-For spoof from untrusted peer is overwritten', async () => {
    const { upstream, client } = await startForwarding(way, ['10.0.0.0/8']);
    await ask(
      await client(),
      'GET / HTTP/1.1\nHost: a\nX-Forwarded-For: 6.6.6.6\nx-forwarded-for: 7.7.7.7\nX-Forwarded-Proto: https\n' +
        'Forwarded: for=6.6.6.6\nX-Real-IP: 6.6.6.6\n\n',
    );
    const head = await (await upstream.accept()).head();
    expect(fields(head, 'x-forwarded-for')).toEqual(['127.0.0.1']);
    expect(fields(head, 'x-forwarded-proto')).toEqual(['http']);
    expect(fields(head, 'forwarded')).toEqual([]);
    expect(fields(head, 'x-real-ip')).toEqual([]);
  });

  it('a trusted proxy is believed, and its own address is appended', async () => {
    const { upstream, client } = await startForwarding(way, ['127.0.0.0/8']);
    await ask(
      await client(),
      'GET / HTTP/1.1\nHost: a\nX-Forwarded-For: 203.0.113.7\nX-Forwarded-Proto: https\n\n',
    );
    const head = await (await upstream.accept()).head();
    expect(fields(head, 'x-forwarded-for')).toEqual(['203.0.113.7, 127.0.0.1']);
    expect(fields(head, 'x-forwarded-proto')).toEqual(['https']);
  });

  it('an upload with its Content-Length keeps it, and its bytes', async () => {
    const { upstream, client } = await startForwarding(way);
    const body = Buffer.from(Array.from({ length: 200_000 }, (_, i) => i % 251));
    for (const method of ['POST', 'PUT', 'DELETE', 'GET']) {
      const wire = await client();
      await ask(wire, `${method} /up HTTP/1.1\nHost: a\nContent-Length: ${body.length}\n\n`);
      wire.write(body);
      const up = await upstream.accept();
      const head = await up.head();
      expect(fields(head, 'content-length')).toEqual([String(body.length)]);
      expect(field(head, 'transfer-encoding')).toBeUndefined();
      expect((await up.body(head)).equals(body)).toBe(true);
      up.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}');
      up.socket.end();
      expect((await wire.head()).start).toBe('HTTP/1.1 200 OK');
    }
  });

  it('a chunked upload arrives with the same bytes, whatever the method', async () => {
    const { upstream, client } = await startForwarding(way);
    for (const method of ['POST', 'DELETE', 'GET']) {
      const wire = await client();
      await ask(wire, `${method} /up HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\n`);
      wire.write('5\r\nhello\r\n');
      await new Promise((resolve) => setTimeout(resolve, 20));
      wire.write('6\r\n world\r\n0\r\n\r\n');
      const up = await upstream.accept();
      const head = await up.head();
      expect((await up.body(head)).toString()).toBe('hello world');
      up.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}');
      up.socket.end();
      expect((await wire.head()).start).toBe('HTTP/1.1 200 OK');
    }
  });

  it('`Expect: 100-continue` ⇒ answered here and never sent on', async () => {
    const { upstream, client } = await startForwarding(way);
    const wire = await client();
    await ask(wire, 'PUT /up HTTP/1.1\nHost: a\nContent-Length: 5\nExpect: 100-continue\nX-Spoof: 1\n\n');
    expect((await wire.head()).start).toBe('HTTP/1.1 100 Continue');
    wire.write('hello');
    const up = await upstream.accept();
    const head = await up.head();
    expect(field(head, 'expect')).toBeUndefined();
    expect(field(head, 'x-forwarded-for')).toBe('127.0.0.1');
    expect((await up.body(head)).toString()).toBe('hello');
    up.write(OK);
    expect((await wire.head()).start).toBe('HTTP/1.1 200 OK');
  });

  it('an early answer to an upload reaches the client, whose connection goes on', async () => {
    const { upstream, client } = await startForwarding(way);
    const wire = await client();
    await ask(wire, 'POST /up HTTP/1.1\nHost: a\nContent-Length: 1000000\n\n');
    wire.write(Buffer.alloc(100_000));
    const up = await upstream.accept();
    await up.head();
    up.write('HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\n{}');
    const answer = await wire.head();
    expect(answer.start).toBe('HTTP/1.1 413 Too Large');
    expect((await wire.body(answer)).toString()).toBe('{}');
    wire.write(Buffer.alloc(900_000));
    await ask(wire, 'GET /next HTTP/1.1\nHost: a\n\n');
    const next = await upstream.accept();
    expect((await next.head()).start).toBe('GET /next HTTP/1.1');
    next.write(OK);
    expect((await wire.head()).start).toBe('HTTP/1.1 200 OK');
  });
});
