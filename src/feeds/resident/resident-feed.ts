import {
  type Homeserver,
  HomeserverDown,
  HomeserverRefusal,
  NotReadable,
  type ReadEvent,
} from '../../homeserver/homeserver.ts';
import { isObject } from '../../matrix/json.ts';
import type { Clock } from '../../platform/clock.ts';
import type { Logger } from '../../platform/log.ts';
import type { Metrics } from '../../platform/metrics.ts';
import { type RoomLog, type Store, StoreDownError } from '../../store/store.ts';
import { appendResident } from './append-resident.ts';
import { closedTail } from './closed-tail.ts';

/** One long-poll; short enough that a half-open connection is noticed, long enough to cost nothing. */
const POLL_MS = 25_000;
/** The lease outlives a pause of the store or the process by this much. */
const LEASE_MS = 15_000;
const RETRY_MIN_MS = 500;
const RETRY_MAX_MS = 30_000;

export interface ResidentFeedDeps {
  readonly store: Store;
  readonly homeserver: Homeserver;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: Metrics;
  /** Names this process in leases. */
  readonly owner: string;
  /** The homeserver is no longer in the room. */
  readonly left: (roomId: string) => void;
}

/**
 * Follows one room that our homeserver is in and writes its log, as long as it runs.
 *
 * The homeserver's token is stored together with the events that led to it, so after a pause of ours or a
 * crash of the homeserver the feed goes on from there. One process at a time follows a room (lease).
 */
export class ResidentFeed {
  readonly roomId: string;
  readonly #deps: ResidentFeedDeps;
  readonly #abort = new AbortController();
  readonly #log: Logger;
  #done: Promise<void> | null = null;
  /** Why the last round failed, for health; null while it works. */
  trouble: string | null = null;
  /** It has nothing more to follow: the room closed, was left, sleeps, or its log is gone. */
  finished = false;

  constructor(roomId: string, deps: ResidentFeedDeps) {
    this.roomId = roomId;
    this.#deps = deps;
    this.#log = deps.logger.child({ room: roomId, feed: 'resident' });
  }

  start(): void {
    this.#done ??= this.#run().finally(() => {
      this.finished = true;
    });
  }

  async stop(): Promise<void> {
    this.#abort.abort();
    await this.#done;
    await this.#releaseLease();
  }

  get #lease(): string {
    return `feed:${this.roomId}`;
  }

  async #run(): Promise<void> {
    const { clock } = this.#deps;
    const signal = this.#abort.signal;
    let retry = RETRY_MIN_MS;
    while (!signal.aborted) {
      try {
        if (!(await this.#holdLease())) {
          await clock.sleep(LEASE_MS / 5, signal);
          continue;
        }
        if (!(await this.#round(signal))) return await this.#releaseLease();
        retry = RETRY_MIN_MS;
        this.trouble = null;
      } catch (error) {
        if (signal.aborted) return;
        this.#explain(error);
        await clock.sleep(retry, signal);
        retry = Math.min(retry * 2, RETRY_MAX_MS);
      }
    }
  }

  #holdLease(): Promise<boolean> {
    return this.#deps.store.leases.acquire(this.#lease, this.#deps.owner, POLL_MS + LEASE_MS);
  }

  async #releaseLease(): Promise<void> {
    await this.#deps.store.leases.release(this.#lease, this.#deps.owner).catch(() => undefined);
  }

  /** One poll and what it brought into the log. False when there is nothing more to follow. */
  async #round(signal: AbortSignal): Promise<boolean> {
    const { store, homeserver } = this.#deps;
    const log = await store.logs.get(this.roomId);
    if (log === null || log.closed !== null || log.asleep !== null) return false;
    try {
      const polled = await homeserver.follow(this.roomId, log.feedToken, { timeoutMs: POLL_MS, signal });
      return await this.#admit(log, polled.events, polled.end);
    } catch (error) {
      if (error instanceof NotReadable) return this.#noLongerReadable(log);
      throw error;
    }
  }

  /** False when these events close the room. */
  async #admit(log: RoomLog, events: readonly ReadEvent[], feedToken?: string): Promise<boolean> {
    const reason = await appendResident(this.#deps, log, events, { feedToken });
    if (reason !== null) this.#log.info({ reason }, 'the room is no longer open to peeking; its peeks end');
    return reason === null;
  }

  /** 403: the room has closed, or our last user has left it. A self-signed read tells which. */
  async #noLongerReadable(log: RoomLog): Promise<boolean> {
    const { store, homeserver } = this.#deps;
    const membership = await homeserver.membership(this.roomId);
    if (membership === 'absent') {
      this.#log.info('the homeserver has left the room; it is no longer followed here');
      this.#deps.left(this.roomId);
      return false;
    }
    const rest = await closedTail(store, homeserver, log);
    if (await this.#admit(log, rest)) {
      // The closing event itself could not be seen: what is held stands, and nothing after it is shown.
      await store.logs.append(this.roomId, { entries: [], close: { reason: 'visibility' } });
    }
    return false;
  }

  #explain(error: unknown): void {
    const text = error instanceof Error ? error.message : String(error);
    this.trouble = text;
    if (error instanceof HomeserverDown || error instanceof StoreDownError) {
      this.#log.warn({ reason: text }, 'the feed pauses and tries again');
    } else if (error instanceof HomeserverRefusal) {
      const body: unknown = isObject(error.body) ? error.body : null;
      this.#log.error(
        { status: error.status, body },
        'the homeserver refuses the reader: check its token or registration',
      );
    } else {
      this.#log.error({ err: error }, 'the feed met an error and tries again');
    }
  }
}
