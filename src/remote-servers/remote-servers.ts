import type { JsonObject } from '../matrix/json.ts';

/** Other servers: signed requests to them, and their signing keys. */
export interface RemoteServers {
  /**
   * Sends one signed request, `path` (raw target with query) byte for byte as it is signed.
   * Rejects with `RemoteUnreachable`, or with `RemoteRefusal` for any status but 2xx.
   */
  request(server: string, request: RemoteRequest): Promise<JsonObject>;
  /** What the server says it runs (`GET /_matrix/federation/v1/version`), cached for a while; null if unknown. */
  software(server: string): Promise<{ name: string; version: string } | null>;
  /** The destination may be tried now (no back-off is running), or the milliseconds until it may. */
  availableIn(server: string): number;
}

export interface RemoteRequest {
  readonly method: 'GET' | 'PUT' | 'POST' | 'DELETE';
  readonly path: string;
  readonly body?: JsonObject;
  /** Instead of `body`: the same as canonical JSON already, of an object. */
  readonly canonicalBody?: string;
  readonly timeoutMs: number;
  /** An answer longer than this is an error, not cut. */
  readonly maxBytes: number;
  /** An answer of more names and values than this is an error; default 200 000. */
  readonly maxValues?: number;
  /** Called when more than 1 MiB of the answer has come; no more of it is read until this resolves. */
  readonly beforeLarge?: () => Promise<void>;
  /**
   * Reads an answer of more than 1 MiB (in shared memory) in place of parsing it here, where that would hold up
   * the event loop; what it gives is the answer. It sees to size, depth and number of values itself, and rejects
   * with `JsonError`.
   */
  readonly readLarge?: (body: Uint8Array, limits: { readonly maxValues: number }) => Promise<JsonObject>;
  readonly signal?: AbortSignal;
  /** Tried even while back-off is running (a user waits for it, or the sender keeps its own). */
  readonly ignoreBackOff?: boolean;
}

export class RemoteUnreachable extends Error {
  override readonly name = 'RemoteUnreachable';
}

/** The server answered with another status than 2xx. */
export class RemoteRefusal extends Error {
  override readonly name = 'RemoteRefusal';
  readonly status: number;
  /** The answer's `errcode`; null where it has none. */
  readonly errcode: string | null;
  readonly body: JsonObject;
  constructor(server: string, status: number, errcode: string | null, body: JsonObject) {
    super(`${server} answered ${status}${errcode === null ? '' : ` ${errcode}`}`);
    this.status = status;
    this.errcode = errcode;
    this.body = body;
  }
}

/** Ed25519 keys of other servers, fetched, checked and cached. */
export interface KeyRing {
  /**
   * The raw 32-byte public key, valid at `at` (ms): for requests the present, for events `origin_server_ts`.
   * null when it cannot be had, does not verify or was not valid then, and as soon as `signal` aborts. Look-ups
   * that nobody waits for any longer are not begun; one that has begun ends by itself and is remembered. `asker`:
   * the server whose events they are; those of one server leave room for those of others.
   */
  publicKey(
    server: string,
    keyId: string,
    at: number,
    use: 'request' | 'event',
    signal?: AbortSignal,
    asker?: string,
  ): Promise<Uint8Array | null>;
  /** The same of what is kept: nobody is asked. */
  known(server: string, keyId: string, at: number, use: 'request' | 'event'): Uint8Array | null;
}

/** The same keys, looked up for events of this server. */
export function keysFor(asker: string, keys: KeyRing): KeyRing {
  return {
    known: (server, keyId, at, use) => keys.known(server, keyId, at, use),
    publicKey: (server, keyId, at, use, signal) => keys.publicKey(server, keyId, at, use, signal, asker),
  };
}
