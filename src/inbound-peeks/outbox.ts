import type { Cursor, Store } from '../store/store.ts';
import type { RelayChecks } from './relay-check.ts';
import type { RoomPages } from './room-pages.ts';
import {
  type Contents,
  type ExpiredPeek,
  MOST_EXPIRED,
  MOST_PDU_BYTES,
  MOST_PDUS,
  type OutgoingPdu,
} from './transaction.ts';

interface Deps {
  readonly store: Pick<Store, 'inboundPeeks' | 'logs'>;
  readonly pages: RoomPages;
  readonly checks: RelayChecks;
}

/** What one peeking server has still to be sent: read from its cursors, with nothing kept in between. */
export class Outbox {
  readonly #server: string;
  readonly #deps: Deps;
  /** Rooms that may hold something, in the order in which they take their turn. */
  readonly #rooms = new Set<string>();
  /** Any room may, and there may be peeks to be announced. */
  #unknown = false;

  constructor(server: string, deps: Deps) {
    this.#server = server;
    this.#deps = deps;
  }

  /** A room has grown. */
  add(roomId: string): void {
    this.#rooms.add(roomId);
  }

  /** Any of the server's rooms may hold something. */
  addAll(): void {
    this.#unknown = true;
  }

  /** The next contents; null when all has been sent. Empty ones only move cursors. */
  async next(): Promise<Contents | null> {
    const all = this.#unknown;
    this.#unknown = false;
    try {
      return await this.#fill(all ? await this.#everything() : []);
    } catch (error) {
      this.#unknown = true;
      throw error;
    }
  }

  /** Looks at all rooms and returns what is to be announced. */
  async #everything(): Promise<ExpiredPeek[]> {
    const { inboundPeeks } = this.#deps.store;
    for (const { roomId } of await inboundPeeks.cursorsOf(this.#server)) this.#rooms.add(roomId);
    const expired = await inboundPeeks.toAnnounce(this.#server);
    if (expired.length > MOST_EXPIRED) this.#unknown = true;
    return expired.slice(0, MOST_EXPIRED);
  }

  async #fill(expired: readonly ExpiredPeek[]): Promise<Contents | null> {
    const pdus: OutgoingPdu[] = [];
    const room = { pdus: MOST_PDUS, bytes: MOST_PDU_BYTES };
    const reached = new Map<string, number>();
    const more: string[] = [];
    for (const roomId of [...this.#rooms]) {
      if (room.pdus === 0 || room.bytes <= 0) break;
      this.#rooms.delete(roomId);
      const cursor = await this.#deps.store.inboundPeeks.cursor(this.#server, roomId);
      if (cursor === null) continue;
      const part = await this.#read(cursor, room, pdus.length === 0);
      pdus.push(...part.pdus);
      for (const { json } of part.pdus) {
        room.pdus -= 1;
        room.bytes -= json.length;
      }
      if (part.reached > cursor.position) reached.set(roomId, part.reached);
      if (part.more) more.push(roomId);
    }
    for (const roomId of more) this.#rooms.add(roomId);
    return expired.length === 0 && reached.size === 0 ? null : { pdus, expired, reached };
  }

  /** `first`: one event goes in however long it is. */
  async #read(cursor: Cursor, room: { pdus: number; bytes: number }, first: boolean) {
    const { roomId, stopAt } = cursor;
    const { log, entries } = await this.#deps.pages.read(roomId, cursor.position);
    const end = Math.min(stopAt ?? Number.POSITIVE_INFINITY, log?.closed?.at ?? Number.POSITIVE_INFINITY);
    const due: (OutgoingPdu | { readonly entry: OutgoingPdu['entry']; readonly json: null })[] = [];
    let bytes = 0;
    for (const { entry, json } of entries) {
      bytes += json?.length ?? 0;
      const fits = due.length < room.pdus && (bytes <= room.bytes || (first && due.length === 0));
      if (entry.position > end || !fits) break;
      due.push(json === null ? { entry, json } : { roomId, entry, json });
    }
    const last = due.at(-1)?.entry.position ?? cursor.position;
    // Where the page was not read to its end, or was full, there is more.
    const rest = entries[due.length]?.entry.position ?? (entries.length === MOST_PDUS ? last : null);
    const more = rest !== null && rest <= end;
    const allowed = new Set(
      due.length === 0 || log === null
        ? []
        : await this.#deps.checks.relayed(
            this.#server,
            log,
            due.map(({ entry }) => entry),
          ),
    );
    const pdus = due.filter((each): each is OutgoingPdu => each.json !== null && allowed.has(each.entry));
    return { pdus, more, reached: !more && stopAt !== null ? stopAt : last };
  }

  /**
   * What of these contents may still go out, before they are tried again: peeks may have ended since, and a
   * room may have shut the server out. Returns the very same object if nothing has changed.
   */
  async still(contents: Contents): Promise<Contents> {
    const { inboundPeeks, logs } = this.#deps.store;
    const cursors = new Set((await inboundPeeks.cursorsOf(this.#server)).map((cursor) => cursor.roomId));
    const owed = new Set((await inboundPeeks.toAnnounce(this.#server)).map(nameOf));
    const expired = contents.expired.filter((peek) => owed.has(nameOf(peek)));
    const allowed = new Set<unknown>();
    for (const roomId of new Set(contents.pdus.map((each) => each.roomId))) {
      const log = cursors.has(roomId) ? await logs.get(roomId) : null;
      if (log === null) continue;
      const entries = contents.pdus.filter((each) => each.roomId === roomId).map((each) => each.entry);
      for (const entry of await this.#deps.checks.relayed(this.#server, log, entries)) allowed.add(entry);
    }
    const pdus = contents.pdus.filter((each) => allowed.has(each.entry));
    const same = pdus.length === contents.pdus.length && expired.length === contents.expired.length;
    return same ? contents : { pdus, expired, reached: contents.reached };
  }
}

function nameOf(peek: ExpiredPeek): string {
  return JSON.stringify([peek.roomId, peek.peekId]);
}
