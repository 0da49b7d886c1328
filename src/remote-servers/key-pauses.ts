import { LRUCache } from 'lru-cache';
import type { Clock } from '../platform/clock.ts';

const MAX_SERVERS = 10_000;
/** A server whose keys were fetched is not asked again for this long, whatever key is wanted. */
const PAUSE_MS = 60_000;
/** Further look-ups at the notary within a pause, of requests and of events each. */
export const NOTARY_LOOKUPS_PER_PAUSE = 8;

export type Use = 'request' | 'event';

interface Pause {
  until: number;
  /** How often the notary alone may still be asked within the pause. */
  readonly left: Record<Use, number>;
  /** Keys the notary was asked for within the pause, and up to what time the answer holds. */
  readonly asked: Map<string, number>;
}

/**
 * Whom the key ring may ask again. Requests and events have their own share: anybody can send a request that
 * claims to be of a server, and must not use up what that server's events need.
 */
export class KeyPauses {
  readonly #clock: Clock;
  readonly #pauses = new LRUCache<string, Pause>({ max: MAX_SERVERS });

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Whether a pause is running: the notary may be asked, the server may not. */
  paused(server: string): boolean {
    const pause = this.#pauses.get(server);
    return pause !== undefined && this.#clock.now() < pause.until;
  }

  mayAsk(server: string, keyId: string, at: number, use: Use): boolean {
    const pause = this.#pauses.get(server);
    if (pause === undefined || !this.paused(server)) return true;
    const asked = pause.asked.get(keyId);
    return pause.left[use] > 0 && (asked === undefined || asked < at);
  }

  /** The notary is being asked. */
  asks(server: string, keyId: string, at: number, use: Use): void {
    let pause = this.#pauses.get(server);
    if (pause === undefined || !this.paused(server)) {
      const left = { request: NOTARY_LOOKUPS_PER_PAUSE, event: NOTARY_LOOKUPS_PER_PAUSE };
      pause = { until: 0, left, asked: new Map() };
      this.#pauses.set(server, pause);
    }
    pause.left[use]--;
    const isPresent = at >= this.#clock.now() - PAUSE_MS;
    pause.asked.set(keyId, isPresent ? Number.POSITIVE_INFINITY : at);
  }

  /**
   * The server was asked. Keys that it does not list sign no request; old ones that it has forgotten may still
   * be known to the notary.
   */
  asked(server: string, answered: boolean): void {
    const pause = this.#pauses.get(server);
    if (pause === undefined) return;
    pause.until = this.#clock.now() + PAUSE_MS;
    if (answered) pause.left.request = 0;
  }
}
