import type { RemoteFeed } from '../feeds/remote/remote-feed.ts';
import type { ResidentFeeds } from '../feeds/resident/resident-feeds.ts';
import { type Homeserver, HomeserverDown, NotReadable } from '../homeserver/homeserver.ts';
import type { OutboundPeeks } from '../outbound-peeks/outbound-peeks.ts';
import type { Clock } from '../platform/clock.ts';
import type { Logger } from '../platform/log.ts';
import { type RoomLog, type Store, StoreDownError } from '../store/store.ts';
import type { RoomReaders } from './room-readers.ts';

/** A room that is not complete yet, or has nothing in common with the log, is looked at again after this … */
const RETRY_MIN_MS = 1_000;
/** … and less and less often. */
const RETRY_MAX_MS = 60_000;
/** How long the log waits for an event that the homeserver has too, before it goes on with a gap. */
const PATIENCE_MS = 120_000;
/** A join that nobody told us of is found within this … */
const ASKED_AGAIN_MS = 5 * 60_000;
/** … unless there are more remote rooms than a sweep asks about: each is a request to the homeserver. */
const ASKED_AT_ONCE = 20;

export interface BecomingResidentDeps {
  readonly store: Store;
  readonly homeserver: Homeserver;
  readonly residentFeeds: ResidentFeeds;
  readonly remoteFeed: RemoteFeed;
  readonly outbound: OutboundPeeks;
  readonly readers: RoomReaders;
  readonly clock: Clock;
  readonly logger: Logger;
}

/**
 * A user of ours joins a room that is peeked at another server: its log goes on, fed by our homeserver. While the
 * homeserver is still joining, and until it and the log have an event in common, the peeked server feeds it.
 */
export class BecomingResident {
  readonly #deps: BecomingResidentDeps;
  readonly #watching = new Set<string>();
  /** Room ID → when a sweep last asked whether our homeserver is in it. */
  readonly #asked = new Map<string, number>();
  readonly #stop = new AbortController();

  constructor(deps: BecomingResidentDeps) {
    this.#deps = deps;
  }

  /** Something says that our homeserver is in this room by now, or will be soon. Nobody waits for what follows. */
  suspect(roomId: string): void {
    if (this.#watching.has(roomId) || this.#stop.signal.aborted) return;
    this.#watching.add(roomId);
    void this.#watch(roomId).finally(() => this.#watching.delete(roomId));
  }

  /**
   * The log of a room whose state our homeserver shows: a resident one or, as long as the homeserver has nothing
   * in common with what was peeked, still the remote one. To be called in the room's turn. Rejects with
   * `NotReadable` when the room is not open to non-members.
   */
  async open(roomId: string): Promise<RoomLog> {
    const { store, residentFeeds, outbound } = this.#deps;
    const held = await store.logs.get(roomId);
    const isFed = held?.closed === null && held.feed === 'remote' && outbound.isPeeked(roomId);
    if (!isFed) return residentFeeds.open(roomId);
    const log = await this.#moveOver(roomId, true);
    if (log.feed === 'remote') this.suspect(roomId);
    return log;
  }

  /** Asks about rooms that may have been joined past us, the longest unasked first. Rejects with `StoreDownError`. */
  async sweep(now: number): Promise<void> {
    const { store, homeserver } = this.#deps;
    const remote = (await store.logs.all()).filter(
      // One that sleeps is looked at when it wakes up.
      (log) => log.feed === 'remote' && log.closed === null && log.asleep === null,
    );
    const rooms = new Set(remote.map(({ roomId }) => roomId));
    for (const roomId of this.#asked.keys()) if (!rooms.has(roomId)) this.#asked.delete(roomId);
    for (const roomId of rooms) if (!this.#asked.has(roomId)) this.#asked.set(roomId, now);
    if (!homeserver.readerReady()) return;
    const due = [...this.#asked]
      .filter(([roomId, at]) => at + ASKED_AGAIN_MS <= now && !this.#watching.has(roomId))
      .toSorted(([, a], [, b]) => a - b)
      .slice(0, ASKED_AT_ONCE);
    for (const [roomId] of due) {
      this.#asked.set(roomId, now);
      try {
        if ((await homeserver.membership(roomId)) !== 'absent') this.suspect(roomId);
      } catch (error) {
        if (error instanceof StoreDownError) throw error;
        // Down, or refusing: the next sweep asks again.
        return;
      }
    }
  }

  stop(): void {
    this.#stop.abort();
  }

  async #watch(roomId: string): Promise<void> {
    const { clock, logger } = this.#deps;
    let inRoomSince: number | null = null;
    const signal = this.#stop.signal;
    for (let retry = RETRY_MIN_MS; !signal.aborted; retry = Math.min(retry * 2, RETRY_MAX_MS)) {
      try {
        const patient = inRoomSince === null || inRoomSince + PATIENCE_MS > clock.now();
        const found = await this.#look(roomId, patient);
        if (found === 'done') return;
        if (found === 'nothing in common') inRoomSince ??= clock.now();
      } catch (error) {
        if (!(error instanceof HomeserverDown)) {
          logger.warn(
            { room: roomId, reason: String(error) },
            'a room that a user of ours has joined could not be taken over; it stays with the peeked server, and is tried again',
          );
        }
      }
      await clock.sleep(retry, signal);
    }
  }

  #look(roomId: string, patient: boolean): Promise<'done' | 'joining' | 'nothing in common'> {
    const { store, homeserver, readers } = this.#deps;
    return readers.queues.run(roomId, async () => {
      const log = await store.logs.get(roomId);
      if (log === null || log.closed !== null || log.feed === 'resident') return 'done';
      if (!homeserver.readerReady() || !(await readers.hasReader(roomId))) return 'done';
      const membership = await homeserver.membership(roomId);
      if (membership === 'absent') return 'done';
      if (membership === 'partial') return 'joining';
      try {
        const moved = await this.#moveOver(roomId, patient);
        return moved.feed === 'resident' ? 'done' : 'nothing in common';
      } catch (error) {
        // It has closed: the event that closed it comes from the peeked server, or the next renewal is refused.
        if (error instanceof NotReadable) return 'done';
        throw error;
      }
    });
  }

  async #moveOver(roomId: string, patient: boolean): Promise<RoomLog> {
    const { residentFeeds, remoteFeed, outbound, logger } = this.#deps;
    const log = await remoteFeed.meanwhile(roomId, async () => {
      const moved = await residentFeeds.open(roomId, { patient });
      // Before anything else is done with the log: a renewal that is waiting must not take it back.
      if (moved.feed === 'resident') await outbound.letGo(roomId);
      return moved;
    });
    if (log.feed === 'resident') {
      logger.info({ room: roomId }, 'our homeserver is in a peeked room now, and feeds it');
    }
    return log;
  }
}
