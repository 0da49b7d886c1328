import { LRUCache } from 'lru-cache';
import { isIpLiteral, parseServerName } from '../matrix/ids.ts';
import type { Clock } from '../platform/clock.ts';
import type { Dns, SrvRecord } from '../platform/dns.ts';
import type { Destination } from '../platform/guarded-agent.ts';
import type { Random } from '../platform/random.ts';

const DEFAULT_PORT = 8448;
const MAX_CACHED_NAMES = 10_000;
const SRV_LIFETIME_MS = 5 * 60_000;
/** More targets of one name are not tried. */
const MAX_SRV_TARGETS = 8;

/** One way to reach a server: where to connect, who must be there, and the `Host` header to send. */
export interface Route extends Destination {
  readonly hostHeader: string;
}

/** What no server name is. */
export class InvalidServerNameError extends Error {
  override readonly name = 'InvalidServerNameError';
  constructor() {
    super('not a server name');
  }
}

export interface ServerResolverDeps {
  readonly wellKnown: { delegate(host: string): Promise<string | null> };
  readonly dns: Pick<Dns, 'srv'>;
  readonly clock: Clock;
  readonly random: Random;
}

interface Targets {
  readonly records: SrvRecord[];
  readonly expiresAt: number;
}

/**
 * Server discovery (specification, server-server API, "Resolving server names"): IP literal, explicit port,
 * `.well-known`, SRV `_matrix-fed._tcp` and then `_matrix._tcp`, port 8448. Addresses are not looked up here:
 * that happens, guarded, at each connection.
 */
export class ServerResolver {
  readonly #deps: ServerResolverDeps;
  readonly #srv = new LRUCache<string, Targets>({ max: MAX_CACHED_NAMES });

  constructor(deps: ServerResolverDeps) {
    this.#deps = deps;
  }

  /** The ways to reach a server, to be tried in this order. Rejects with `InvalidServerNameError` alone. */
  async resolve(server: string): Promise<Route[]> {
    const direct = directRoute(server);
    if (direct !== null) return [direct];
    const delegate = await this.#deps.wellKnown.delegate(server);
    if (delegate === null) return this.#routesOf(server);
    const delegated = directRoute(delegate);
    return delegated === null ? this.#routesOf(delegate) : [delegated];
  }

  /** A host name without a port: by SRV, else at the default port. */
  async #routesOf(host: string): Promise<Route[]> {
    const certificateName = host.replace(/\.$/, '');
    for (const service of ['_matrix-fed._tcp', '_matrix._tcp']) {
      const records = await this.#targets(`${service}.${host}`);
      if (records.length > 0) {
        return ordered(records, this.#deps.random)
          .slice(0, MAX_SRV_TARGETS)
          .map(({ target, port }) => ({ host: target, port, certificateName, hostHeader: host }));
      }
    }
    return [{ host, port: DEFAULT_PORT, certificateName, hostHeader: host }];
  }

  /** A DNS that does not answer counts as "no record": the default port is tried, under the same name. */
  async #targets(name: string): Promise<SrvRecord[]> {
    const { clock, dns } = this.#deps;
    const cached = this.#srv.get(name);
    if (cached !== undefined && clock.now() < cached.expiresAt) return cached.records;
    const found = await dns.srv(name).catch(() => []);
    const records = found.filter(({ target, port }) => target !== '' && port > 0 && port < 65_536);
    this.#srv.set(name, { records, expiresAt: clock.now() + SRV_LIFETIME_MS });
    return records;
  }
}

/** The route of an IP literal or of a name with a port; null for a name that has to be discovered. */
function directRoute(server: string): Route | null {
  const address = parseServerName(server);
  if (address === null || address.port === 0) throw new InvalidServerNameError();
  const literal = isIpLiteral(address.host);
  if (!literal && address.port === null) return null;
  const host = address.host.replace(/^\[|\]$/g, '');
  return {
    host,
    port: address.port ?? DEFAULT_PORT,
    certificateName: literal ? host : host.replace(/\.$/, ''),
    hostHeader: server,
  };
}

/** Lowest priority value first; within one, at random by weight (RFC 2782). */
function ordered(records: readonly SrvRecord[], random: Random): SrvRecord[] {
  const left = records.toSorted((a, b) => a.priority - b.priority);
  const result: SrvRecord[] = [];
  while (left.length > 0) {
    const priority = left[0]?.priority;
    const group = left.filter((record) => record.priority === priority);
    let pick = random.below(group.reduce((sum, { weight }) => sum + weight, 0) + 1);
    const next = group.find(({ weight }) => {
      pick -= weight;
      return pick <= 0;
    });
    if (next === undefined) break;
    result.push(next);
    left.splice(left.indexOf(next), 1);
  }
  return result;
}
