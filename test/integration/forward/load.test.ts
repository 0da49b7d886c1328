import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Child, type Memory } from '../../bench/child.ts';
import { field, Wire, WireServer } from './wire.ts';

const MIB = 1024 * 1024;
const PROXY = new URL('../../bench/proxy-process.ts', import.meta.url);

/** The proxy in a process of its own, so that its memory can be told from ours. */
let upstream: WireServer;
let proxy: Child;

beforeEach(async () => {
  upstream = await WireServer.listen();
  proxy = await startProxy();
});

afterEach(async () => {
  await proxy.stop();
  await upstream.close();
});

function startProxy(flags: readonly string[] = []): Promise<Child> {
  return Child.start(PROXY, [`http://127.0.0.1:${upstream.port}`], flags);
}

async function upload(path: string, bytes: number): Promise<void> {
  const wire = await Wire.connect(proxy.port);
  wire.write(`POST ${path} HTTP/1.1\r\nHost: a\r\nContent-Length: ${bytes}\r\n\r\n`);
  const piece = Buffer.alloc(64 * 1024, 7);
  let sent = 0;
  const fill = () => {
    while (sent < bytes) {
      sent += piece.length;
      if (!wire.socket.write(piece)) return;
    }
  };
  wire.socket.on('drain', fill);
  fill();
  const up = await upstream.accept();
  expect(field(await up.head(), 'content-length')).toBe(String(bytes));

  // A homeserver that stops reading: back-pressure must reach the client.
  const received = new Promise<void>((resolve) => {
    let count = up.pending.length;
    up.socket.removeAllListeners('data');
    up.socket.on('data', (chunk) => {
      count += chunk.length;
      if (count === bytes) resolve();
    });
  });
  up.socket.pause();
  await sleep(200);
  if (bytes > 100 * MIB) expect(sent).toBeLessThan(64 * MIB);
  up.socket.resume();
  await received;
  up.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}');
  expect((await wire.head()).start).toBe('HTTP/1.1 200 OK');
  wire.destroy();
}

/** What is done until the client goes away; gives an upstream connection, which may be another client's of the same stage. */
const STAGES: readonly ((path: string, wire: Wire) => Promise<Wire>)[] = [
  async function inTheUpload(path, wire) {
    wire.write(`POST ${path} HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345`);
    const up = await upstream.accept();
    await up.head();
    await up.bytes(5);
    return up;
  },
  async function whileUpstreamIsSilent(path, wire) {
    wire.write(`GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`);
    const up = await upstream.accept();
    await up.head();
    return up;
  },
  async function afterTheHead(path, wire) {
    const up = await whileAnswered(path, wire, 'Content-Length: 10\r\n\r\n');
    await wire.head();
    return up;
  },
  async function inTheBody(path, wire) {
    const up = await whileAnswered(path, wire, 'Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n');
    expect((await wire.head()).start).toBe('HTTP/1.1 200 OK');
    await wire.line();
    await wire.bytes(3);
    return up;
  },
];

async function whileAnswered(path: string, wire: Wire, answer: string): Promise<Wire> {
  wire.write(`GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`);
  const up = await upstream.accept();
  await up.head();
  up.write(`HTTP/1.1 200 OK\r\n${answer}`);
  return up;
}

/** Clients that go away, twenty at once, at one stage after the other; each time upstream has to be let go. */
async function aborted(path: string, count: number): Promise<void> {
  for (let i = 0; i < count / 20; i++) {
    const stage = STAGES[i % STAGES.length];
    const cycle = async () => {
      const wire = await Wire.connect(proxy.port);
      const up = await stage?.(path, wire);
      wire.destroy();
      await up?.gone();
    };
    await Promise.all(Array.from({ length: 20 }, cycle));
    upstream.wires.length = 0;
  }
}

/** Connections that were held and are let go again, each with an answer. */
async function hold(path: string, count: number): Promise<{ wire: Wire; up: Wire }[]> {
  const held: { wire: Wire; up: Wire }[] = [];
  while (held.length < count) {
    const some = Array.from({ length: Math.min(100, count - held.length) }, async () => {
      const wire = await Wire.connect(proxy.port);
      wire.write(`GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`);
      const up = await upstream.accept();
      await up.head();
      return { wire, up };
    });
    held.push(...(await Promise.all(some)));
  }
  return held;
}

async function letGo(held: readonly { wire: Wire; up: Wire }[]): Promise<void> {
  for (const { up } of held) up.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}');
  for (const { wire } of held) {
    expect((await wire.body(await wire.head())).toString()).toBe('{}');
    wire.destroy();
  }
}

/** How long five such requests take, one after the other, ms. */
async function quickRequests(path: string): Promise<number[]> {
  const times: number[] = [];
  for (let i = 0; i < 5; i++) {
    const quick = await Wire.connect(proxy.port);
    const started = performance.now();
    quick.write(`PUT ${path} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}`);
    const up = await upstream.accept();
    await up.body(await up.head());
    up.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}');
    up.socket.end();
    await quick.body(await quick.head());
    times.push(performance.now() - started);
    quick.destroy();
  }
  return times;
}

it('1 000 held `/sync`, then a `/send` ≤ 50 ms: they do not hold it up, tenfold for a busy machine', async () => {
  const held = await hold('/_matrix/client/v3/sync?timeout=30000', 1_000);
  const times = await quickRequests('/_matrix/federation/v1/send/1');
  expect(Math.min(...times)).toBeLessThan(500);
  await letGo(held);
}, 180_000);

describe.each([
  ['raw', '/_matrix/client/v3/sync'],
  ['pass-through', '/_matrix/media/v3/upload'],
])('load, %s', (_way, path) => {
  it('300 held polls, then a quick request ≤ 50 ms', async () => {
    const held = await hold(path, 300);
    expect(Math.min(...(await quickRequests(path)))).toBeLessThan(50);
    await letGo(held);
  });

  it('200 MB upload streamed with RSS +< 10 MB', async () => {
    // The same work in small first: what running code and buffers in use cost is no growth.
    await upload(path, 40 * MIB);
    await upload(path, 40 * MIB);
    const before = await proxy.memory();
    await upload(path, 200 * MIB);
    expect(((await proxy.memory()).rss - before.rss) / MIB).toBeLessThan(10);
  });

  it('client aborts at every stage ⇒ upstream aborted, no leak (10 000 cycles, RSS flat)', async () => {
    // What the engine keeps in reserve grows by some ten megabytes, unless young objects have little room and
    // garbage is collected often.
    await proxy.stop();
    proxy = await startProxy(['--max-semi-space-size=1']);
    const after: Memory[] = [];
    while (after.length <= 10) {
      await aborted(path, 1_000);
      after.push(await proxy.memory());
    }
    const grown = (what: keyof Memory) => ((after.at(-1)?.[what] ?? 0) - (after[0]?.[what] ?? 0)) / MIB;
    // Request and response that stay behind are ten kilobytes; 10 000 of them would be six times this.
    expect(grown('rss')).toBeLessThan(16);
    expect(grown('heap')).toBeLessThan(2);
  }, 180_000);
});
