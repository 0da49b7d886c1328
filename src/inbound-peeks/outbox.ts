import type { Cursor, Store } from '../store/store.ts';
import type { RelayChecks } from './relay-check.ts';
import { type Contents, type ExpiredPeek, MOST_EXPIRED, MOST_PDUS } from './transaction.ts';

interface Deps {
  readonly store: Pick<Store, 'inboundPeeks' | 'logs'>;
  readonly checks: RelayChecks;
}

/** What one peeking server has still to be sent: read from its cursors, with nothing kept in between. */
export class Outbox {
  readonly #server: string;
  readonly #deps: Deps;
  /** Rooms that may hold something, in the order in which they take their turn. */
  readonly #rooms = new Set<string>();
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
    const { inboundPeeks } = this.#deps.store;
    const all = this.#unknown;
    this.#unknown = false;
    try {
      const cursors = new Map((await inboundPeeks.cursorsOf(this.#server)).map((c) => [c.roomId, c]));
      if (all) for (const roomId of cursors.keys()) this.#rooms.add(roomId);
      const expired = (await inboundPeeks.toAnnounce(this.#server)).slice(0, MOST_EXPIRED);
      return await this.#fill(cursors, expired);
    } catch (error) {
      this.#unknown = true;
      throw error;
    }
  }

  async #fill(
    cursors: ReadonlyMap<string, Cursor>,
    expired: readonly ExpiredPeek[],
  ): Promise<Contents | null> {
    const entries: Contents['entries'][number][] = [];
    const reached = new Map<string, number>();
    const more: string[] = [];
    for (const roomId of [...this.#rooms]) {
      if (entries.length === MOST_PDUS) break;
      this.#rooms.delete(roomId);
      const cursor = cursors.get(roomId);
      if (cursor === undefined) continue;
      const part = await this.#read(cursor, MOST_PDUS - entries.length);
      for (const entry of part.entries) entries.push({ roomId, entry });
      if (part.reached > cursor.position) reached.set(roomId, part.reached);
      if (part.more) more.push(roomId);
    }
    for (const roomId of more) this.#rooms.add(roomId);
    return expired.length === 0 && reached.size === 0 ? null : { entries, expired, reached };
  }

  async #read(cursor: Cursor, limit: number) {
    const { logs } = this.#deps.store;
    const log = await logs.get(cursor.roomId);
    const end = Math.min(
      cursor.stopAt ?? Number.POSITIVE_INFINITY,
      log?.closed?.at ?? Number.POSITIVE_INFINITY,
    );
    const page = log === null ? [] : await logs.read(cursor.roomId, cursor.position, limit);
    const due = page.filter((entry) => entry.position <= end);
    const more = due.length === limit;
    const entries = due.length === 0 ? [] : await this.#deps.checks.relayed(this.#server, cursor.roomId, due);
    const last = due.at(-1)?.position ?? cursor.position;
    return { entries, more, reached: !more && cursor.stopAt !== null ? cursor.stopAt : last };
  }

  /**
   * What of these contents may still go out, before they are tried again: peeks may have ended since, and a
   * room may have shut the server out. Returns the very same object if nothing has changed.
   */
  async still(contents: Contents): Promise<Contents> {
    const { inboundPeeks } = this.#deps.store;
    const cursors = new Set((await inboundPeeks.cursorsOf(this.#server)).map((cursor) => cursor.roomId));
    const owed = new Set((await inboundPeeks.toAnnounce(this.#server)).map(nameOf));
    const expired = contents.expired.filter((peek) => owed.has(nameOf(peek)));
    const allowed = new Set<unknown>();
    for (const roomId of new Set(contents.entries.map((each) => each.roomId))) {
      if (!cursors.has(roomId)) continue;
      const entries = contents.entries.filter((each) => each.roomId === roomId).map((each) => each.entry);
      for (const entry of await this.#deps.checks.relayed(this.#server, roomId, entries)) allowed.add(entry);
    }
    const entries = contents.entries.filter((each) => allowed.has(each.entry));
    const same = entries.length === contents.entries.length && expired.length === contents.expired.length;
    return same ? contents : { entries, expired, reached: contents.reached };
  }
}

function nameOf(peek: ExpiredPeek): string {
  return JSON.stringify([peek.roomId, peek.peekId]);
}
