/** How long nothing is tried again after a failure: doubled with each one. */
const FIRST_MS = 60_000;
const LONGEST_MS = 10 * 60_000;

/** What failed is tried again after a minute, then ever more seldom, down to once in ten minutes. */
export class Patience {
  readonly #failed = new Map<string, { readonly times: number; readonly until: number }>();

  mayTry(key: string, now: number): boolean {
    return (this.#failed.get(key)?.until ?? now) <= now;
  }

  /** Returns when it may be tried again. */
  failed(key: string, now: number): number {
    const times = (this.#failed.get(key)?.times ?? 0) + 1;
    const until = now + Math.min(LONGEST_MS, FIRST_MS * 2 ** Math.min(times - 1, 20));
    this.#failed.set(key, { times, until });
    return until;
  }

  /** Not before then, though it has not failed. */
  rest(key: string, until: number): void {
    this.#failed.set(key, { times: 0, until });
  }

  succeeded(key: string): void {
    this.#failed.delete(key);
  }

  /** Forgets what is not among these. */
  prune(keys: ReadonlySet<string>): void {
    for (const key of this.#failed.keys()) if (!keys.has(key)) this.#failed.delete(key);
  }
}
