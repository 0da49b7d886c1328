import { domainOf, isServerName } from '../matrix/ids.ts';
import type { JsonObject } from '../matrix/json.ts';
import type { Clock } from '../platform/clock.ts';
import { withDeadline } from '../platform/deadline.ts';
import { Gate, GateFullError, GateLeftError } from '../platform/gate.ts';
import type { Logger } from '../platform/log.ts';
import type { Metrics } from '../platform/metrics.ts';
import { LeavableFlight, LeftError, SingleFlight } from '../platform/single-flight.ts';
import { KeyCache } from './key-cache.ts';
import { KeyPauses, NOTARY_LOOKUPS_PER_PAUSE, type Use } from './key-pauses.ts';
import type { KeyRing } from './remote-servers.ts';
import { checkedServerKeys, isKeyId, isValidAt } from './server-keys.ts';

const NOTARY_TIMEOUT_MS = 10_000;
const DIRECT_TIMEOUT_MS = 10_000;
/** Look-ups at once; those for events and those for requests do not wait for each other. */
const LOOKUPS_AT_ONCE = 50;
/** … and of those, so many for events of one server: it may name servers that are slow on purpose, without end. */
const LOOKUPS_OF_ONE = 30;
const MAX_WAITING_REQUESTS = 500;
/** What of these the names of one domain may take, or all that are addresses: anybody can claim as many as he likes. */
const REQUESTS_OF_ONE = { running: 25, waiting: 100 };
/** The notary gives one answer of the server for the key, or a few. */
const MAX_COPIES = 10;

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
  readonly logger: Pick<Logger, 'info' | 'debug'>;
  readonly metrics: Metrics;
}

/**
 * The keys of other servers: kept, then from the homeserver's notary, then from the server itself. However
 * many unknown keys a server is said to have, it is asked once in a pause.
 */
export class FederationKeyRing implements KeyRing {
  readonly #deps: KeyRingDeps;
  readonly #cache = new KeyCache();
  readonly #pauses: KeyPauses;
  /** Those who wait for a server's keys, by use and for whom; whoever is first stands in the queue for all. */
  readonly #queued = new LeavableFlight<void>();
  readonly #flights = new SingleFlight<void>();
  readonly #gates = {
    request: new Gate(LOOKUPS_AT_ONCE, MAX_WAITING_REQUESTS, REQUESTS_OF_ONE),
    event: new Gate(LOOKUPS_AT_ONCE, Number.POSITIVE_INFINITY, { running: LOOKUPS_OF_ONE }),
  };

  constructor(deps: KeyRingDeps) {
    this.#deps = deps;
    this.#pauses = new KeyPauses(deps.clock);
  }

  async publicKey(
    server: string,
    keyId: string,
    at: number,
    use: Use,
    signal?: AbortSignal,
    asker = '',
  ): Promise<Uint8Array | null> {
    if (!isServerName(server) || !isKeyId(keyId) || !Number.isSafeInteger(at)) return null;
    const owner = use === 'event' ? asker : domainOf(server);
    // A look-up for another key of that server may be under way; after it, this one may need its own.
    for (let round = 0; round <= NOTARY_LOOKUPS_PER_PAUSE; round++) {
      const key = this.known(server, keyId, at, use);
      if (key !== null) return key;
      if (!this.#pauses.mayAsk(server, keyId, at, use)) return null;
      const lookUp = () => this.#flights.run(server, () => this.#lookUp(server, keyId, at, use));
      try {
        await this.#queued.run(`${use} ${server} ${owner}`, signal, (deserted) =>
          this.#gates[use].run(lookUp, deserted, owner),
        );
      } catch (error) {
        if (error instanceof LeftError || error instanceof GateFullError) return null;
        if (!(error instanceof GateLeftError)) throw error;
      }
    }
    return this.known(server, keyId, at, use);
  }

  known(server: string, keyId: string, at: number, use: Use): Uint8Array | null {
    const { serverName, ownKey } = this.#deps;
    if (server === serverName && keyId === ownKey.keyId) return ownKey.publicKey;
    const key = this.#cache.get(server, keyId);
    return key !== undefined && isValidAt(key, at, use) ? key.publicKey : null;
  }

  /** Never rejects. */
  async #lookUp(server: string, keyId: string, at: number, use: Use): Promise<void> {
    if (!this.#pauses.mayAsk(server, keyId, at, use)) return;
    const paused = this.#pauses.paused(server);
    this.#pauses.asks(server, keyId, at, use);
    const own = server === this.#deps.serverName;
    const copies = own ? [] : await this.#askNotary(server, keyId, at);
    for (const copy of copies.slice(0, MAX_COPIES)) this.#admit(server, copy, false);
    if (this.known(server, keyId, at, use) !== null || paused) return;
    const outcome = await this.#askServer(server);
    this.#pauses.asked(server, outcome === null);
    if (this.known(server, keyId, at, use) !== null) return;
    this.#log(use, server, outcome ?? `it has no key ${keyId} that was valid then`);
  }

  /** Anybody can name a server in a request; events come from servers that we peek through. */
  #log(use: Use, server: string, reason: string): void {
    const { logger } = this.#deps;
    const text = 'a key could not be had: what it signed is not believed; asked again after a minute';
    if (use === 'event') logger.info({ server, reason }, text);
    else logger.debug({ server, reason }, text);
  }

  async #askNotary(server: string, keyId: string, at: number): Promise<JsonObject[]> {
    const { clock, notary } = this.#deps;
    const answers = await withDeadline(clock, NOTARY_TIMEOUT_MS, undefined, () =>
      notary(server, keyId, Math.min(at, clock.now())),
    ).catch(() => null);
    this.#count('notary', answers !== null);
    return answers ?? [];
  }

  /** null, or why it gave no keys. */
  async #askServer(server: string): Promise<string | null> {
    const { clock, direct, ownAnswer, serverName } = this.#deps;
    let failure: string | null;
    try {
      const answer = await withDeadline(clock, DIRECT_TIMEOUT_MS, undefined, async (signal) => {
        if (server !== serverName) return direct(server, DIRECT_TIMEOUT_MS, signal);
        return ownAnswer === undefined ? null : ownAnswer(signal);
      });
      const holds = answer !== null && this.#admit(server, answer, true);
      failure = holds ? null : 'its keys are of another server, or not signed by it';
    } catch (error) {
      failure = error instanceof Error ? error.message : String(error);
    }
    this.#count('direct', failure === null);
    return failure;
  }

  #count(source: string, ok: boolean): void {
    this.#deps.metrics.keyFetches.inc({ source, outcome: ok ? 'ok' : 'failed' });
  }

  /** False for an answer that does not hold. */
  #admit(server: string, answer: JsonObject, firstHand: boolean): boolean {
    const keys = checkedServerKeys(answer, server, this.#deps.clock.now());
    if (keys === null) return false;
    this.#cache.admit(server, keys, firstHand);
    return true;
  }
}
