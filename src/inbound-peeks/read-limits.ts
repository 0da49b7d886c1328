import { RateLimiterMemory, RateLimiterRes } from 'rate-limiter-flexible';
import { limitExceeded } from '../platform/matrix-error.ts';
import type { ReadRequest } from './read-request.ts';

const PER_SECONDS = 60;
/**
 * Of one server over all its rooms. After a fork it may ask for three auth chains, a hundred events and the IDs of a
 * state, of each room that has forked.
 */
const POINTS = 600;
/**
 * A read of history may cost the homeserver a question about each of a hundred events; a state is megabytes; the
 * event closest to a time is looked for among all of a room.
 */
const POINTS_OF_HISTORY = 5;
const HISTORY_KINDS: ReadonlySet<ReadRequest['kind']> = new Set([
  'backfill',
  'get_missing_events',
  'state',
  'timestamp_to_event',
]);
/** Of one server in one room. */
const HISTORY = 60;

/** How many reads one server may make in a minute. */
export class ReadLimits {
  readonly #all = new RateLimiterMemory({ points: POINTS, duration: PER_SECONDS });
  readonly #history = new RateLimiterMemory({ points: HISTORY, duration: PER_SECONDS });

  /** To be asked before the homeserver is; `server` peeks the room, where the read names one. Rejects with 429. */
  async consume(server: string, read: ReadRequest): Promise<void> {
    try {
      const isHistory = read.kind !== 'event' && HISTORY_KINDS.has(read.kind);
      if (isHistory) await this.#history.consume(JSON.stringify([server, read.roomId]));
      await this.#all.consume(server, isHistory ? POINTS_OF_HISTORY : 1);
    } catch (error) {
      if (!(error instanceof RateLimiterRes)) throw error;
      throw limitExceeded('Your server reads too often', Math.max(1, error.msBeforeNext));
    }
  }
}
