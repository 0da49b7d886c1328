import type { Clock, Timer } from '../../src/platform/clock.ts';

interface Pending {
  readonly due: number;
  readonly order: number;
  readonly task: () => void;
}

/** A clock that stands still until a test moves it. */
export class ManualClock implements Clock {
  #now: number;
  #order = 0;
  readonly #pending = new Set<Pending>();
  readonly #settled: () => Promise<void>;

  /** `settled` resolves when what runs has come to rest; by default, what waits for nothing but promises. */
  constructor(start = 1_700_000_000_000, settled = onceAround) {
    this.#now = start;
    this.#settled = settled;
  }

  now(): number {
    return this.#now;
  }

  after(ms: number, task: () => void): Timer {
    const timer: Pending = { due: this.#now + Math.max(0, ms), order: this.#order++, task };
    this.#pending.add(timer);
    return { cancel: () => void this.#pending.delete(timer) };
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      if (signal?.aborted) return resolve();
      const done = () => {
        timer.cancel();
        signal?.removeEventListener('abort', done);
        resolve();
      };
      const timer = this.after(ms, done);
      signal?.addEventListener('abort', done, { once: true });
    });
  }

  /** Timers that have not run yet. */
  get pending(): number {
    return this.#pending.size;
  }

  /**
   * Moves time on by `ms`, running the timers that fall due in order, each at its own time. After each one
   * the promises that it settled run on, so that timers which they set within the span are run too.
   */
  async advance(ms: number): Promise<void> {
    const end = this.#now + ms;
    await this.#settled();
    for (let next = this.#next(end); next !== null; next = this.#next(end)) {
      this.#pending.delete(next);
      this.#now = Math.max(this.#now, next.due);
      next.task();
      await this.#settled();
    }
    this.#now = end;
  }

  /** Sets the wall clock without running a timer: what a clock jump looks like. */
  jump(ms: number): void {
    this.#now += ms;
  }

  #next(end: number): Pending | null {
    let first: Pending | null = null;
    for (const timer of this.#pending) {
      if (timer.due > end) continue;
      if (first === null || timer.due < first.due || (timer.due === first.due && timer.order < first.order)) {
        first = timer;
      }
    }
    return first;
  }
}

/** Lets everything run that waits for nothing but promises. */
function onceAround(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
