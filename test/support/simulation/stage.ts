import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises';
import { ManualClock } from '../manual-clock.ts';
import { seededRandom } from '../seeded-random.ts';
import { Chance } from './chance.ts';

/** Turns of the event loop without a stir after which everything rests that waits for no time to pass. */
const QUIET_TURNS = 5;
/** A store on a socket that has not answered within this is away. */
const STORE_ANSWERS_WITHIN_MS = 60;

/** What a whole simulation shares: one clock that stands still until all has come to rest, and one seed. */
export class Stage {
  readonly clock: ManualClock;
  readonly seed: number;
  /** Answers that a store on a real socket still owes. */
  storeOwes: () => number = () => 0;
  #stirs = 0;
  #chances = 0;

  constructor(seed: number) {
    this.seed = seed;
    this.clock = new ManualClock(Date.UTC(2026, 5, 1), () => this.#rest());
  }

  /** Randomness for one of the players: what another one does changes nothing of it. */
  chance(): Chance {
    return new Chance(seededRandom(this.seed * 1_000_003 + this.#chances++));
  }

  /** Something has happened: what follows from it is waited for. */
  stir(): void {
    this.#stirs++;
  }

  async #quiet(): Promise<void> {
    for (let quiet = 0, seen = this.#stirs; quiet < QUIET_TURNS; ) {
      await turn();
      if (this.#stirs === seen) quiet++;
      else quiet = 0;
      seen = this.#stirs;
    }
  }

  /** Until nothing stirs that does not wait for time to pass, and the stores have answered what they were asked. */
  async #rest(): Promise<void> {
    await this.#quiet();
    const deadline = performance.now() + STORE_ANSWERS_WITHIN_MS;
    while (this.storeOwes() > 0 && performance.now() < deadline) {
      await sleep(0);
      await this.#quiet();
    }
  }
}
