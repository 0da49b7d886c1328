import type { LeaseStore } from '../store.ts';
import type { RedisConnection } from './connection.ts';
import { leaseKey } from './keys.ts';
import { scripts } from './scripts.ts';

/** Leases that Redis ends by its own clock, whatever becomes of their owner. */
export class RedisLeases implements LeaseStore {
  readonly #redis: RedisConnection;

  constructor(redis: RedisConnection) {
    this.#redis = redis;
  }

  async acquire(name: string, owner: string, ttlMs: number): Promise<boolean> {
    const ttl = Math.max(1, Math.ceil(ttlMs));
    return Number(await this.#redis.run(scripts.leaseAcquire, [leaseKey(name)], [owner, ttl])) === 1;
  }

  async release(name: string, owner: string): Promise<void> {
    await this.#redis.run(scripts.leaseRelease, [leaseKey(name)], [owner]);
  }
}
