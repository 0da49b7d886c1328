import { NobodyLetsUs } from '../outbound-peeks/candidates.ts';

/**
 * When many want to open a room at the same time, through the same servers, and nobody lets the first of them, nobody
 * lets the others either: servers are not asked for each of them.
 */
export class SharedRefusals {
  readonly #first = new Map<string, Promise<unknown>>();

  /** `key`: the room and the servers. */
  async run<T>(key: string, open: () => Promise<T>): Promise<T> {
    const first = this.#first.get(key);
    if (first !== undefined) {
      await first.catch((error: unknown) => {
        if (error instanceof NobodyLetsUs) throw error;
      });
      return open();
    }
    const opened = open().finally(() => this.#first.delete(key));
    this.#first.set(key, opened);
    return opened;
  }
}
