import { LRUCache } from 'lru-cache';
import type { Homeserver } from '../homeserver/homeserver.ts';
import type { Clock } from '../platform/clock.ts';

/** A join may bypass this proxy, so what was learned is asked again after this time. */
const TRUSTED_MS = 10_000;
/** A join through another server may take minutes; beyond this its outcome is asked for. */
const JOIN_MS = 10 * 60_000;

/** Whether our homeserver is in a remotely peeked room by now, or on its way into it. */
export class Residency {
  readonly #homeserver: Homeserver;
  readonly #clock: Clock;
  readonly #absentUntil = new LRUCache<string, number>({ max: 10_000 });
  readonly #joining = new Map<string, number>();

  constructor(homeserver: Homeserver, clock: Clock) {
    this.#homeserver = homeserver;
    this.#clock = clock;
  }

  /** True only when the homeserver is certainly neither in the room nor joining it. */
  async isAbsent(roomId: string): Promise<boolean> {
    const now = this.#clock.now();
    if (this.#isJoining(roomId, now)) return false;
    if ((this.#absentUntil.get(roomId) ?? 0) > now) return true;
    const membership = await this.#homeserver.membership(roomId);
    // A join may have been asked for while the homeserver was.
    if (membership !== 'absent' || this.#isJoining(roomId, now)) return false;
    this.#joining.delete(roomId);
    this.#absentUntil.set(roomId, now + TRUSTED_MS);
    return true;
  }

  #isJoining(roomId: string, now: number): boolean {
    const since = this.#joining.get(roomId);
    return since !== undefined && now - since < JOIN_MS;
  }

  /** A request to join has been seen. `failed` is called when it was refused. */
  joining(roomId: string): { failed(): void } {
    this.#joining.set(roomId, this.#clock.now());
    this.#absentUntil.delete(roomId);
    return { failed: () => this.#joining.delete(roomId) };
  }
}
