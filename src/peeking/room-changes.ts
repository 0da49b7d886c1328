import { setImmediate } from 'node:timers/promises';
import { LRUCache } from 'lru-cache';
import type { InboundPeeks } from '../inbound-peeks/inbound-peeks.ts';
import { serverNameOf } from '../matrix/ids.ts';
import { isObject, type JsonObject } from '../matrix/json.ts';
import { compileServerAcl } from '../matrix/server-acl.ts';
import type { OutboundPeeks } from '../outbound-peeks/outbound-peeks.ts';
import type { Clock } from '../platform/clock.ts';
import type { Logger } from '../platform/log.ts';
import { pduOf } from '../rooms/log-entries.ts';
import type { LogEntry, RoomLog, Store } from '../store/store.ts';
import type { Peeking } from './peeking.ts';
import type { Previewing } from './previewing.ts';

const PAGE = 500;
/** Rooms whose place is remembered; of another only the newest event is looked at. */
const MOST_ROOMS = 20_000;
/** A room's members are not counted more often than this, however many leave. */
const COUNTED_AFTER_MS = 5_000;

export interface RoomChangesDeps {
  readonly store: Store;
  readonly outbound: OutboundPeeks;
  readonly inbound: InboundPeeks;
  readonly peeking: Pick<Peeking, 'end'>;
  readonly previewing: Pick<Previewing, 'joined'>;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly serverName: string;
}

/**
 * What events of a room mean for its peeks: an access control list that shuts a server out ends its peeks into our
 * room, or ours into another's; a ban ends those of the banned user, a join the user's previews; and a peeked server
 * whose last user has left relays nothing more, so that another one is asked.
 */
export class RoomChanges {
  readonly #deps: RoomChangesDeps;
  /** Room ID → the position up to which its log has been looked at. */
  readonly #seen = new LRUCache<string, number>({ max: MOST_ROOMS });
  /** Rooms being looked at; true: something has come meanwhile. */
  readonly #looking = new Map<string, boolean>();
  readonly #counting = new Set<string>();

  constructor(deps: RoomChangesDeps) {
    this.#deps = deps;
  }

  /** From here on, whatever the logs hold already. Returns the way to stop. */
  watch(): () => void {
    void this.#begin();
    return this.#deps.store.subscribe((notice) => {
      if (notice.kind === 'log') void this.#look(notice.roomId);
    });
  }

  async #begin(): Promise<void> {
    const logs = await this.#deps.store.logs.all().catch(() => []);
    for (const { roomId, head } of logs) if (!this.#seen.has(roomId)) this.#seen.set(roomId, head);
  }

  /** Never rejects: what a failure leaves unseen, a refused renewal shows. */
  async #look(roomId: string): Promise<void> {
    if (this.#looking.has(roomId)) return void this.#looking.set(roomId, true);
    do {
      this.#looking.set(roomId, false);
      try {
        await this.#readOn(roomId);
      } catch (error) {
        this.#deps.logger.warn(
          { room: roomId, reason: String(error) },
          'what has changed in a peeked room could not be looked at; its next event shows it, or the next renewal',
        );
      }
    } while (this.#looking.get(roomId) === true);
    this.#looking.delete(roomId);
  }

  async #readOn(roomId: string): Promise<void> {
    const { logs } = this.#deps.store;
    const log = await logs.get(roomId);
    if (log === null || log.closed !== null) return void this.#seen.delete(roomId);
    // What a log begins with was judged when it was opened.
    const seen = this.#seen.get(roomId) ?? Math.max(log.tail, log.head) - 1;
    for (let after = seen; after < log.head; ) {
      const page = await logs.read(roomId, after, PAGE);
      for (const entry of page) if (entry.applied) await this.#changed(log, entry);
      after = page.at(-1)?.position ?? log.head;
      this.#seen.set(roomId, after);
    }
  }

  async #changed(log: RoomLog, entry: LogEntry): Promise<void> {
    if (entry.type === 'm.room.server_acl' && entry.stateKey === '') {
      return this.#aclChanged(log, contentOf(entry));
    }
    if (entry.type !== 'm.room.member' || entry.stateKey === null) return;
    const { membership } = contentOf(entry);
    const server = serverNameOf(entry.stateKey);
    if (server === null) return;
    if (server === this.#deps.serverName && membership === 'join') {
      return this.#deps.previewing.joined(entry.stateKey, log.roomId);
    }
    if (membership === 'join') return;
    if (server === this.#deps.serverName) {
      if (membership === 'ban') await this.#banned(log.roomId, entry.stateKey, entry.position);
    } else if (log.feed === 'remote' && this.#deps.outbound.peeksThrough(log.roomId, server)) {
      this.#countLater(log.roomId, server);
    }
  }

  async #aclChanged({ roomId, feed }: RoomLog, content: JsonObject): Promise<void> {
    const { store, inbound, logger, serverName } = this.#deps;
    const admits = compileServerAcl(content);
    if (feed === 'resident') {
      const servers = new Set((await store.inboundPeeks.ofRoom(roomId)).map(({ server }) => server));
      for (const server of servers) if (!admits(server)) await inbound.shutOut(roomId, server);
      return;
    }
    if (admits(serverName)) return;
    logger.info(
      { room: roomId },
      'the access control list of a peeked room denies our server; its peeks end',
    );
    await store.logs.append(roomId, { entries: [], close: { reason: 'acl' } });
  }

  /** Their peeks end with the event that bans them: what was said after it is not for them. */
  async #banned(roomId: string, userId: string, position: number): Promise<void> {
    const { store, peeking } = this.#deps;
    for (const peek of await store.devicePeeks.ofRoom(roomId)) {
      if (peek.userId === userId) await peeking.end(peek, 'closed', position);
    }
  }

  #countLater(roomId: string, server: string): void {
    const name = `${roomId} ${server}`;
    if (this.#counting.has(name)) return;
    this.#counting.add(name);
    this.#deps.clock.after(COUNTED_AFTER_MS, () => {
      this.#counting.delete(name);
      void this.#leaveServer(roomId, server);
    });
  }

  async #leaveServer(roomId: string, server: string): Promise<void> {
    const { outbound, logger } = this.#deps;
    try {
      if (await this.#hasMember(roomId, server)) return;
      logger.info(
        { room: roomId, server },
        'the server peeked through has left the room; another one is asked',
      );
      await outbound.serverLeft(roomId, server);
    } catch (error) {
      logger.warn(
        { room: roomId, server, reason: String(error) },
        'a server that has left a peeked room could not be replaced; the next renewal does it',
      );
    }
  }

  async #hasMember(roomId: string, server: string): Promise<boolean> {
    for await (const slice of this.#deps.store.replicas.stateOfType(roomId, 'm.room.member')) {
      for (const event of slice) {
        if (serverNameOf(event.stateKey ?? '') !== server) continue;
        if (contentOf(event).membership === 'join') return true;
      }
      await setImmediate();
    }
    return false;
  }
}

function contentOf(event: { readonly json: string }): JsonObject {
  const { content } = pduOf(event);
  return isObject(content) ? content : {};
}
