import { lookup, Resolver } from 'node:dns/promises';
import { isIPv6 } from 'node:net';
import { type Clock, systemClock } from './clock.ts';
import { HostsFile } from './hosts-file.ts';

export interface ResolvedAddress {
  readonly address: string;
  readonly family: 4 | 6;
}

export interface SrvRecord {
  /** Without a trailing dot; `''` where the record says that there is no such service. */
  readonly target: string;
  readonly port: number;
  readonly priority: number;
  readonly weight: number;
}

/** Name resolution, passed in. */
export interface Dns {
  /** A and AAAA, CNAMEs followed. Rejects when there is none or no answer. */
  lookup(host: string): Promise<ResolvedAddress[]>;
  /** SRV records in no particular order; none when the name does not exist. Rejects when there is no answer. */
  srv(name: string): Promise<SrvRecord[]>;
}

export interface DnsOptions {
  /** `address` or `address:port` of the name servers. Default: those of the system. */
  readonly servers?: readonly string[];
  readonly hostsFile?: string;
  /** For one try of one name server, of which there are two. Default: 2.5 s. */
  readonly timeoutMs?: number;
  readonly clock?: Clock;
  /** The system's own resolver, for names of one label. Default: `getaddrinfo`. */
  readonly bySystem?: (name: string) => Promise<ResolvedAddress[]>;
}

const TIMEOUT_MS = 2500;
/** The system's name servers are read anew after this time. */
const SERVERS_LIFETIME_MS = 60_000;
const NO_SUCH_NAME: ReadonlySet<unknown> = new Set(['ENOTFOUND', 'ENODATA', 'EBADNAME']);

/**
 * The system's name servers and `/etc/hosts`. Names are not given to `getaddrinfo`: it holds one of the few
 * threads of the process until it knows, and strangers choose names whose servers never answer. It is asked
 * only for names of one label, which a search domain may complete.
 */
export function systemDns(options: DnsOptions = {}): Dns {
  const hosts = new HostsFile(options.hostsFile);
  const resolver = freshResolver(options);
  const bySystem = options.bySystem ?? getaddrinfo;
  return {
    async lookup(host) {
      const name = host.replace(/\.$/, '').toLowerCase();
      const listed = await hosts.addresses(name);
      if (listed.length > 0) return listed.map(asResolved);
      if (name === 'localhost' || name.endsWith('.localhost')) return LOOPBACK;
      if (!name.includes('.')) return bySystem(name);
      return addressesOf(resolver(), name);
    },
    async srv(name) {
      try {
        const found = await resolver().resolveSrv(name);
        return found.map((record) => ({
          target: record.name.replace(/\.$/, ''),
          port: record.port,
          priority: record.priority,
          weight: record.weight,
        }));
      } catch (error) {
        if (NO_SUCH_NAME.has(codeOf(error))) return [];
        throw error;
      }
    },
  };
}

async function getaddrinfo(name: string): Promise<ResolvedAddress[]> {
  return (await lookup(name, { all: true })).map(({ address }) => asResolved(address));
}

/** RFC 6761: never a question for the DNS. */
const LOOPBACK: ResolvedAddress[] = ['127.0.0.1', '::1'].map(asResolved);

function freshResolver({ clock = systemClock, servers, timeoutMs = TIMEOUT_MS }: DnsOptions): () => Resolver {
  let resolver: Resolver | null = null;
  let madeAt = 0;
  return () => {
    const now = clock.now();
    if (resolver === null || Math.abs(now - madeAt) > SERVERS_LIFETIME_MS) {
      resolver = new Resolver({ timeout: timeoutMs, maxTimeout: timeoutMs, tries: 2 });
      if (servers !== undefined) resolver.setServers(servers);
      madeAt = now;
    }
    return resolver;
  };
}

/** IPv4 first, as it is tried first; one kind is enough. */
async function addressesOf(resolver: Resolver, name: string): Promise<ResolvedAddress[]> {
  const kinds = await Promise.allSettled([resolver.resolve4(name), resolver.resolve6(name)]);
  const found = kinds.flatMap((kind) => (kind.status === 'fulfilled' ? kind.value : []));
  if (found.length > 0) return found.map(asResolved);
  const failures = kinds.flatMap((kind) => (kind.status === 'rejected' ? [kind.reason as unknown] : []));
  throw failures.find((failure) => !NO_SUCH_NAME.has(codeOf(failure))) ?? failures[0];
}

function asResolved(address: string): ResolvedAddress {
  return { address, family: isIPv6(address) ? 6 : 4 };
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : null;
}
