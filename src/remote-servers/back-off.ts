import { LRUCache } from 'lru-cache';
import type { Clock } from '../platform/clock.ts';
import type { Random } from '../platform/random.ts';

const FIRST_MS = 1000;
const LONGEST_MS = 60 * 60_000;
const MAX_REMEMBERED = 10_000;

interface Failing {
  readonly failures: number;
  readonly failedAt: number;
  readonly until: number;
}

/**
 * Servers that did not answer, shared by everybody who sends: 1 s after the first failure, doubled with each
 * further one up to 1 h, each wait shortened at random by up to a quarter.
 */
export class BackOff {
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #failing = new LRUCache<string, Failing>({ max: MAX_REMEMBERED });

  constructor(clock: Clock, random: Random) {
    this.#clock = clock;
    this.#random = random;
  }

  /** Milliseconds until the server may be tried; 0: now. */
  remaining(server: string): number {
    const entry = this.#failing.get(server);
    return entry === undefined ? 0 : Math.max(0, entry.until - this.#clock.now());
  }

  succeeded(server: string): void {
    this.#failing.delete(server);
  }

  /** Requests that were under way together fail together, and count once. */
  failed(server: string, startedAt: number): void {
    const entry = this.#failing.get(server);
    if (entry !== undefined && startedAt < entry.failedAt) return;
    const failures = (entry?.failures ?? 0) + 1;
    const full = Math.min(LONGEST_MS, FIRST_MS * 2 ** Math.min(failures - 1, 30));
    const wait = full - this.#random.below(Math.floor(full / 4) + 1);
    const now = this.#clock.now();
    this.#failing.set(server, { failures, failedAt: now, until: now + wait });
  }
}
