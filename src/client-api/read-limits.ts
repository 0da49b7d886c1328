import { RateLimiterMemory, RateLimiterRes } from 'rate-limiter-flexible';
import { limitExceeded } from '../platform/matrix-error.ts';

/**
 * A client that opens a room asks some dozens of things at once (members, relations of what it shows, events that
 * are replied to), and goes on with a few a second. Each takes milliseconds of the one thread that serves everybody.
 */
const READS_PER_SECOND = 50;

/** How much one user may read of remotely peeked rooms, on all devices together. */
export class ReadLimits {
  readonly #reads = new RateLimiterMemory({ points: READS_PER_SECOND, duration: 1 });

  /** Rejects with 429 when it was too much. */
  async spend(userId: string): Promise<void> {
    try {
      await this.#reads.consume(userId);
    } catch (error) {
      if (!(error instanceof RateLimiterRes)) throw error;
      throw limitExceeded('Too many reads of peeked rooms', Math.max(1, error.msBeforeNext));
    }
  }
}
