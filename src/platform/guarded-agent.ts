import { isIP, type LookupFunction } from 'node:net';
import { createSecureContext, getCACertificates, type SecureContext } from 'node:tls';
import { LRUCache } from 'lru-cache';
import { buildConnector, Pool } from 'undici';
import type { AddressGuard } from './address-guard.ts';
import { type Clock, systemClock } from './clock.ts';
import type { Dns } from './dns.ts';
import { type HttpRequest, type HttpResponse, httpRequest, NotConnectedError } from './http-client.ts';

/** Idle connections of this many destinations are kept. */
const MAX_DESTINATIONS = 500;
const MAX_CONNECTIONS_PER_DESTINATION = 8;
const CONNECT_TIMEOUT_MS = 10_000;
const MAX_HEADER_BYTES = 16 * 1024;

/** Where to connect, and as whom the other side must prove itself. */
export interface Destination {
  /** A name to look up, or an IP literal (an IPv6 one without brackets). */
  readonly host: string;
  readonly port: number;
  /** The name or IP address that the certificate must be for; a name is also sent as SNI. */
  readonly certificateName: string;
  /** For look-up, TCP and TLS together. Default: that of the agent. */
  readonly connectTimeoutMs?: number;
}

export type HttpsRequest = Omit<HttpRequest, 'origin'>;

/** A way to servers that are not ours. */
export interface HttpsClient {
  /** One request and its whole answer. Rejects with `HttpError` alone. */
  request(destination: Destination, request: HttpsRequest): Promise<HttpResponse>;
}

export interface GuardedAgentOptions {
  readonly guard: AddressGuard;
  readonly dns: Dns;
  /** Certificate authorities (PEM) that are trusted beside the well-known ones. */
  readonly extraCa?: string;
  readonly clock?: Clock;
  /** Look-up, TCP and TLS together. Default: 10 s. */
  readonly connectTimeoutMs?: number;
}

/**
 * HTTPS to strangers. Every connection looks its host up anew and goes only to addresses that the guard
 * permits, so an answer that changes between check and use gains nothing. HTTP/1.1, certificates always
 * checked, no TLS session kept.
 */
export class GuardedAgent implements HttpsClient {
  readonly #options: GuardedAgentOptions;
  readonly #secureContext: SecureContext;
  readonly #pools = new LRUCache<string, Pool>({
    max: MAX_DESTINATIONS,
    dispose: (pool) => void pool.close().catch(() => {}),
  });

  constructor(options: GuardedAgentOptions) {
    this.#options = options;
    const extra = options.extraCa === undefined ? [] : [options.extraCa];
    this.#secureContext = createSecureContext({ ca: [...getCACertificates('default'), ...extra] });
  }

  /** One request and its whole answer. Rejects with `HttpError` alone. */
  request(destination: Destination, request: HttpsRequest): Promise<HttpResponse> {
    const { clock } = this.#options;
    return httpRequest(
      this.#poolFor(destination),
      { ...request, origin: originOf(destination) },
      clock ?? systemClock,
    );
  }

  /** Ends every connection, the running requests with them. */
  async close(): Promise<void> {
    const pools = [...this.#pools.values()];
    await Promise.all(pools.map((pool) => pool.destroy()));
    this.#pools.clear();
  }

  #poolFor(destination: Destination): Pool {
    const { host, port, certificateName, connectTimeoutMs } = destination;
    const key = JSON.stringify([host, port, certificateName, connectTimeoutMs]);
    const known = this.#pools.get(key);
    if (known !== undefined) return known;
    const pool = new Pool(originOf(destination), {
      connections: MAX_CONNECTIONS_PER_DESTINATION,
      pipelining: 1,
      maxHeaderSize: MAX_HEADER_BYTES,
      allowH2: false,
      connect: this.#connector(destination),
    });
    this.#pools.set(key, pool);
    return pool;
  }

  #connector(destination: Destination): buildConnector.connector {
    const { guard, connectTimeoutMs } = this.#options;
    const connect = buildConnector({
      allowH2: false,
      secureContext: this.#secureContext,
      lookup: this.#guardedLookup(),
      maxCachedSessions: 0,
      rejectUnauthorized: true,
      timeout: destination.connectTimeoutMs ?? connectTimeoutMs ?? CONNECT_TIMEOUT_MS,
    });
    return (options, done) => {
      const callback: buildConnector.Callback = (...[error, socket]) =>
        error === null ? done(null, socket) : done(new NotConnectedError(error), null);
      // A literal is connected to without a look-up.
      if (!guard.permitsHost(destination.host)) {
        callback(new AddressRefusedError(destination.host), null);
        return;
      }
      connect(
        {
          ...options,
          hostname: destination.host,
          port: String(destination.port),
          // An IP address is no SNI; without one the certificate is checked for the host connected to.
          servername: isIP(destination.certificateName) === 0 ? destination.certificateName : '',
        },
        callback,
      );
    };
  }

  #guardedLookup(): LookupFunction {
    const { guard, dns } = this.#options;
    return (host, options, callback) => {
      dns.lookup(host).then(
        (addresses) => {
          const open = addresses.filter(({ address }) => guard.permits(address));
          const [first] = open;
          if (first === undefined) callback(new AddressRefusedError(host), '', 0);
          else if (options.all) callback(null, open);
          else callback(null, first.address, first.family);
        },
        (error: Error) => callback(error, '', 0),
      );
    };
  }
}

export class AddressRefusedError extends Error {
  override readonly name = 'AddressRefusedError';
  readonly code = 'ERR_ADDRESS_REFUSED';
  constructor(host: string) {
    super(`${host} has no address that may be connected to`);
  }
}

function originOf({ certificateName, port }: Destination): string {
  const host = certificateName.includes(':') ? `[${certificateName}]` : certificateName;
  return `https://${host}:${port}`;
}
