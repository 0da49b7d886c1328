import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { gzipSync } from 'node:zlib';
import { Agent } from 'undici';
import { afterEach, expect, test } from 'vitest';
import { createHttpClient, HttpError, type HttpRequest } from '../../../src/platform/http-client.ts';

const open: { server: Server; agent: Agent }[] = [];

afterEach(async () => {
  for (const { server, agent } of open.splice(0)) {
    await agent.destroy();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
});

async function serving(listener: RequestListener) {
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const agent = new Agent();
  open.push({ server, agent });
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const client = createHttpClient(agent);
  return (request: Partial<HttpRequest>) =>
    client({ method: 'GET', origin, path: '/', timeoutMs: 5000, maxBytes: 1000, ...request });
}

function failure(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => 'answered',
    (error: unknown) => (error instanceof HttpError ? error.reason : String(error)),
  );
}

test('method, raw target, headers and body go out as given, and any status comes back whole', async () => {
  const request = await serving((req, res) => {
    const chunks: Buffer[] = [];
    req.on('data', (chunk: Buffer) => chunks.push(chunk));
    req.on('end', () => {
      res.writeHead(418, { 'x-one': '1' });
      res.end(JSON.stringify([req.method, req.url, req.headers['x-a'], Buffer.concat(chunks).toString()]));
    });
  });
  const answer = await request({
    method: 'PUT',
    path: '/a%21//b?x=%F0&y',
    headers: { 'x-a': 'b' },
    body: '{"k":"ü"}',
  });
  expect(answer.status).toBe(418);
  expect(answer.headers['x-one']).toBe('1');
  expect(JSON.parse(answer.body.toString())).toEqual(['PUT', '/a%21//b?x=%F0&y', 'b', '{"k":"ü"}']);
});

test('an answer of exactly the limit is given, one byte more is an error, said or not said beforehand', async () => {
  const request = await serving((req, res) => {
    const size = Number(req.url?.slice(2));
    if (req.url?.startsWith('/l')) res.setHeader('content-length', size);
    else res.write('x');
    res.end('x'.repeat(req.url?.startsWith('/l') ? size : size - 1));
  });
  expect((await request({ path: '/l1000' })).body.length).toBe(1000);
  expect((await request({ path: '/c1000' })).body.length).toBe(1000);
  expect(await failure(request({ path: '/l1001' }))).toBe('too_large');
  expect(await failure(request({ path: '/c1001' }))).toBe('too_large');
});

test('an endless drip ⇒ ended by the total time, though bytes keep coming', async () => {
  let closed = false;
  const request = await serving((_req, res) => {
    res.write('x');
    const drip = setInterval(() => res.write('x'), 20);
    res.on('close', () => {
      clearInterval(drip);
      closed = true;
    });
  });
  const started = performance.now();
  expect(await failure(request({ timeoutMs: 300 }))).toBe('timeout');
  expect(performance.now() - started).toBeLessThan(2000);
  await expect.poll(() => closed).toBe(true);
});

test('a server that never answers ⇒ timeout; a cancelled request ⇒ aborted, before and during it', async () => {
  const request = await serving(() => {});
  expect(await failure(request({ timeoutMs: 100 }))).toBe('timeout');
  const abort = new AbortController();
  const running = failure(request({ signal: abort.signal }));
  setTimeout(() => abort.abort(), 20);
  expect(await running).toBe('aborted');
  expect(await failure(request({ signal: abort.signal }))).toBe('aborted');
});

test('an answer that is cut ⇒ an error, not a shorter body', async () => {
  const request = await serving((_req, res) => {
    res.writeHead(200, { 'content-length': 500 });
    res.write('x'.repeat(100), () => res.destroy());
  });
  expect(await failure(request({}))).toBe('connection');
});

test('no encoding is offered, and an encoded body is handed on undecoded', async () => {
  const bomb = gzipSync('x'.repeat(100_000));
  const request = await serving((req, res) => {
    if (req.headers['accept-encoding'] !== undefined) res.statusCode = 500;
    res.setHeader('content-encoding', 'gzip');
    res.end(bomb);
  });
  const answer = await request({});
  expect(answer.status).toBe(200);
  expect(answer.body.equals(bomb)).toBe(true);
});

test('a redirect is an answer like any other', async () => {
  let asked = 0;
  const request = await serving((_req, res) => {
    asked++;
    res.writeHead(302, { location: '/again' }).end();
  });
  expect((await request({})).status).toBe(302);
  expect(asked).toBe(1);
});

test('a GET is repeated once when the socket was closed before an answer; a PUT is not', async () => {
  let asked = 0;
  const request = await serving((req, res) => {
    asked++;
    if (asked === 1) req.socket.destroy();
    else res.end('ok');
  });
  expect((await request({})).body.toString()).toBe('ok');
  expect(asked).toBe(2);
  asked = 0;
  expect(await failure(request({ method: 'PUT', body: '{}' }))).toBe('connection');
  expect(asked).toBe(1);
});

test('a large answer waits for its turn after its first MiB; a small one does not ask', async () => {
  const request = await serving((req, res) => res.end(Buffer.alloc(Number(req.url?.slice(1)))));
  let asked = 0;
  const { promise, resolve } = Promise.withResolvers<void>();
  const beforeLarge = () => {
    asked++;
    return promise;
  };
  const limits = { maxBytes: 10_000_000, beforeLarge };
  expect((await request({ path: '/1000000', ...limits })).body).toHaveLength(1_000_000);
  expect(asked).toBe(0);
  let done = false;
  const large = request({ path: '/4000000', ...limits }).finally(() => {
    done = true;
  });
  while (asked === 0) await new Promise((wait) => setTimeout(wait, 5));
  await new Promise((wait) => setTimeout(wait, 20));
  expect(done).toBe(false);
  resolve();
  expect((await large).body).toHaveLength(4_000_000);
  expect(asked).toBe(1);
});
