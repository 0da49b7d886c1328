import type { Clock } from '../platform/clock.ts';
import type { Store } from '../store/store.ts';

const AGAIN_MS = 5_000;

/**
 * Marks rooms whose events were received and could not be stored: the next sweep reads them anew. While the
 * store does not take the mark either, it is tried again; a room is held once however often it is marked.
 */
export class CatchUpMarks {
  readonly #store: Pick<Store, 'logs'>;
  readonly #clock: Clock;
  readonly #owed = new Set<string>();
  #waiting = false;

  constructor(store: Pick<Store, 'logs'>, clock: Clock) {
    this.#store = store;
    this.#clock = clock;
  }

  /** Never rejects. */
  async mark(roomIds: Iterable<string>): Promise<void> {
    for (const roomId of roomIds) this.#owed.add(roomId);
    await this.#pay();
  }

  async #pay(): Promise<void> {
    for (const roomId of [...this.#owed]) {
      try {
        await this.#store.logs.setFeed(roomId, { needsCatchUp: true });
        this.#owed.delete(roomId);
      } catch {
        this.#later();
        return;
      }
    }
  }

  #later(): void {
    if (this.#waiting) return;
    this.#waiting = true;
    this.#clock.after(AGAIN_MS, () => {
      this.#waiting = false;
      void this.#pay();
    });
  }
}
