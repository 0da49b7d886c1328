import { describe, expect, it } from 'vitest';
import { startForwarding, WAYS } from './forwarding.ts';
import { field } from './wire.ts';

async function refused(bytes: string): Promise<{ status: number; errcode: string; seen: string[] }> {
  const { upstream, client } = await startForwarding('raw');
  const wire = await client();
  wire.write(bytes);
  const head = await wire.head();
  const body = JSON.parse((await wire.body(head)).toString()) as { errcode: string };
  expect(field(head, 'access-control-allow-origin')).toBe('*');
  await new Promise((resolve) => setTimeout(resolve, 20));
  const seen = upstream.wires.map((up) => up.pending);
  return { status: Number(head.start.split(' ')[1]), errcode: body.errcode, seen };
}

const HOST = 'Host: a\r\n';

describe('what is no well-formed request is refused and nothing of it reaches upstream', () => {
  it.each([
    ['CL+TE', `POST / HTTP/1.1\r\n${HOST}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`],
    [
      'TE.CL',
      `POST / HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n5c\r\nGPOST\r\n`,
    ],
    [
      'TE: chunked, identity',
      `POST / HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n`,
    ],
    ['TE: xchunked', `POST / HTTP/1.1\r\n${HOST}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n`],
    ['two lengths', `POST / HTTP/1.1\r\n${HOST}Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcde`],
    ['a length with a sign', `POST / HTTP/1.1\r\n${HOST}Content-Length: +4\r\n\r\nabcd`],
    ['bare LF', `GET / HTTP/1.1\n${HOST}X: 1\n\n`],
    ['bare LF between headers', `GET / HTTP/1.1\r\n${HOST}X: 1\nY: 2\r\n\r\n`],
    ['obs-fold', `GET / HTTP/1.1\r\n${HOST}X: 1\r\n folded\r\n\r\n`],
    ['space before colon', `POST / HTTP/1.1\r\n${HOST}Content-Length : 4\r\n\r\nabcd`],
    ['a NUL in a value', `GET / HTTP/1.1\r\n${HOST}X: a\0b\r\n\r\n`],
    ['a space in a header name', `POST / HTTP/1.1\r\n${HOST}X: 1\r\nX y: 1\r\n\r\n`],
    ['two Host headers', 'GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n'],
    ['absolute-form', `GET http://other.example/_matrix/x HTTP/1.1\r\n${HOST}\r\n`],
    ['absolute-form with a scheme of the homeserver', `GET matrix-federation://o/x HTTP/1.1\r\n${HOST}\r\n`],
    ['asterisk-form', `OPTIONS * HTTP/1.1\r\n${HOST}\r\n`],
    ['CONNECT requests', `CONNECT other.example:443 HTTP/1.1\r\n${HOST}\r\n`],
    ['bytes ≥ 0x80 in the target', `GET /caf\u00e9 HTTP/1.1\r\n${HOST}\r\n`],
    ['WebSocket upgrade', `GET / HTTP/1.1\r\n${HOST}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n`],
  ])('%s', async (_name, bytes) => {
    const answer = await refused(bytes);
    expect(answer.status).toBe(400);
    expect(['M_UNRECOGNIZED', 'M_INVALID_PARAM']).toContain(answer.errcode);
    expect(answer.seen).toEqual([]);
  });

  it('an oversized head: 431', async () => {
    const answer = await refused(`GET / HTTP/1.1\r\n${HOST}X: ${'x'.repeat(70_000)}\r\n\r\n`);
    expect(answer).toMatchObject({ status: 431, errcode: 'M_TOO_LARGE', seen: [] });
  });

  it('an expectation other than 100-continue: 417', async () => {
    const answer = await refused(`GET / HTTP/1.1\r\n${HOST}Expect: coffee\r\n\r\n`);
    expect(answer).toMatchObject({ status: 417, seen: [] });
  });
});

describe.each(WAYS)('a smuggled second request, %s', (way) => {
  it('bytes after a bodiless request are a request of their own, seen as such by both sides', async () => {
    const { upstream, client } = await startForwarding(way);
    const wire = await client();
    wire.write(
      `GET /one HTTP/1.1\r\n${HOST}Content-Length: 0\r\n\r\nGET /two HTTP/1.1\r\n${HOST}X-Mark: 2\r\n\r\n`,
    );
    const first = await upstream.accept();
    expect((await first.head()).start).toBe('GET /one HTTP/1.1');
    const second = await upstream.accept();
    const head = await second.head();
    expect(head.start).toBe('GET /two HTTP/1.1');
    expect(field(head, 'x-forwarded-for')).toBe('127.0.0.1');
    second.write('HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n2');
    first.write('HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1');
    expect((await wire.body(await wire.head())).toString()).toBe('1');
    expect((await wire.body(await wire.head())).toString()).toBe('2');
  });

  it('a body that looks like a request stays a body, also on GET and DELETE', async () => {
    const { upstream, client } = await startForwarding(way);
    for (const method of ['GET', 'DELETE', 'OPTIONS']) {
      const wire = await client();
      const hidden = 'GET /admin HTTP/1.1\r\nHost: x\r\n\r\n';
      wire.write(`${method} /x HTTP/1.1\r\n${HOST}Content-Length: ${hidden.length}\r\n\r\n${hidden}`);
      const up = await upstream.accept();
      const head = await up.head();
      expect(head.start).toBe(`${method} /x HTTP/1.1`);
      expect(field(head, 'content-length')).toBe(String(hidden.length));
      expect((await up.body(head)).toString()).toBe(hidden);
      await new Promise((resolve) => setTimeout(resolve, 10));
      expect(up.pending).toBe('');
      wire.destroy();
    }
  });

  it('an answer with bytes after its end does not become the answer to the next request', async () => {
    const { upstream, client } = await startForwarding(way);
    const wire = await client();
    wire.write(`GET /one HTTP/1.1\r\n${HOST}\r\n`);
    const first = await upstream.accept();
    await first.head();
    first.write(
      'HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil',
    );
    expect((await wire.body(await wire.head())).toString()).toBe('1');
    wire.write(`GET /two HTTP/1.1\r\n${HOST}\r\n`);
    const second = await upstream.accept();
    await second.head();
    second.write('HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n2');
    expect((await wire.body(await wire.head())).toString()).toBe('2');
  });
});
