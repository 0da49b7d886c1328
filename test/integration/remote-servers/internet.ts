import type { RequestListener } from 'node:http';
import { type AddressInfo, createServer } from 'node:net';
import { addressGuard, parseCidrs } from '../../../src/platform/address-guard.ts';
import { systemClock } from '../../../src/platform/clock.ts';
import { systemDns } from '../../../src/platform/dns.ts';
import { type Destination, GuardedAgent, type HttpsClient } from '../../../src/platform/guarded-agent.ts';
import { systemRandom } from '../../../src/platform/random.ts';
import { ServerHttp } from '../../../src/remote-servers/server-http.ts';
import { ServerResolver } from '../../../src/remote-servers/server-resolver.ts';
import { SrvTargets } from '../../../src/remote-servers/srv-targets.ts';
import { WellKnown } from '../../../src/remote-servers/well-known.ts';
import { type DnsServer, startDnsServer } from '../../support/dns-server.ts';
import { TestAuthority } from './self-signed.ts';
import { startTlsPeer, type TlsPeer } from './tls-peer.ts';

/** What a host answers: that somebody is there, and whom it was taken for. */
export const whoIsAsked: RequestListener = (req, res) => void res.end(`for ${req.headers.host}`);

export interface Host extends TlsPeer {
  /** Targets that were asked for. */
  readonly asked: string[];
}

/** A small internet on loopback: its own DNS, its own authority, hosts, and everything of ours that finds them. */
export interface Internet {
  readonly dns: DnsServer;
  /** Where our connections were really made to, `host:port` as the destination had it. */
  readonly connected: string[];
  readonly https: HttpsClient;
  readonly servers: ServerHttp;
  readonly wellKnown: WellKnown;
  /**
   * A host with a certificate for `names`. `as` are the places, `host:port`, that lead to its port: the test may
   * not listen on 443 and on 8448.
   */
  host(names: string[], as: string[], listener?: RequestListener): Promise<Host>;
  /** Something else that listens, at those places. */
  lead(port: number, as: string[]): void;
  /** The file of a host, at its port 443. */
  wellKnownOf(name: string, delegate: string): Promise<Host>;
  close(): Promise<void>;
}

/** A TCP port that ends each connection at its first byte: a handshake that fails. */
export async function startCutter(): Promise<{ port: number; close(): Promise<void> }> {
  const server = createServer((socket) =>
    socket.on('error', () => {}).on('data', () => socket.resetAndDestroy()),
  );
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return { port, close: () => new Promise((resolve) => void server.close(() => resolve())) };
}

export interface InternetOptions {
  /** Which special addresses may be connected to; default 127.0.0.1. */
  readonly allow?: string;
  /** No request takes longer; default: what it asks for. */
  readonly mostMs?: number;
  /** For one try at the name server, of two; default: as it is shipped. */
  readonly dnsTimeoutMs?: number;
}

export async function startInternet(options: InternetOptions = {}): Promise<Internet> {
  const authority = new TestAuthority();
  const dns = await startDnsServer();
  const ports = new Map<string, number>();
  const connected: string[] = [];
  const ends: (() => Promise<void>)[] = [() => dns.close()];
  const { allow = '127.0.0.1', mostMs = Number.POSITIVE_INFINITY, dnsTimeoutMs: timeoutMs } = options;
  const resolution = systemDns({
    servers: [dns.address],
    hostsFile: '/nowhere',
    ...(timeoutMs !== undefined && { timeoutMs }),
  });
  const agent = new GuardedAgent({
    guard: addressGuard(parseCidrs(allow)),
    dns: resolution,
    extraCa: authority.certificate,
  });
  ends.push(() => agent.close());
  const https: HttpsClient = {
    request(destination: Destination, request) {
      const place = `${destination.host}:${destination.port}`;
      connected.push(place);
      const port = ports.get(place) ?? destination.port;
      const limited = { ...request, timeoutMs: Math.min(request.timeoutMs, mostMs) };
      return agent.request({ ...destination, port }, limited);
    },
  };
  const common = { clock: systemClock, random: systemRandom };
  const wellKnown = new WellKnown(https, systemClock);
  const resolver = new ServerResolver({ wellKnown, srv: new SrvTargets({ dns: resolution, ...common }) });
  const internet: Internet = {
    dns,
    connected,
    https,
    wellKnown,
    servers: new ServerHttp({ resolver, https, clock: systemClock }),
    async host(names, as, listener = whoIsAsked) {
      const asked: string[] = [];
      const peer = await startTlsPeer(authority.issue(...names), (req, res) => {
        asked.push(req.url ?? '');
        listener(req, res);
      });
      internet.lead(peer.port, as);
      ends.push(() => peer.close());
      return { ...peer, asked };
    },
    lead(port, as) {
      for (const place of as) ports.set(place, port);
    },
    wellKnownOf(name, delegate) {
      if (!dns.names.has(name)) dns.names.set(name, { a: ['127.0.0.1'] });
      const file = JSON.stringify({ 'm.server': delegate });
      return internet.host([name], [`${name}:443`], (_req, res) => void res.end(file));
    },
    async close() {
      for (const end of ends.reverse()) await end();
    },
  };
  return internet;
}
