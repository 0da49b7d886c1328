import { LRUCache } from 'lru-cache';
import type { Homeserver } from '../homeserver/homeserver.ts';
import type { Clock } from '../platform/clock.ts';

/** A join may bypass this proxy, so what was learned is asked again after this time. */
const TRUSTED_MS = 10_000;
/** A join through another server may take minutes; beyond this its outcome is asked for. */
const JOIN_MS = 10 * 60_000;
/** Requests of one room that are told apart; with more under way the room simply counts as being joined. */
const MOST_REQUESTS = 1000;

/** A request to join that has been seen. */
export interface JoinRequest {
  /** It was refused: it says nothing any more. What other requests said stays. */
  failed(): void;
}

/** The requests to join one room: when each was seen, and when the last one was that is not told apart. */
interface Joining {
  readonly requests: Map<object, number>;
  others: number;
}

/** Whether our homeserver is in a remotely peeked room by now, or on its way into it. */
export class Residency {
  readonly #homeserver: Homeserver;
  readonly #clock: Clock;
  readonly #absentUntil = new LRUCache<string, number>({ max: 10_000 });
  readonly #joining = new Map<string, Joining>();
  readonly #present: (roomId: string) => void;

  /** `present` is told of each room that the homeserver turns out to be in, or on its way into. */
  constructor(homeserver: Homeserver, clock: Clock, present: (roomId: string) => void = () => {}) {
    this.#homeserver = homeserver;
    this.#clock = clock;
    this.#present = present;
  }

  /** True only when the homeserver is certainly neither in the room nor joining it. */
  async isAbsent(roomId: string): Promise<boolean> {
    const now = this.#clock.now();
    if (this.#isJoining(roomId, now)) return false;
    if ((this.#absentUntil.get(roomId) ?? 0) > now) return true;
    const membership = await this.#homeserver.membership(roomId);
    if (membership !== 'absent') this.#present(roomId);
    // A join may have been asked for while the homeserver was.
    if (membership !== 'absent' || this.#isJoining(roomId, now)) return false;
    this.#absentUntil.set(roomId, now + TRUSTED_MS);
    return true;
  }

  #isJoining(roomId: string, now: number): boolean {
    const joining = this.#joining.get(roomId);
    if (joining === undefined) return false;
    for (const [request, since] of joining.requests) {
      if (now - since < JOIN_MS) return true;
      joining.requests.delete(request);
    }
    if (now - joining.others < JOIN_MS) return true;
    this.#joining.delete(roomId);
    return false;
  }

  /** Our homeserver has left the room: joins that succeeded before are history. */
  left(roomId: string): void {
    this.#joining.delete(roomId);
  }

  /** A request to join has been seen. Until it has failed, or for ten minutes, the room is not absent. */
  joining(roomId: string): JoinRequest {
    const now = this.#clock.now();
    const joining = this.#joining.get(roomId) ?? { requests: new Map(), others: Number.NEGATIVE_INFINITY };
    this.#joining.set(roomId, joining);
    this.#absentUntil.delete(roomId);
    const request: JoinRequest = { failed: () => void joining.requests.delete(request) };
    if (joining.requests.size < MOST_REQUESTS) joining.requests.set(request, now);
    else joining.others = now;
    return request;
  }
}
