import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ResponseTooLargeError } from '../../../src/forward/errors.ts';
import { RawForwarder } from '../../../src/forward/raw-forwarder.ts';
import { TrustedProxies } from '../../../src/forward/trusted-proxies.ts';
import { createUpstream } from '../../../src/forward/upstream.ts';
import { field, fields, Wire, WireServer } from './wire.ts';

let upstream: WireServer;
let forwarder: RawForwarder;
let cleanup: (() => Promise<unknown>)[];

beforeEach(async () => {
  upstream = await WireServer.listen();
  const pool = createUpstream(`http://127.0.0.1:${upstream.port}`);
  forwarder = new RawForwarder(pool, new TrustedProxies());
  cleanup = [() => pool.destroy(), () => upstream.close()];
});

afterEach(async () => {
  for (const each of cleanup) await each();
});

/** A request that has arrived at a server, and its client. */
async function arrived(bytes: string): Promise<{ wire: Wire; req: IncomingMessage; res: ServerResponse }> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const pair = new Promise<[IncomingMessage, ServerResponse]>((resolve) => {
    server.once('request', (...both) => resolve(both));
  });
  const wire = await Wire.connect((server.address() as AddressInfo).port);
  cleanup.unshift(async () => {
    wire.destroy();
    server.close();
  });
  wire.write(bytes);
  const [req, res] = await pair;
  return { wire, req, res };
}

const GET = 'GET /x?since=ours HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\nX-A: 1\r\n\r\n';

describe('forward', () => {
  it('another target is sent byte for byte', async () => {
    const { req, res, wire } = await arrived(GET);
    const outcome = forwarder.forward(req, res, { path: '/x?since=%21//theirs' });
    const up = await upstream.accept();
    expect((await up.head()).start).toBe('GET /x?since=%21//theirs HTTP/1.1');
    up.write('HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1');
    expect(await outcome).toEqual({ kind: 'answered', status: 200 });
    await wire.head();
  });

  it('a body that was read already goes with its own length', async () => {
    const { req, res } = await arrived('PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nread');
    req.resume();
    void forwarder.forward(req, res, { body: Buffer.from('read before') });
    const up = await upstream.accept();
    const head = await up.head();
    expect(fields(head, 'content-length')).toEqual(['11']);
    expect((await up.body(head)).toString()).toBe('read before');
  });

  it('what cannot be sent is refused as the client’s fault', async () => {
    const { req, res, wire } = await arrived(GET);
    const outcome = await forwarder.forward(req, res, { path: 'no path' });
    expect(outcome.kind).toBe('unanswered');
    expect((await wire.head()).start).toBe('HTTP/1.1 400 Bad Request');
  });
});

describe('fetch', () => {
  it('the answer is handed over, and the client gets nothing until it is piped', async () => {
    const { req, res, wire } = await arrived(GET);
    const fetched = forwarder.fetch(req);
    const up = await upstream.accept();
    await up.head();
    up.write('HTTP/1.1 200 OK\r\nX-Dup: 1\r\nX-Dup: 2\r\nContent-Length: 4\r\n\r\nab');
    const response = await fetched;
    expect(response.rawHeaders).toEqual(['X-Dup', '1', 'X-Dup', '2', 'Content-Length', '4']);
    expect(wire.pending).toBe('');
    const outcome = forwarder.pipe(response, res);
    up.write('cd');
    const head = await wire.head();
    expect(fields(head, 'x-dup')).toEqual(['1', '2']);
    expect((await wire.body(head)).toString()).toBe('abcd');
    expect(await outcome).toEqual({ kind: 'answered', status: 200 });
  });

  it('the signal ends the request upstream: before an answer, and in its body', async () => {
    for (const begun of [false, true]) {
      const { req } = await arrived(GET);
      const abort = new AbortController();
      const fetched = forwarder.fetch(req, { signal: abort.signal });
      fetched.catch(() => {});
      const up = await upstream.accept();
      await up.head();
      if (begun) {
        up.write('HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab');
        await fetched;
      }
      abort.abort(new Error('enough'));
      await up.gone();
      if (!begun) await expect(fetched).rejects.toThrow('enough');
    }
  });

  it('an answer that broke off before it was piped becomes 502', async () => {
    const { req, res, wire } = await arrived(GET);
    const fetched = forwarder.fetch(req);
    const up = await upstream.accept();
    await up.head();
    up.write('HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab');
    const response = await fetched;
    up.destroy();
    await new Promise((resolve) => response.body.once('close', resolve));
    expect((await forwarder.pipe(response, res)).kind).toBe('unanswered');
    expect((await wire.head()).start).toBe('HTTP/1.1 502 Bad Gateway');
  });
});

describe('fetchWhole', () => {
  it('the whole answer, asked for without content coding', async () => {
    const { req } = await arrived(GET);
    const whole = forwarder.fetchWhole(req, { maxBytes: 100, dropAcceptEncoding: true });
    const up = await upstream.accept();
    const head = await up.head();
    expect(field(head, 'accept-encoding')).toBeUndefined();
    expect(field(head, 'x-a')).toBe('1');
    up.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n');
    expect(await whole).toEqual({ status: 200, rawHeaders: [], body: Buffer.from('abcd') });
  });

  it('an answer above the limit is given up, upstream too', async () => {
    const { req } = await arrived(GET);
    const whole = forwarder.fetchWhole(req, { maxBytes: 3 });
    const up = await upstream.accept();
    await up.head();
    up.write('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabcd');
    await expect(whole).rejects.toThrow(ResponseTooLargeError);
    await up.gone();
  });

  it('a truncated answer is no answer', async () => {
    const { req } = await arrived(GET);
    const whole = forwarder.fetchWhole(req, { maxBytes: 100 });
    whole.catch(() => {});
    const up = await upstream.accept();
    await up.head();
    up.write('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabcd');
    await new Promise((resolve) => setTimeout(resolve, 10));
    up.destroy();
    await expect(whole).rejects.toThrow();
  });
});
