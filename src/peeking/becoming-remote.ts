import type { ResidentFeeds } from '../feeds/resident/resident-feeds.ts';
import type { Homeserver } from '../homeserver/homeserver.ts';
import type { InboundPeeks } from '../inbound-peeks/inbound-peeks.ts';
import { serverNameOf } from '../matrix/ids.ts';
import { isObject } from '../matrix/json.ts';
import type { OutboundPeeks } from '../outbound-peeks/outbound-peeks.ts';
import type { Clock } from '../platform/clock.ts';
import type { Logger } from '../platform/log.ts';
import { MatrixError } from '../platform/matrix-error.ts';
import { SingleFlight } from '../platform/single-flight.ts';
import { isMark, pduOf } from '../rooms/log-entries.ts';
import type { LogEntry, RoomLog, Store } from '../store/store.ts';
import type { RoomReaders } from './room-readers.ts';

/** Servers that cannot be reached are asked again after these pauses; then the room's peeks end. */
const PAUSES_MS = [5_000, 15_000, 45_000];
/** The newest events of the log, whose senders' servers are asked. */
const LOOKED_THROUGH = 1_000;

export interface BecomingRemoteDeps {
  readonly store: Store;
  readonly homeserver: Homeserver;
  readonly residentFeeds: ResidentFeeds;
  readonly outbound: OutboundPeeks;
  readonly inbound: InboundPeeks;
  readonly readers: RoomReaders;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly serverName: string;
}

/**
 * Our homeserver's last user leaves a room, or is removed from it: its log goes on, fed by a server that is still
 * in it. Where none lets us peek, the room's peeks end where the log stands. Peeks of other servers end anyway.
 */
export class BecomingRemote {
  readonly #deps: BecomingRemoteDeps;
  readonly #leaving = new SingleFlight<void>();
  readonly #stop = new AbortController();

  constructor(deps: BecomingRemoteDeps) {
    this.#deps = deps;
  }

  /** The homeserver is no longer in the room. Never rejects; after a failure the next sweep comes here again. */
  left(roomId: string): Promise<void> {
    return this.#leaving.run(roomId, () => this.#leaveQuietly(roomId));
  }

  async #leaveQuietly(roomId: string): Promise<void> {
    try {
      await this.#leave(roomId);
    } catch (error) {
      this.#deps.logger.warn(
        { room: roomId, reason: String(error) },
        'a room that our homeserver has left could not be taken over by a peek; the next sweep tries again',
      );
    }
  }

  stop(): void {
    this.#stop.abort();
  }

  async #leave(roomId: string): Promise<void> {
    for (const pause of [0, ...PAUSES_MS]) {
      if (pause > 0) await this.#deps.clock.sleep(pause, this.#stop.signal);
      if (this.#stop.signal.aborted) return;
      const last = pause === PAUSES_MS.at(-1);
      if (await this.#deps.readers.queues.run(roomId, () => this.#moveOver(roomId, last))) return;
    }
  }

  /** False when it is to be tried again. */
  async #moveOver(roomId: string, last: boolean): Promise<boolean> {
    const { store, homeserver, residentFeeds, outbound, inbound, readers, logger } = this.#deps;
    const log = await store.logs.get(roomId);
    if (log === null || log.closed !== null || log.feed === 'remote') return true;
    if ((await homeserver.membership(roomId)) !== 'absent') {
      // Back again already.
      residentFeeds.follow(roomId);
      return true;
    }
    await inbound.roomClosed(roomId, log.head);
    if (await readers.hasReader(roomId)) {
      try {
        await outbound.subscribe(roomId, await this.#servers(log));
        logger.info(
          { room: roomId },
          'our homeserver has left a peeked room, which is peeked at another server now',
        );
        return true;
      } catch (error) {
        if (!(error instanceof MatrixError)) throw error;
        if (error.status === 502 && !last) return false;
        logger.info(
          { room: roomId, reason: error.message },
          'our homeserver has left a peeked room; its peeks end',
        );
      }
    }
    await store.logs.append(roomId, { entries: [], close: { reason: 'left' } });
    const closed = await store.logs.get(roomId);
    if (closed !== null) await readers.endClosed(closed);
    return true;
  }

  /** Servers of those who were heard in the room last, the most heard first. The homeserver tells nothing any more. */
  async #servers(log: RoomLog): Promise<string[]> {
    const { store, serverName } = this.#deps;
    const heard = new Map<string, number>();
    for (const entry of await store.logs.readLast(log.roomId, log.head, LOOKED_THROUGH)) {
      if (isMark(entry)) continue;
      for (const server of serversOf(entry)) heard.set(server, (heard.get(server) ?? 0) + 1);
    }
    heard.delete(serverName);
    return [...heard].toSorted(([, a], [, b]) => b - a).map(([server]) => server);
  }
}

/** The server of an event's sender, and of a user that it makes a member. */
function serversOf(entry: LogEntry): Set<string> {
  const { sender, content } = pduOf(entry);
  const servers = new Set([serverNameOf(String(sender))]);
  const isJoin = entry.type === 'm.room.member' && isObject(content) && content.membership === 'join';
  if (isJoin) servers.add(serverNameOf(entry.stateKey ?? ''));
  servers.delete(null);
  return servers as Set<string>;
}
