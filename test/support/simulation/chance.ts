import type { Random } from '../../../src/platform/random.ts';

/** What a seed decides. */
export class Chance {
  readonly random: Random;

  constructor(random: Random) {
    this.random = random;
  }

  /** True so often in a hundred. */
  percent(share: number): boolean {
    return this.random.below(100) < share;
  }

  /** An integer from `least` to `most`, both included. */
  between(least: number, most: number): number {
    return least + this.random.below(most - least + 1);
  }

  /** One of them. Throws when there is none. */
  of<T>(items: readonly T[]): T {
    if (items.length === 0) throw new Error('there is nothing to choose from');
    return items[this.random.below(items.length)] as T;
  }
}
