import type { Random } from '../platform/random.ts';

const FIRST_MS = 1_000;
const LONGEST_MS = 3_600_000;

/** How long one destination is left alone after each failure: doubling from 1 s to 1 h, with jitter. */
export class BackOff {
  readonly #random: Random;
  #failures = 0;

  constructor(random: Random) {
    this.#random = random;
  }

  /** Milliseconds to wait after a further failure; at least `askedMs`, where the destination named a time. */
  failed(askedMs = 0): number {
    const base = Math.min(LONGEST_MS, FIRST_MS * 2 ** Math.min(this.#failures, 20));
    this.#failures += 1;
    const jittered = base + this.#random.below(Math.floor(base / 2) + 1);
    return Math.min(LONGEST_MS, Math.max(jittered, askedMs));
  }

  reset(): void {
    this.#failures = 0;
  }
}
