import { LRUCache } from 'lru-cache';
import type { Clock } from '../platform/clock.ts';

/** A user who looks again after a coffee is not told what was so before it. */
const REMEMBERED_MS = 2 * 60_000;
const MOST_ROOMS = 20_000;

/**
 * Rooms that nobody let us peek just now, or not in time: who asks again gets the homeserver's word at once. A
 * server that is learned for the room, or a late success, ends that.
 */
export class UnpeekableRooms {
  readonly #clock: Clock;
  readonly #until = new LRUCache<string, number>({ max: MOST_ROOMS });

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  has(roomId: string): boolean {
    return (this.#until.get(roomId) ?? 0) > this.#clock.now();
  }

  add(roomId: string): void {
    this.#until.set(roomId, this.#clock.now() + REMEMBERED_MS);
  }

  delete(roomId: string): void {
    this.#until.delete(roomId);
  }
}
