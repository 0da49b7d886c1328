import { LRUCache } from 'lru-cache';
import { isServerName } from '../matrix/ids.ts';
import type { JsonObject } from '../matrix/json.ts';
import type { Clock } from '../platform/clock.ts';
import { withDeadline } from '../platform/deadline.ts';
import { Gate, GateFullError } from '../platform/gate.ts';
import type { Metrics } from '../platform/metrics.ts';
import { SingleFlight } from '../platform/single-flight.ts';
import type { KeyRing } from './remote-servers.ts';
import { checkedServerKeys, isKeyId, isValidAt, type ServerKey } from './server-keys.ts';

const MAX_CACHED_SERVERS = 10_000;
const MAX_KEYS_PER_SERVER = 200;
/** A server whose keys were fetched is not asked again for this long, whatever key is wanted. */
const PAUSE_MS = 60_000;
/** Further look-ups at the notary within a pause while the server itself does not answer. */
const NOTARY_LOOKUPS_PER_PAUSE = 8;
const NOTARY_TIMEOUT_MS = 10_000;
const DIRECT_TIMEOUT_MS = 10_000;
/** Look-ups at once; those for events and those for requests do not wait for each other. */
const LOOKUPS_AT_ONCE = 50;
const MAX_WAITING_REQUESTS = 500;

type Use = 'request' | 'event';

export interface KeyRingDeps {
  readonly serverName: string;
  /** The key that our homeserver signs with. */
  readonly ownKey: { readonly keyId: string; readonly publicKey: Uint8Array };
  /** Our homeserver's own answer of `/_matrix/key/v2/server`: its old keys, for old events. */
  readonly ownAnswer?: (signal: AbortSignal) => Promise<JsonObject>;
  /** The homeserver's notary: key objects as they came. May reject. */
  readonly notary: (server: string, keyId: string, minimumValidUntil: number) => Promise<JsonObject[]>;
  /** `GET /_matrix/key/v2/server` of the server itself. May reject. */
  readonly direct: (server: string, timeoutMs: number, signal: AbortSignal) => Promise<JsonObject>;
  readonly clock: Clock;
  readonly metrics: Metrics;
}

interface KnownServer {
  readonly keys: Map<string, ServerKey>;
  /** Until when the server is not asked; 0: it may be. */
  pausedUntil: number;
  /** How often the notary alone may still be asked within the pause. */
  notaryLookups: number;
  /** Keys the notary was asked for within the pause. */
  readonly asked: Set<string>;
}

/**
 * The keys of other servers: kept, then from the homeserver's notary, then from the server itself. However
 * many unknown keys a server is said to have, it is asked once in a pause.
 */
export class FederationKeyRing implements KeyRing {
  readonly #deps: KeyRingDeps;
  readonly #servers = new LRUCache<string, KnownServer>({ max: MAX_CACHED_SERVERS });
  readonly #flights = new SingleFlight<void>();
  readonly #gates = {
    request: new Gate(LOOKUPS_AT_ONCE, MAX_WAITING_REQUESTS),
    event: new Gate(LOOKUPS_AT_ONCE),
  };

  constructor(deps: KeyRingDeps) {
    this.#deps = deps;
  }

  async publicKey(server: string, keyId: string, at: number, use: Use): Promise<Uint8Array | null> {
    if (!isServerName(server) || !isKeyId(keyId) || !Number.isSafeInteger(at)) return null;
    // A look-up for another key of that server may be under way; after it, this one may need its own.
    for (let round = 0; round <= NOTARY_LOOKUPS_PER_PAUSE; round++) {
      const key = this.known(server, keyId, at, use);
      if (key !== null) return key;
      if (!this.#mayLookUp(server, keyId)) return null;
      try {
        await this.#flights.run(server, () =>
          this.#gates[use].run(() => this.#lookUp(server, keyId, at, use)),
        );
      } catch (error) {
        if (!(error instanceof GateFullError)) throw error;
        if (use === 'request') return null;
      }
    }
    return this.known(server, keyId, at, use);
  }

  known(server: string, keyId: string, at: number, use: Use): Uint8Array | null {
    const { serverName, ownKey } = this.#deps;
    if (server === serverName && keyId === ownKey.keyId) return ownKey.publicKey;
    const key = this.#servers.get(server)?.keys.get(keyId);
    return key !== undefined && isValidAt(key, at, use) ? key.publicKey : null;
  }

  #mayLookUp(server: string, keyId: string): boolean {
    const known = this.#servers.get(server);
    if (known === undefined || this.#deps.clock.now() >= known.pausedUntil) return true;
    return known.notaryLookups > 0 && !known.asked.has(keyId);
  }

  /** Never rejects. */
  async #lookUp(server: string, keyId: string, at: number, use: Use): Promise<void> {
    const known = this.#known(server);
    const { clock } = this.#deps;
    const paused = clock.now() < known.pausedUntil;
    if (!paused) {
      known.asked.clear();
      known.notaryLookups = NOTARY_LOOKUPS_PER_PAUSE;
    }
    if (known.notaryLookups <= 0 || known.asked.has(keyId)) return;
    known.notaryLookups--;
    known.asked.add(keyId);
    const own = server === this.#deps.serverName;
    const found = own ? [] : await this.#askNotary(server, keyId, at);
    for (const answer of found) this.#admit(server, known, answer);
    if (this.known(server, keyId, at, use) !== null || paused) return;
    const answer = await this.#askServer(server);
    // What the server itself lists is all there is.
    if (answer !== null && this.#admit(server, known, answer)) known.notaryLookups = 0;
    known.pausedUntil = clock.now() + PAUSE_MS;
  }

  async #askNotary(server: string, keyId: string, at: number): Promise<JsonObject[]> {
    const { clock, notary } = this.#deps;
    const answers = await withDeadline(clock, NOTARY_TIMEOUT_MS, undefined, () =>
      notary(server, keyId, Math.min(at, clock.now())),
    ).catch(() => null);
    this.#count('notary', answers !== null);
    return answers ?? [];
  }

  async #askServer(server: string): Promise<JsonObject | null> {
    const { clock, direct, ownAnswer, serverName } = this.#deps;
    const answer = await withDeadline(clock, DIRECT_TIMEOUT_MS, undefined, async (signal) => {
      if (server !== serverName) return direct(server, DIRECT_TIMEOUT_MS, signal);
      return ownAnswer === undefined ? null : ownAnswer(signal);
    }).catch(() => null);
    this.#count('direct', answer !== null);
    return answer;
  }

  #count(source: string, ok: boolean): void {
    this.#deps.metrics.keyFetches.inc({ source, outcome: ok ? 'ok' : 'failed' });
  }

  /** Takes over what is newer than what is known; false for an answer that does not hold. */
  #admit(server: string, known: KnownServer, answer: JsonObject): boolean {
    const keys = checkedServerKeys(answer, server, this.#deps.clock.now());
    if (keys === null) return false;
    for (const [keyId, key] of keys) {
      const before = known.keys.get(keyId);
      if (before === undefined || supersedes(key, before)) known.keys.set(keyId, key);
    }
    for (const keyId of known.keys.keys()) {
      if (known.keys.size <= MAX_KEYS_PER_SERVER) break;
      known.keys.delete(keyId);
    }
    return true;
  }

  #known(server: string): KnownServer {
    const existing = this.#servers.get(server);
    if (existing !== undefined) return existing;
    const fresh = {
      keys: new Map<string, ServerKey>(),
      pausedUntil: 0,
      notaryLookups: 0,
      asked: new Set<string>(),
    };
    this.#servers.set(server, fresh);
    return fresh;
  }
}

/** The same key may come again from an older answer; another key under its ID is a newer one. */
function supersedes(key: ServerKey, before: ServerKey): boolean {
  if (!Buffer.from(key.publicKey).equals(before.publicKey) || key.expired) return true;
  return !before.expired && key.validUntil >= before.validUntil;
}
