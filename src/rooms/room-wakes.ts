import type { Store } from '../store/store.ts';

/** Wakes whoever waits for a room's log to grow. */
export class RoomWakes {
  readonly #listeners = new Map<string, Set<() => void>>();
  readonly #stop: () => void;

  constructor(store: Store) {
    this.#stop = store.subscribe((notice) => {
      if (notice.kind === 'log') this.#wake(notice.roomId);
    });
  }

  /** Calls `listener` each time one of the rooms' logs has grown or closed, until the returned function is called. */
  watch(roomIds: Iterable<string>, listener: () => void): () => void {
    const watched = [...roomIds];
    for (const roomId of watched) {
      const set = this.#listeners.get(roomId) ?? new Set();
      set.add(listener);
      this.#listeners.set(roomId, set);
    }
    return () => {
      for (const roomId of watched) {
        const set = this.#listeners.get(roomId);
        set?.delete(listener);
        if (set?.size === 0) this.#listeners.delete(roomId);
      }
    };
  }

  close(): void {
    this.#stop();
    this.#listeners.clear();
  }

  #wake(roomId: string): void {
    for (const listener of [...(this.#listeners.get(roomId) ?? [])]) listener();
  }
}
