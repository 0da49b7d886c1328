import { LRUCache } from 'lru-cache';
import { canonicalJson } from '../matrix/canonical-json.ts';
import { JsonError } from '../matrix/json.ts';
import type { Logger } from '../platform/log.ts';
import { pduOf } from '../rooms/log-entries.ts';
import type { LogEntry, RoomLog, Store } from '../store/store.ts';
import { MOST_PDUS } from './transaction.ts';

/** A transaction's worth of a room's log, after some position. */
export interface RoomPage {
  /** null where the room has none (any more). */
  readonly log: RoomLog | null;
  readonly entries: readonly OutgoingEntry[];
}

export interface OutgoingEntry {
  readonly entry: LogEntry;
  /** The PDU as canonical JSON; null for one that cannot be written as that, which costs itself alone. */
  readonly json: string | null;
}

const ROOMS = 200;
/** Of JSON, in all. */
const MOST_BYTES = 32 * 1024 * 1024;
/** A notice of the store may be lost; what is new is seen after this time all the same. */
const KEPT_MS = 5_000;

/**
 * Logs as they are sent to servers, read and written as JSON once for all servers that stand at the same position,
 * as nearly all do. A room's pages are dropped when its log says that it has changed.
 */
export class RoomPages {
  readonly #store: Pick<Store, 'logs' | 'subscribe'>;
  readonly #logger: Logger;
  /** By room, by position. */
  readonly #rooms = new LRUCache<string, Map<number, Promise<RoomPage>>>({ max: ROOMS, ttl: KEPT_MS });
  #bytes = 0;
  #unsubscribe: (() => void) | null = null;

  constructor(store: Pick<Store, 'logs' | 'subscribe'>, logger: Logger) {
    this.#store = store;
    this.#logger = logger;
  }

  start(): void {
    this.#unsubscribe ??= this.#store.subscribe((notice) => {
      if (notice.kind === 'log') this.#rooms.delete(notice.roomId);
    });
  }

  stop(): void {
    this.#unsubscribe?.();
    this.#unsubscribe = null;
    this.#rooms.clear();
  }

  /** Rejects with `StoreDownError`. */
  read(roomId: string, after: number): Promise<RoomPage> {
    if (this.#unsubscribe === null) return this.#read(roomId, after);
    let pages = this.#rooms.get(roomId);
    if (pages === undefined) {
      pages = new Map();
      this.#rooms.set(roomId, pages);
    }
    const known = pages.get(after);
    if (known !== undefined) return known;
    const page = this.#read(roomId, after);
    pages.set(after, page);
    page.then(
      (read) => this.#weigh(read),
      () => pages.delete(after),
    );
    return page;
  }

  async #read(roomId: string, after: number): Promise<RoomPage> {
    const { logs } = this.#store;
    const log = await logs.get(roomId);
    if (log === null) return { log, entries: [] };
    const entries = await logs.read(roomId, after, MOST_PDUS);
    return { log, entries: entries.map((entry) => ({ entry, json: this.#written(roomId, entry) })) };
  }

  #written(roomId: string, entry: LogEntry): string | null {
    try {
      return canonicalJson(pduOf(entry), { allowFloats: true });
    } catch (error) {
      if (!(error instanceof JsonError)) throw error;
      const fields = { room: roomId, event: entry.eventId, reason: error.message };
      this.#logger.warn(fields, 'an event is not sent to peeking servers: it is not JSON that can be signed');
      return null;
    }
  }

  #weigh({ entries }: RoomPage): void {
    for (const { json } of entries) this.#bytes += json?.length ?? 0;
    if (this.#bytes <= MOST_BYTES) return;
    this.#rooms.clear();
    this.#bytes = 0;
  }
}
