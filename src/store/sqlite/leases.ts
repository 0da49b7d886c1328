import type { Clock } from '../../platform/clock.ts';
import type { LeaseStore } from '../store.ts';

/**
 * Leases in memory: one process holds the file, so that every owner lives in it, and a lease must not outlive a
 * crash of the process that held it.
 */
export class ProcessLeases implements LeaseStore {
  readonly #held = new Map<string, { owner: string; until: number }>();
  readonly #clock: Clock;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  async acquire(name: string, owner: string, ttlMs: number): Promise<boolean> {
    const now = this.#clock.now();
    for (const [other, lease] of this.#held) if (lease.until <= now) this.#held.delete(other);
    const held = this.#held.get(name);
    if (held !== undefined && held.owner !== owner) return false;
    this.#held.set(name, { owner, until: now + ttlMs });
    return true;
  }

  async release(name: string, owner: string): Promise<void> {
    if (this.#held.get(name)?.owner === owner) this.#held.delete(name);
  }
}
