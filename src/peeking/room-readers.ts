import type { RemoteFeed } from '../feeds/remote/remote-feed.ts';
import type { ResidentFeeds } from '../feeds/resident/resident-feeds.ts';
import type { RoomQueues } from '../feeds/room-queues.ts';
import type { InboundPeeks } from '../inbound-peeks/inbound-peeks.ts';
import type { OutboundPeeks } from '../outbound-peeks/outbound-peeks.ts';
import type { Clock } from '../platform/clock.ts';
import type { Logger } from '../platform/log.ts';
import type { RoomLog, Store } from '../store/store.ts';

/** A log that was just opened may be about to get its first reader. */
const GRACE_MS = 60_000;

export interface RoomReadersDeps {
  readonly store: Store;
  readonly residentFeeds: ResidentFeeds;
  readonly remoteFeed: RemoteFeed;
  readonly outbound: OutboundPeeks;
  readonly inbound: InboundPeeks;
  readonly queues: RoomQueues;
  readonly clock: Clock;
  readonly logger: Logger;
}

/**
 * Who reads a room, and what follows when nobody does: its feed stops, the peek at the other server is let
 * go, and when nothing points into its log any more the log goes too.
 */
export class RoomReaders {
  readonly queues: RoomQueues;
  readonly #deps: RoomReadersDeps;
  readonly #openedForServers = new Map<string, number>();
  /** Room ID → how many are about to read it, and whether it was to be let go meanwhile. */
  readonly #held = new Map<string, { by: number; isPassedOver: boolean }>();

  constructor(deps: RoomReadersDeps) {
    this.#deps = deps;
    this.queues = deps.queues;
  }

  /** The log of a resident room for a server that is about to peek into it. What we peeked there is let go. */
  openForServer(roomId: string): Promise<RoomLog> {
    const { residentFeeds, remoteFeed, outbound, clock } = this.#deps;
    this.#openedForServers.set(roomId, clock.now());
    return remoteFeed.meanwhile(roomId, async () => {
      const log = await residentFeeds.open(roomId);
      if (outbound.isPeeked(roomId)) await outbound.letGo(roomId);
      return log;
    });
  }

  /**
   * Somebody is about to read the room: it is not let go before they call what is returned, which resolves when what
   * was put off is done.
   */
  hold(roomId: string): () => Promise<void> {
    const held = this.#held.get(roomId) ?? { by: 0, isPassedOver: false };
    this.#held.set(roomId, held);
    held.by++;
    return async () => {
      if (--held.by > 0) return;
      this.#held.delete(roomId);
      if (held.isPassedOver) await this.releaseQuietly(roomId);
    };
  }

  /** Called when a reader has gone. Does nothing while others are there. Waits for its turn in the room. */
  release(roomId: string): Promise<void> {
    return this.queues.run(roomId, () => this.releaseNow(roomId));
  }

  /** The same for who has the room's turn already. */
  async releaseNow(roomId: string): Promise<void> {
    const { store, residentFeeds, outbound, clock } = this.#deps;
    const held = this.#held.get(roomId);
    if (held !== undefined) {
      held.isPassedOver = true;
      return;
    }
    const log = await store.logs.get(roomId);
    if (log === null) return;
    const opened = Math.max(
      log.feed === 'resident' ? log.openedAt : 0,
      this.#openedForServers.get(roomId) ?? 0,
    );
    if (opened + GRACE_MS > clock.now() && log.closed === null && log.feed === 'resident') return;
    if (await this.hasReader(roomId)) return;
    this.#openedForServers.delete(roomId);
    await residentFeeds.stop(roomId);
    const isKept = (await this.#pointedAt()).has(roomId);
    // Before the peek is let go: after a crash in between it still is what nobody reads.
    if (isKept && log.asleep === null) await this.#fallAsleep(log);
    if (log.feed === 'remote' || outbound.isPeeked(roomId)) await outbound.letGo(roomId);
    if (!isKept) await store.logs.drop(roomId);
  }

  async #fallAsleep({ roomId, feed }: RoomLog): Promise<void> {
    const { store, outbound } = this.#deps;
    const via = feed === 'remote' ? await outbound.via(roomId) : [];
    await store.logs.setFeed(roomId, { needsCatchUp: true, asleep: { via } });
  }

  /** A room that was closed: its peeks end, on all devices and for all servers, at the closing event. */
  async closed(log: RoomLog): Promise<void> {
    await this.#endPeeks(log);
    await this.release(log.roomId);
  }

  /** The same for who has the room's turn already. */
  async endClosed(log: RoomLog): Promise<void> {
    await this.#endPeeks(log);
    await this.releaseNow(log.roomId);
  }

  async #endPeeks({ roomId, closed }: RoomLog): Promise<void> {
    const { store, inbound, clock } = this.#deps;
    if (closed === null) return;
    for (const peek of await store.devicePeeks.ofRoom(roomId)) {
      await store.devicePeeks.end(peek, { at: clock.now(), reason: 'closed', position: closed.at });
    }
    await inbound.roomClosed(roomId, closed.at);
  }

  /** The same where nobody waits for it; the next sweep makes up for a failure. */
  async releaseQuietly(roomId: string): Promise<void> {
    try {
      await this.release(roomId);
    } catch (error) {
      this.#deps.logger.warn(
        { room: roomId, reason: String(error) },
        'a room that nobody reads could not be let go; the next sweep does it',
      );
    }
  }

  /** Ends the peeks of rooms as soon as their logs close. Returns the way to stop. */
  watchClosing(): () => void {
    return this.#deps.store.subscribe((notice) => {
      if (notice.kind === 'log') void this.#endIfClosed(notice.roomId);
    });
  }

  async #endIfClosed(roomId: string): Promise<void> {
    try {
      const log = await this.#deps.store.logs.get(roomId);
      if (log !== null && log.closed !== null) await this.closed(log);
    } catch (error) {
      this.#deps.logger.warn(
        { room: roomId, reason: String(error) },
        'the peeks of a closed room could not be ended; the next sweep does it',
      );
    }
  }

  /** After a start: feeds that are needed run again, logs that nothing points at go. */
  async resume(): Promise<void> {
    const { store, residentFeeds } = this.#deps;
    for (const log of await store.logs.all()) {
      if (log.closed !== null) await this.closed(log);
      else if (log.feed === 'resident' && log.asleep === null && (await this.hasReader(log.roomId)))
        residentFeeds.follow(log.roomId);
    }
  }

  /** Lets go of rooms whose last reader went unnoticed, and takes up those whose feed does not run here. */
  async sweep(): Promise<void> {
    const kept = await this.#pointedAt();
    for (const log of await this.#deps.store.logs.all()) {
      if (log.closed !== null) await this.closed(log);
      else if (!(await this.hasReader(log.roomId))) {
        if (!kept.has(log.roomId) || !this.#isAtRest(log)) await this.release(log.roomId);
      } else if (this.#wantsFeed(log)) await this.queues.run(log.roomId, () => this.#feed(log.roomId));
    }
  }

  /** It sleeps, and nothing that feeds it runs here. */
  #isAtRest({ roomId, asleep }: RoomLog): boolean {
    const { residentFeeds, outbound } = this.#deps;
    return asleep !== null && !outbound.isPeeked(roomId) && !residentFeeds.isRunning(roomId);
  }

  #wantsFeed({ feed, roomId, asleep }: RoomLog): boolean {
    const { residentFeeds, outbound } = this.#deps;
    if (asleep !== null) return false;
    return feed === 'resident' && (outbound.isPeeked(roomId) || !residentFeeds.isRunning(roomId));
  }

  async #feed(roomId: string): Promise<void> {
    const { store, residentFeeds, outbound } = this.#deps;
    const log = await store.logs.get(roomId);
    if (log === null || log.closed !== null || !this.#wantsFeed(log)) return;
    // Our homeserver has joined the room meanwhile, and feeds the log.
    if (outbound.isPeeked(roomId)) await outbound.letGo(roomId);
    if (!residentFeeds.isRunning(roomId)) residentFeeds.follow(roomId);
  }

  /** Whether a device that is awake, or another server, reads the room. */
  async hasReader(roomId: string): Promise<boolean> {
    const { store } = this.#deps;
    const devices = await store.devicePeeks.ofRoom(roomId);
    if (devices.some((peek) => peek.dormantSince === null)) return true;
    return (await store.inboundPeeks.ofRoom(roomId)).length > 0;
  }

  /** Rooms that somebody has a place in, be they asleep, or owed what is left. */
  async #pointedAt(): Promise<ReadonlySet<string>> {
    const { store } = this.#deps;
    const [peeks, cursors] = [await store.devicePeeks.all(), await store.inboundPeeks.cursors()];
    return new Set([...peeks, ...cursors].map(({ roomId }) => roomId));
  }
}
