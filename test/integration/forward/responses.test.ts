import { describe, expect, it } from 'vitest';
import { startForwarding, WAYS } from './forwarding.ts';
import { field, type Wire } from './wire.ts';

const GET = 'GET /x HTTP/1.1\r\nHost: a\r\n\r\n';
const OURS = new Set(['connection', 'keep-alive', 'transfer-encoding']);

function endToEnd(headers: readonly (readonly [string, string])[]): (readonly [string, string])[] {
  return headers.filter(([name]) => !OURS.has(name.toLowerCase()));
}

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

describe.each(WAYS)('responses, %s', (way) => {
  async function asked(request = GET): Promise<{ wire: Wire; up: Wire }> {
    const { upstream, client } = await startForwarding(way);
    const wire = await client();
    wire.write(request);
    const up = await upstream.accept();
    await up.head();
    return { wire, up };
  }

  it('status, reason, and every header with its case, order and duplicates', async () => {
    const { wire, up } = await asked();
    const sent = [
      ['Server', 'Synapse/1'],
      ['Set-Cookie', 'a=1'],
      ['X-Dup', '1'],
      ['Set-Cookie', 'b=2'],
      ['x-dup', '2'],
      ['Vary', 'A'],
      ['Vary', 'B'],
      ['X-Latin', '\u00e9\u00ff'],
      ['Content-Length', '3'],
    ] as const;
    const lines = sent.map(([name, value]) => `${name}: ${value}\r\n`).join('');
    up.write(`HTTP/1.1 299 Odd Reason\r\nConnection: X-Hop\r\nX-Hop: 1\r\n${lines}\r\nabc`);
    const head = await wire.head();
    expect(head.start).toBe('HTTP/1.1 299 Odd Reason');
    expect(endToEnd(head.headers)).toEqual(sent);
    expect((await wire.body(head)).toString()).toBe('abc');
  });

  it('a chunked download has the same bytes', async () => {
    const { wire, up } = await asked();
    up.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n');
    await pause(20);
    up.write('6;ext=1\r\n world\r\n0\r\nX-Trailer: 1\r\n\r\n');
    const head = await wire.head();
    expect((await wire.body(head)).toString()).toBe('hello world');
  });

  it('a download of some megabytes to a slow reader has the same bytes', async () => {
    const { wire, up } = await asked();
    const body = Buffer.from(Array.from({ length: 4_000_000 }, (_, i) => (i * 7) % 253));
    wire.socket.pause();
    up.write(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n`);
    up.write(body);
    await pause(100);
    wire.socket.resume();
    const head = await wire.head();
    expect((await wire.body(head)).equals(body)).toBe(true);
  });

  it('upstream slow-drip: head and each piece arrive when they were sent', async () => {
    const { wire, up } = await asked();
    up.write('HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n');
    expect((await wire.head()).start).toBe('HTTP/1.1 200 OK');
    for (const piece of ['a', 'b', 'c']) {
      up.write(piece);
      expect((await wire.bytes(1)).toString()).toBe(piece);
    }
  });

  it('304, 204, HEAD, 1xx: no body, headers kept, the connection goes on', async () => {
    const cases = [
      ['GET', 'HTTP/1.1 304 Not Modified\r\nETag: "x"\r\nContent-Length: 77\r\n\r\n'],
      ['OPTIONS', 'HTTP/1.1 204 No Content\r\nX-A: 1\r\n\r\n'],
      ['HEAD', 'HTTP/1.1 200 OK\r\nContent-Length: 5000\r\nX-A: 1\r\n\r\n'],
    ] as const;
    const { upstream, client } = await startForwarding(way);
    const wire = await client();
    for (const [method, answer] of cases) {
      const knownBefore = upstream.wires.length;
      wire.write(`${method} /x HTTP/1.1\r\nHost: a\r\n\r\n`);
      let up = upstream.wires.find(
        (candidate) => !candidate.closed && candidate.pending.includes('\r\n\r\n'),
      );
      for (let i = 0; !up && i < 100; i++) {
        await pause(5);
        up = upstream.wires.find((candidate) => !candidate.closed && candidate.pending.includes('\r\n\r\n'));
      }
      if (!up) throw new Error(`no upstream connection after ${knownBefore}`);
      await up.head();
      up.write(answer);
      const head = await wire.head();
      const sent = answer.trim().split('\r\n');
      expect(head.start).toBe(sent[0]);
      expect(endToEnd(head.headers).map(([name, value]) => `${name}: ${value}`)).toEqual(sent.slice(1));
      await pause(10);
      expect(wire.pending).toBe('');
      expect(wire.closed).toBe(false);
    }
  });

  it('no Date is added to an answer that has none', async () => {
    const { wire, up } = await asked();
    up.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n');
    expect(field(await wire.head(), 'date')).toBeUndefined();
  });

  it('a body that ends with the connection arrives whole', async () => {
    const { wire, up } = await asked();
    up.write('HTTP/1.1 200 OK\r\nX-A: 1\r\n\r\nto the ');
    await pause(10);
    up.write('end');
    up.socket.end();
    const head = await wire.head();
    if (field(head, 'transfer-encoding')) expect((await wire.body(head)).toString()).toBe('to the end');
    else expect(await wire.rest()).toBe('to the end');
  });

  it('an HTTP/1.0 client gets a chunked answer without chunks', async () => {
    const { wire, up } = await asked('GET /x HTTP/1.0\r\nHost: a\r\n\r\n');
    up.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n');
    const head = await wire.head();
    expect(field(head, 'transfer-encoding')).toBeUndefined();
    expect(await wire.rest()).toBe('hello');
  });
});

describe.each(['raw', 'pass-through'] as const)('interim responses, %s', (way) => {
  it('1xx: early hints are passed on before the answer', async () => {
    const { upstream, client } = await startForwarding(way);
    const wire = await client();
    wire.write(GET);
    const up = await upstream.accept();
    await up.head();
    up.write('HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\nLink: </b>\r\n\r\n');
    const hints = await wire.head();
    expect(hints.start).toBe('HTTP/1.1 103 Early Hints');
    expect(hints.headers).toEqual([
      ['Link', '</a>; rel=preload'],
      ['Link', '</b>'],
    ]);
    up.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}');
    expect((await wire.head()).start).toBe('HTTP/1.1 200 OK');
  });
});
