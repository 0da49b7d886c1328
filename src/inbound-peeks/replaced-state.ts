import { LRUCache } from 'lru-cache';
import type { RoomLogStore } from '../store/store.ts';

const ROOMS = 500;
const PAGE = 200;
/** Looked at of one log, the newest ones: a server that has missed more reads the state as a whole. */
const MOST_ENTRIES = 2_000;

/**
 * State events that a world-readable event has taken the place of: they were in the state before it. Known from the
 * log, so that every process says the same.
 */
export class ReplacedState {
  readonly #logs: RoomLogStore;
  readonly #rooms = new LRUCache<string, { readonly head: number; readonly ids: Promise<Set<string>> }>({
    max: ROOMS,
  });

  constructor(logs: RoomLogStore) {
    this.#logs = logs;
  }

  async has(roomId: string, eventId: string): Promise<boolean> {
    const log = await this.#logs.get(roomId);
    if (log === null) return false;
    let known = this.#rooms.get(roomId);
    if (known?.head !== log.head) {
      known = { head: log.head, ids: this.#read(roomId, log.head) };
      this.#rooms.set(roomId, known);
      known.ids.catch(() => this.#rooms.delete(roomId));
    }
    return (await known.ids).has(eventId);
  }

  async #read(roomId: string, head: number): Promise<Set<string>> {
    const ids = new Set<string>();
    for (let upTo = head, seen = 0; seen < MOST_ENTRIES; ) {
      const page = await this.#logs.readLast(roomId, upTo, PAGE);
      for (const { shown, applied, replaces } of page) {
        if (shown && applied && replaces !== null) ids.add(replaces);
      }
      const [oldest] = page;
      if (oldest === undefined || page.length < PAGE) break;
      upTo = oldest.position - 1;
      seen += page.length;
    }
    return ids;
  }
}
