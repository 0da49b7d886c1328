import type { Clock, Timer } from '../../../src/platform/clock.ts';
import type { Stage } from './stage.ts';

/**
 * One life of a proxy: from its start to the moment at which it is killed. All that the process does beyond
 * itself (its store, its clock, its homeserver, other servers) goes through here, step by step. At a kill
 * nothing is cleaned up: what the process waits for never comes, and it does nothing any more.
 */
export class Lifetime {
  alive = true;
  /** Questions to the store that have not been answered. */
  storeOwes = 0;
  readonly clock: Clock;
  readonly #stage: Stage;
  readonly #timers = new Set<Timer>();
  readonly #atDeath: (() => void)[] = [];
  #stepsLeft = Number.POSITIVE_INFINITY;

  constructor(stage: Stage) {
    this.#stage = stage;
    this.clock = this.#boundClock();
  }

  /** SIGKILL after so many further steps; a step is a question to the outside, or the answer to one. */
  dieIn(steps: number): void {
    this.#stepsLeft = Math.min(this.#stepsLeft, Math.max(1, steps));
  }

  /** SIGKILL now. */
  die(): void {
    if (!this.alive) return;
    this.alive = false;
    for (const timer of this.#timers) timer.cancel();
    this.#timers.clear();
    for (const task of this.#atDeath) task();
  }

  atDeath(task: () => void): void {
    this.#atDeath.push(task);
  }

  /**
   * The same object, used by this process alone: each call that gives a promise is two steps, and the kill may
   * come before it is made or before its answer is heard. `isStore`: what it has not answered is counted.
   */
  bound<T extends object>(target: T, isStore = false): T {
    return new Proxy(target, {
      get: (_, name) => {
        const member: unknown = Reflect.get(target, name, target);
        if (typeof member === 'function') {
          return (...args: unknown[]) =>
            this.#call(() => member.apply(target, args), String(name), isStore ? 1 : 0);
        }
        return typeof member === 'object' && member !== null ? this.bound(member, isStore) : member;
      },
    });
  }

  /** The same of one question. */
  ask<T>(question: () => Promise<T>): Promise<T> {
    return this.#call(question, 'ask', 0) as Promise<T>;
  }

  #call(call: () => unknown, name: string, owed: number): unknown {
    if (AT_ONCE.has(name)) return call();
    if (!this.#step()) return never();
    const answer = call();
    if (!(answer instanceof Promise)) return answer;
    this.storeOwes += owed;
    return answer.then(
      (value) => {
        this.storeOwes -= owed;
        return this.#step() ? value : never();
      },
      (error: unknown) => {
        this.storeOwes -= owed;
        if (this.#step()) throw error;
        return never();
      },
    );
  }

  /** False when the process is dead, or dies with this very step. */
  #step(): boolean {
    this.#stage.stir();
    if (this.alive && --this.#stepsLeft <= 0) this.die();
    return this.alive;
  }

  #boundClock(): Clock {
    const { clock } = this.#stage;
    const after = (ms: number, task: () => void): Timer => {
      if (!this.alive) return { cancel: () => {} };
      const timer = clock.after(ms, () => {
        this.#timers.delete(timer);
        this.#stage.stir();
        if (this.alive) task();
      });
      this.#timers.add(timer);
      return {
        cancel: () => {
          timer.cancel();
          this.#timers.delete(timer);
        },
      };
    };
    return {
      now: () => clock.now(),
      after,
      sleep: (ms, signal) =>
        new Promise((resolve) => {
          if (signal?.aborted) return resolve();
          const done = () => {
            timer.cancel();
            signal?.removeEventListener('abort', done);
            resolve();
          };
          const timer = after(ms, done);
          signal?.addEventListener('abort', done, { once: true });
        }),
    };
  }
}

/** What answers at once, from memory: no step, and a dead process may ask it. */
const AT_ONCE: ReadonlySet<string> = new Set([
  'subscribe',
  'readerReady',
  'remembered',
  'forget',
  'availableIn',
  'known',
  'allows',
]);

function never(): Promise<never> {
  return new Promise(() => {});
}
