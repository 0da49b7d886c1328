import type { VerifiedEvent } from '../../rooms/verify-event.ts';

const MOST_EVENTS = 100;
const MOST_BYTES = 1024 * 1024;
const MOST_EVENTS_IN_ALL = 10_000;

/** An event that its own auth events allow and the room's current state does not. */
export interface HeldEvent {
  readonly event: VerifiedEvent;
  readonly origin: string;
}

/**
 * Authorised events that the current state denies, until it has been compared with the peeked server's: a hundred
 * and 1 MiB of a room, ten thousand in all. They are in memory only; the room's mark that it needs to catch up is
 * not, and what it brings has them again.
 */
export class HeldEvents {
  readonly #rooms = new Map<string, Map<string, HeldEvent & { readonly bytes: number }>>();
  #count = 0;

  get size(): number {
    return this.#count;
  }

  has(roomId: string, eventId: string): boolean {
    return this.#rooms.get(roomId)?.has(eventId) ?? false;
  }

  /** False when there is no room for it. */
  hold(roomId: string, held: HeldEvent): boolean {
    const room = this.#rooms.get(roomId) ?? new Map<string, HeldEvent & { readonly bytes: number }>();
    if (room.has(held.event.eventId)) return true;
    const bytes = Buffer.byteLength(JSON.stringify(held.event.pdu));
    let total = bytes;
    for (const each of room.values()) total += each.bytes;
    if (room.size >= MOST_EVENTS || total > MOST_BYTES || this.#count >= MOST_EVENTS_IN_ALL) return false;
    room.set(held.event.eventId, { ...held, bytes });
    this.#rooms.set(roomId, room);
    this.#count++;
    return true;
  }

  /** Takes out all that is held of a room, oldest first. */
  release(roomId: string): HeldEvent[] {
    const room = this.#rooms.get(roomId);
    if (room === undefined) return [];
    this.#rooms.delete(roomId);
    this.#count -= room.size;
    return [...room.values()];
  }
}
