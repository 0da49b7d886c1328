import { describe, expect, it } from 'vitest';
import { startForwarding, WAYS } from './forwarding.ts';
import { field, type Wire } from './wire.ts';

const GET = 'GET /x HTTP/1.1\r\nHost: a\r\n\r\n';
const UPLOAD = 'POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345';

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

async function expectBadGateway(wire: Wire): Promise<void> {
  const head = await wire.head();
  expect(head.start).toBe('HTTP/1.1 502 Bad Gateway');
  expect(field(head, 'access-control-allow-origin')).toBe('*');
  expect(field(head, 'content-type')).toBe('application/json');
  expect(JSON.parse((await wire.body(head)).toString())).toMatchObject({ errcode: 'M_UNKNOWN' });
}

describe.each(WAYS)('failures, %s', (way) => {
  describe('client aborts at every stage ⇒ upstream aborted', () => {
    it('while the upload is under way', async () => {
      const { upstream, client } = await startForwarding(way);
      const wire = await client();
      wire.write(UPLOAD);
      const up = await upstream.accept();
      await up.head();
      await up.bytes(5);
      wire.destroy();
      await up.gone();
      expect(up.pending).toBe('');
    });

    it('in a chunked upload, which must not look complete', async () => {
      const { upstream, client } = await startForwarding(way);
      const wire = await client();
      wire.write('POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n');
      const up = await upstream.accept();
      await up.head();
      wire.destroy();
      await up.gone();
      expect(up.pending).not.toContain('0\r\n\r\n');
    });

    it('while upstream is silent', async () => {
      const { upstream, client } = await startForwarding(way);
      const wire = await client();
      wire.write(GET);
      const up = await upstream.accept();
      await up.head();
      wire.destroy();
      await up.gone();
    });

    it('after the head', async () => {
      const { upstream, client } = await startForwarding(way);
      const wire = await client();
      wire.write(GET);
      const up = await upstream.accept();
      await up.head();
      up.write('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n');
      await wire.head();
      wire.reset();
      await up.gone();
    });

    it('in the middle of the body', async () => {
      const { upstream, client } = await startForwarding(way);
      const wire = await client();
      wire.write(GET);
      const up = await upstream.accept();
      await up.head();
      up.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n');
      await wire.head();
      wire.destroy();
      await up.gone();
    });

    it('while it is not reading', async () => {
      const { upstream, client } = await startForwarding(way);
      const wire = await client();
      wire.socket.pause();
      wire.write(GET);
      const up = await upstream.accept();
      await up.head();
      up.write('HTTP/1.1 200 OK\r\nContent-Length: 50000000\r\n\r\n');
      up.write(Buffer.alloc(20_000_000));
      await pause(50);
      wire.reset();
      await up.gone();
    });
  });

  describe('upstream dies before or in its header ⇒ 502 JSON errcode, CORS headers present', () => {
    it('nobody listens', async () => {
      const { upstream, client } = await startForwarding(way);
      await upstream.close();
      const wire = await client();
      wire.write(GET);
      await expectBadGateway(wire);
    });

    it.each([
      ['before', ''],
      ['in the status line', 'HTTP/1.1 20'],
      ['between headers', 'HTTP/1.1 200 OK\r\nX-A: 1\r\nX-B'],
      ['with something that is no HTTP', 'SSH-2.0-x\r\n\r\n'],
    ])('%s', async (_when, bytes) => {
      const { upstream, client } = await startForwarding(way);
      const wire = await client();
      wire.write('POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n');
      const up = await upstream.accept();
      await up.head();
      up.write(bytes);
      await pause(5);
      up.socket.end();
      await expectBadGateway(wire);
      expect(upstream.wires.length).toBe(1);
    });

    it('while the upload is under way', async () => {
      const { upstream, client } = await startForwarding(way);
      const wire = await client();
      wire.write(UPLOAD);
      const up = await upstream.accept();
      await up.head();
      up.reset();
      await expectBadGateway(wire);
    });
  });

  describe('upstream dies mid-body ⇒ our connection is cut too, never a body that looks complete', () => {
    it('with a length', async () => {
      const { upstream, client } = await startForwarding(way);
      const wire = await client();
      wire.write(GET);
      const up = await upstream.accept();
      await up.head();
      up.write('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc');
      const head = await wire.head();
      expect(field(head, 'content-length')).toBe('10');
      up.destroy();
      await wire.gone();
      expect(wire.pending.length).toBeLessThan(10);
    });

    it('with a length, on a connection that was to close', async () => {
      const { upstream, client } = await startForwarding(way);
      const wire = await client();
      wire.write(GET);
      const up = await upstream.accept();
      await up.head();
      up.write('HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 10\r\n\r\nabc');
      up.socket.end();
      await wire.gone();
      expect(wire.pending).not.toContain('Content-Length: 3');
    });

    it('in chunks', async () => {
      const { upstream, client } = await startForwarding(way);
      const wire = await client();
      wire.write(GET);
      const up = await upstream.accept();
      await up.head();
      up.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n');
      await wire.head();
      up.destroy();
      await wire.gone();
      expect(wire.pending).not.toContain('0\r\n\r\n');
    });

    it('in chunks, towards an HTTP/1.0 client: a reset, not an end', async () => {
      const { upstream, client } = await startForwarding(way);
      const wire = await client();
      wire.write('GET /x HTTP/1.0\r\nHost: a\r\n\r\n');
      const up = await upstream.accept();
      await up.head();
      up.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n');
      await wire.head();
      await wire.bytes(3);
      up.reset();
      await wire.gone();
      expect(wire.endedInOrder).toBe(false);
    });
  });

  it('a kept-alive connection that upstream has just closed costs the client nothing', async () => {
    const { upstream, client } = await startForwarding(way);
    const wire = await client();
    wire.write(GET);
    const up = await upstream.accept();
    await up.head();
    up.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}');
    await wire.body(await wire.head());
    wire.write(GET);
    await up.head();
    up.destroy();
    const second = await upstream.accept();
    await second.head();
    second.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}');
    expect((await wire.head()).start).toBe('HTTP/1.1 200 OK');
  });

  it('a POST on such a connection is not sent twice', async () => {
    const { upstream, client } = await startForwarding(way);
    const wire = await client();
    const post = 'POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n';
    wire.write(post);
    const up = await upstream.accept();
    await up.head();
    up.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}');
    await wire.body(await wire.head());
    wire.write(post);
    await up.head();
    up.destroy();
    await expectBadGateway(wire);
    expect(upstream.wires.length).toBe(1);
  });
});

it('a pipelined request whose client goes away is aborted upstream as well', async () => {
  const { upstream, client } = await startForwarding('raw');
  const wire = await client();
  wire.write(GET + GET);
  const first = await upstream.accept();
  const second = await upstream.accept();
  await second.head();
  wire.destroy();
  await first.gone();
  await second.gone();
});
