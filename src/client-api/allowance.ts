import { RateLimiterMemory, RateLimiterRes } from 'rate-limiter-flexible';
import { limitExceeded } from '../platform/matrix-error.ts';

/** So many users may use up what each may call; accounts by the thousand cost the homeserver no more than they do. */
const USERS_AT_ONCE = 100;

/** How often a user may call, and all of them together. */
export class Allowance {
  readonly #ofUser: RateLimiterMemory;
  readonly #ofAll: RateLimiterMemory;

  constructor(count: number, perMs: number) {
    this.#ofUser = new RateLimiterMemory({ points: count, duration: perMs / 1000 });
    this.#ofAll = new RateLimiterMemory({ points: count * USERS_AT_ONCE, duration: perMs / 1000 });
  }

  /** Rejects with 429. What a user asks for in vain takes nothing from the others. */
  async spend(userId: string): Promise<void> {
    await taken(this.#ofUser, userId, 'You have started or ended too many peeks');
    await taken(this.#ofAll, 'all', 'Too many peeks are started or ended on this server');
  }
}

async function taken(limiter: RateLimiterMemory, key: string, refusal: string): Promise<void> {
  try {
    await limiter.consume(key);
  } catch (error) {
    if (!(error instanceof RateLimiterRes)) throw error;
    throw limitExceeded(refusal, Math.max(1, error.msBeforeNext));
  }
}
