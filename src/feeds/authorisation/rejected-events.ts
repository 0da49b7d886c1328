import { LRUCache } from 'lru-cache';

const MOST = 20_000;

/** Events that the authorization rules deny for good: they are neither judged nor asked for again for a while. */
export class RejectedEvents {
  readonly #known = new LRUCache<string, true>({ max: MOST });

  has(roomId: string, eventId: string): boolean {
    return this.#known.has(`${roomId}\u0000${eventId}`);
  }

  add(roomId: string, eventId: string): void {
    this.#known.set(`${roomId}\u0000${eventId}`, true);
  }
}
