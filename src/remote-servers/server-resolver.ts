import { isIpLiteral, parseServerName } from '../matrix/ids.ts';
import type { SrvRecord } from '../platform/dns.ts';
import type { Destination } from '../platform/guarded-agent.ts';

const DEFAULT_PORT = 8448;
/** Of several targets, a dead one does not take all the time that a request has. */
const CONNECT_TO_ONE_OF_SEVERAL_MS = 4000;

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
  /** Of a host in lower case. */
  readonly wellKnown: { delegate(host: string): Promise<string | null> };
  readonly srv: { of(host: string): Promise<readonly SrvRecord[]> };
}

/**
 * Server discovery (specification, server-server API, "Resolving server names"): IP literal, explicit port,
 * `.well-known`, SRV, port 8448. Addresses are not looked up here: that happens, guarded, at each connection.
 */
export class ServerResolver {
  readonly #deps: ServerResolverDeps;

  constructor(deps: ServerResolverDeps) {
    this.#deps = deps;
  }

  /**
   * The ways to reach a server, to be tried in this order; at least one. Rejects with `InvalidServerNameError`,
   * and with `NoServiceError` where its DNS says that there is none.
   */
  async resolve(server: string): Promise<Route[]> {
    const direct = directRoute(server);
    if (direct !== null) return [direct];
    const delegate = await this.#deps.wellKnown.delegate(server.toLowerCase());
    if (delegate === null) return this.#routesOf(server);
    const delegated = directRoute(delegate);
    return delegated === null ? this.#routesOf(delegate) : [delegated];
  }

  /** A host name without a port: by SRV, else at the default port. Either way it is that name which counts. */
  async #routesOf(host: string): Promise<Route[]> {
    const who = { certificateName: host.replace(/\.$/, ''), hostHeader: host };
    const targets = await this.#deps.srv.of(host.toLowerCase());
    if (targets.length === 0) return [{ host, port: DEFAULT_PORT, ...who }];
    return targets.map(({ target, port }, i) => ({
      host: target,
      port,
      ...who,
      ...(i < targets.length - 1 && { connectTimeoutMs: CONNECT_TO_ONE_OF_SEVERAL_MS }),
    }));
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
