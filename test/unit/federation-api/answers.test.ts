import { createServer } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { sendChunks } from '../../../src/federation-api/answers.ts';
import { ManualClock } from '../../support/manual-clock.ts';

const CHUNK = Buffer.alloc(256 * 1024, 'a');
const chunks = Array.from({ length: 64 }, () => CHUNK);
const bytes = chunks.length * CHUNK.length;

interface Serving {
  readonly clock: ManualClock;
  readonly url: string;
  readonly port: number;
  /** How many bytes the response holds that the connection has not taken. */
  pending(): number;
  /** Resolves when `sendChunks` has. */
  readonly sent: Promise<void>;
}

async function serve(): Promise<Serving> {
  const clock = new ManualClock();
  let pending = () => 0;
  let done: () => void = () => {};
  const sent = new Promise<void>((resolve) => {
    done = resolve;
  });
  const server = createServer((_req, res) => {
    pending = () => res.writableLength;
    void sendChunks(res, { bytes, chunks }, clock).then(done);
  });
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return { clock, url: `http://127.0.0.1:${port}/`, port, pending: () => pending(), sent };
}

/** A connection that asks and reads nothing. */
async function silent(port: number) {
  const socket = connect(port, '127.0.0.1');
  onTestFinished(() => void socket.destroy());
  socket.pause();
  socket.on('error', () => {});
  await new Promise((connected) => socket.once('connect', connected));
  socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
  return socket;
}

test('an answer in stretches arrives whole, its length announced', async () => {
  const { url, clock } = await serve();
  const answer = await fetch(url);
  expect(answer.headers.get('content-length')).toBe(String(bytes));
  expect((await answer.arrayBuffer()).byteLength).toBe(bytes);
  await expect.poll(() => clock.pending).toBe(0);
});

test('who does not read is not written for: at most one stretch waits, and after ten minutes the connection is cut', async () => {
  const { clock, port, pending, sent } = await serve();
  const socket = await silent(port);
  await expect.poll(pending).toBeGreaterThan(0);
  expect(pending()).toBeLessThanOrEqual(2 * CHUNK.length);
  const closed = new Promise((resolve) => socket.once('close', resolve));
  await clock.advance(600_000);
  await sent;
  socket.resume();
  await closed;
  expect(clock.pending).toBe(0);
});

test('a reader that goes away ends the answer', async () => {
  const { clock, port, pending, sent } = await serve();
  const socket = await silent(port);
  await expect.poll(pending).toBeGreaterThan(0);
  socket.destroy();
  await sent;
  expect(clock.pending).toBe(0);
});
