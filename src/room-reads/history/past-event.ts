import { LRUCache } from 'lru-cache';
import { prevEventIds } from '../../matrix/pdu.ts';
import type { RoomVersionRules } from '../../matrix/room-versions.ts';
import type { VerifiedEvent } from '../../rooms/verify-event.ts';

/** An event of a room from before its log, or from a hole of it, as a server gave it. */
export interface PastEvent {
  readonly eventId: string;
  readonly depth: number;
  /** `origin_server_ts`, ms. */
  readonly sentAt: number;
  readonly previous: readonly string[];
  /** Authentic and authorised; null: not to be shown, though it leads on to what came before it. */
  readonly event: VerifiedEvent | null;
}

/** As many events of 64 KiB as fit in here are the past of a quarter of an hour of one reader. */
const MOST_BYTES = 64 * 1024 * 1024;
/** What an event takes beyond its text. */
const OVERHEAD = 500;
/** A parsed event takes about three times its text. */
const PARSED = 3;
const MOST_OPEN = 50_000;

export function pastEvent(
  eventId: string,
  pdu: VerifiedEvent['pdu'],
  rules: RoomVersionRules,
  event: VerifiedEvent | null,
): PastEvent {
  return {
    eventId,
    depth: Number(pdu.depth),
    sentAt: Number(pdu.origin_server_ts),
    previous: [...new Set(prevEventIds(pdu, rules))],
    event,
  };
}

/** What was read of rooms' pasts lately, in memory alone: the oldest gives way. */
export class PastEvents {
  readonly #events: LRUCache<string, PastEvent>;
  /** Events that are known to come after the room was opened, by the visibility event that opened it. */
  readonly #open = new LRUCache<string, true>({ max: MOST_OPEN });

  constructor(mostBytes = MOST_BYTES) {
    this.#events = new LRUCache({ maxSize: mostBytes, sizeCalculation: sizeOf });
  }

  get(roomId: string, eventId: string): PastEvent | undefined {
    return this.#events.get(keyOf(roomId, eventId));
  }

  add(roomId: string, past: PastEvent): void {
    this.#events.set(keyOf(roomId, past.eventId), past);
  }

  /** It is another one now: redacted, say. */
  forget(roomId: string, eventId: string): void {
    this.#events.delete(keyOf(roomId, eventId));
  }

  isOpen(roomId: string, since: string, eventId: string): boolean {
    return this.#open.has(`${since}\u0000${keyOf(roomId, eventId)}`);
  }

  markOpen(roomId: string, since: string, eventId: string): void {
    this.#open.set(`${since}\u0000${keyOf(roomId, eventId)}`, true);
  }

  /** How many bytes are held, about. */
  get bytes(): number {
    return this.#events.calculatedSize;
  }
}

function keyOf(roomId: string, eventId: string): string {
  return `${roomId}\u0000${eventId}`;
}

function sizeOf({ event, previous }: PastEvent): number {
  const text = event === null ? previous.length * 50 : JSON.stringify(event.pdu).length;
  return OVERHEAD + PARSED * text;
}
