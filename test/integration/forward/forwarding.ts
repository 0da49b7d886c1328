import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach } from 'vitest';
import type { ForwardOutcome } from '../../../src/forward/direct-exchange.ts';
import { createListener, type Handler } from '../../../src/forward/listener.ts';
import { homeserverUnreachable, sendMatrixError } from '../../../src/forward/matrix-answer.ts';
import { createPassThrough } from '../../../src/forward/pass-through.ts';
import { RawForwarder } from '../../../src/forward/raw-forwarder.ts';
import { TrustedProxies } from '../../../src/forward/trusted-proxies.ts';
import { createUpstream } from '../../../src/forward/upstream.ts';
import { Wire, WireServer } from './wire.ts';

/** The three ways through: streamed at once, fetched and then piped, and over http-proxy-middleware. */
export const WAYS = ['raw', 'fetched', 'pass-through'] as const;
export type Way = (typeof WAYS)[number];

export interface Forwarding {
  readonly port: number;
  readonly upstream: WireServer;
  readonly outcomes: ForwardOutcome[];
  readonly client: () => Promise<Wire>;
}

const cleanups: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** A listener and a bare homeserver behind it; both end with the test. */
export async function startForwarding(way: Way, trustedProxies: readonly string[] = []): Promise<Forwarding> {
  const upstream = await WireServer.listen();
  const url = `http://127.0.0.1:${upstream.port}`;
  const outcomes: ForwardOutcome[] = [];
  const server = createListener(handlerFor(way, url, new TrustedProxies(trustedProxies), outcomes));
  const port = await listen(server);
  const wires: Wire[] = [];
  cleanups.push(async () => {
    for (const wire of wires) wire.destroy();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    await upstream.close();
  });
  const client = async () => {
    const wire = await Wire.connect(port);
    wires.push(wire);
    return wire;
  };
  return { port, upstream, outcomes, client };
}

function handlerFor(way: Way, url: string, trusted: TrustedProxies, outcomes: ForwardOutcome[]): Handler {
  if (way === 'pass-through') {
    const passThrough = createPassThrough(url, trusted);
    cleanups.push(async () => passThrough.close());
    return passThrough.handle;
  }
  const pool = createUpstream(url);
  cleanups.push(() => pool.destroy());
  const forwarder = new RawForwarder(pool, trusted);
  if (way === 'raw') {
    return async (req, res) => {
      outcomes.push(await forwarder.forward(req, res));
    };
  }
  return async (req, res) => {
    const abort = new AbortController();
    res.once('close', () => abort.abort());
    try {
      outcomes.push(await forwarder.pipe(await forwarder.fetch(req, { signal: abort.signal }), res));
    } catch {
      sendMatrixError(res, homeserverUnreachable());
    }
  };
}

async function listen(server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as AddressInfo).port;
}
