import { LRUCache } from 'lru-cache';
import type { Clock } from '../platform/clock.ts';
import type { Dns, SrvRecord } from '../platform/dns.ts';
import type { Random } from '../platform/random.ts';
import { SingleFlight } from '../platform/single-flight.ts';

const MAX_CACHED_NAMES = 10_000;
const LIFETIME_MS = 5 * 60_000;
/** How soon a DNS that did not answer is asked again. */
const RETRY_MS = 30_000;
/** How long after they were read records may stand in for an answer that does not come. */
const LONGEST_LIFETIME_MS = 60 * 60_000;
/** More targets of one name are not tried. */
const MAX_TARGETS = 8;
const HOST_NAME = /^[0-9A-Za-z._-]{1,253}$/;

/** The server says in its DNS that there is no such service (RFC 2782: the target is the root). */
export class NoServiceError extends Error {
  override readonly name = 'NoServiceError';
  constructor() {
    super('its DNS says that there is no Matrix service (SRV target ".")');
  }
}

interface Kept {
  readonly records: readonly SrvRecord[];
  readonly readAt: number;
  readonly expiresAt: number;
}

/** Where SRV records say that a server is. */
export class SrvTargets {
  readonly #dns: Pick<Dns, 'srv'>;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #kept = new LRUCache<string, Kept>({ max: MAX_CACHED_NAMES });
  readonly #flights = new SingleFlight<readonly SrvRecord[]>();

  constructor(deps: { readonly dns: Pick<Dns, 'srv'>; readonly clock: Clock; readonly random: Random }) {
    this.#dns = deps.dns;
    this.#clock = deps.clock;
    this.#random = deps.random;
  }

  /**
   * The targets of a host in the order in which they are to be tried, of `_matrix-fed._tcp`, or else of the older
   * `_matrix._tcp`; none: there are no records, or the DNS does not answer. Rejects with `NoServiceError` alone.
   */
  async of(host: string): Promise<SrvRecord[]> {
    const services = ['_matrix-fed._tcp', '_matrix._tcp'].map((service) =>
      this.#records(`${service}.${host}`),
    );
    for (const records of await Promise.all(services)) {
      if (records.length > 0 && records.every(({ target }) => target === '')) throw new NoServiceError();
      const usable = records.filter(
        ({ target, port }) => HOST_NAME.test(target) && port > 0 && port < 65_536,
      );
      if (usable.length > 0) return ordered(usable, this.#random).slice(0, MAX_TARGETS);
    }
    return [];
  }

  async #records(name: string): Promise<readonly SrvRecord[]> {
    const kept = this.#kept.get(name);
    if (kept !== undefined && this.#clock.now() < kept.expiresAt) return kept.records;
    return this.#flights.run(name, () => this.#ask(name, kept));
  }

  async #ask(name: string, before: Kept | undefined): Promise<readonly SrvRecord[]> {
    const records = await this.#dns.srv(name).catch(() => null);
    const now = this.#clock.now();
    if (records !== null) {
      this.#kept.set(name, { records, readAt: now, expiresAt: now + LIFETIME_MS });
      return records;
    }
    const last = before !== undefined && now - before.readAt < LONGEST_LIFETIME_MS ? before : null;
    const standIn = last ?? { records: [], readAt: now };
    this.#kept.set(name, { ...standIn, expiresAt: now + RETRY_MS });
    return standIn.records;
  }
}

/** Lowest priority value first; within one, at random by weight, those of weight 0 seldom first (RFC 2782). */
function ordered(records: readonly SrvRecord[], random: Random): SrvRecord[] {
  const left = records.toSorted(
    (a, b) => a.priority - b.priority || Number(a.weight > 0) - Number(b.weight > 0),
  );
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
