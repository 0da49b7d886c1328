import type { Clock } from '../platform/clock.ts';
import type { InboundPeekStore } from '../store/store.ts';

/** How old a count may be. Between two of them other processes' additions are not seen; quotas may be exceeded by those. */
const FRESH_MS = 10_000;

/** How many servers' peeks there are in all, without counting them at each request. */
export class PeekCount {
  readonly #peeks: InboundPeekStore;
  readonly #clock: Clock;
  #count = 0;
  #countedAt = Number.NEGATIVE_INFINITY;

  constructor(peeks: InboundPeekStore, clock: Clock) {
    this.#peeks = peeks;
    this.#clock = clock;
  }

  async read(): Promise<number> {
    const now = this.#clock.now();
    if (Math.abs(now - this.#countedAt) >= FRESH_MS) {
      this.#count = await this.#peeks.count();
      this.#countedAt = now;
    }
    return this.#count;
  }

  added(): void {
    this.#count += 1;
  }
}
