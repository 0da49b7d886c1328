import { RateLimiterMemory, RateLimiterRes } from 'rate-limiter-flexible';
import type { IgnoredUsers } from '../../client-view/ignored-users.ts';
import type { Json } from '../../matrix/json.ts';
import { Gate, GateFullError } from '../../platform/gate.ts';
import { limitExceeded, MatrixError } from '../../platform/matrix-error.ts';
import type { RoomRead } from '../room-read.ts';
import { type Asking, HistoryUnavailable, MOST_REQUESTS } from './asking.ts';
import { HistorySession, type HistorySessionDeps } from './history-session.ts';
import { pastRoomOf } from './past-room.ts';

/** For one read, in all. */
const WITHIN_MS = 14_000;
/** Reads of one user at once; those that wait for another server wait in here. */
const OF_ONE_USER = { running: 4, waiting: 20 };
const AT_ONCE = 400;
const WAITING = 2_000;
const RETRY_AFTER_MS = 2_000;
/** Requests to other servers that one user may cause, by the minute. */
const REQUESTS = 300;
export interface HistoryReadsDeps extends HistorySessionDeps {
  readonly ignoredUsers: Pick<IgnoredUsers, 'of'>;
}

/** Begins reads of rooms' histories: few of one user at once, each within some seconds. */
export class HistoryReads {
  readonly #deps: HistoryReadsDeps;
  readonly #gate = new Gate(AT_ONCE, WAITING, OF_ONE_USER);
  readonly #requests = new RateLimiterMemory({ points: REQUESTS, duration: 60 });

  constructor(deps: HistoryReadsDeps) {
    this.#deps = deps;
  }

  /** What `work` gives. Rejects with 429 where the user reads too much, with `GateLeftError` when the client goes away. */
  async run(read: RoomRead, work: (session: HistorySession) => Promise<Json>): Promise<Json> {
    const { store, clock, ignoredUsers } = this.#deps;
    const room = await pastRoomOf(store, read.log);
    if (room === null) throw new MatrixError(404, 'M_NOT_FOUND', 'The version of this room is not known');
    const ending = new AbortController();
    const timer = clock.after(WITHIN_MS, () => ending.abort());
    const asking: Asking = {
      signal: AbortSignal.any([read.signal, ending.signal]),
      left: MOST_REQUESTS,
      given: new Map(),
      spend: () => this.#spend(read.who.userId),
    };
    try {
      return await this.#gate.run(
        async () => work(new HistorySession(this.#deps, read, room, asking, await ignoredUsers.of(read.who))),
        read.signal,
        read.who.userId,
      );
    } catch (error) {
      if (error instanceof GateFullError)
        throw limitExceeded('Too many reads of history wait', RETRY_AFTER_MS);
      throw error;
    } finally {
      timer.cancel();
    }
  }

  async #spend(userId: string): Promise<void> {
    try {
      await this.#requests.consume(userId);
    } catch (error) {
      if (!(error instanceof RateLimiterRes)) throw error;
      throw limitExceeded('Too much of other servers’ history was read', Math.max(1, error.msBeforeNext));
    }
  }
}

/** For reads that tell what they have when the rest cannot be had. */
export async function asFarAsHad<T>(work: () => Promise<T>, otherwise: T): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof HistoryUnavailable) return otherwise;
    throw error;
  }
}
