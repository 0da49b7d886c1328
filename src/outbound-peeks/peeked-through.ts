import type { OutboundPeek, Store } from '../store/store.ts';

/** Through which servers we peek, kept in memory: asked for every transaction that passes. */
export class PeekedThrough {
  readonly #store: Store;
  /** Live peeks by room ID, the oldest first; no room without one. */
  readonly #live = new Map<string, readonly OutboundPeek[]>();
  /** How many live peeks go through a server. */
  readonly #servers = new Map<string, number>();
  /** Rooms being subscribed: the servers that have been asked so far. */
  readonly #asked = new Map<string, Set<string>>();

  constructor(store: Store) {
    this.#store = store;
  }

  /** Learns the live peeks from the store and keeps up with it. */
  async start(): Promise<void> {
    this.#store.subscribe((notice) => {
      if (notice.kind === 'outbound') void this.learn(notice.roomId).catch(() => undefined);
    });
    const rooms = Map.groupBy(await this.#store.outboundPeeks.all(), ({ roomId }) => roomId);
    for (const [roomId, peeks] of rooms) this.#note(roomId, peeks);
  }

  /** Reads a room's peeks again. Rejects with `StoreDownError`. */
  async learn(roomId: string): Promise<void> {
    this.#note(roomId, await this.#store.outboundPeeks.ofRoom(roomId));
  }

  #note(roomId: string, peeks: readonly OutboundPeek[]): void {
    for (const { server } of this.#live.get(roomId) ?? []) {
      const others = (this.#servers.get(server) ?? 0) - 1;
      if (others > 0) this.#servers.set(server, others);
      else this.#servers.delete(server);
    }
    const live = peeks.filter(({ phase }) => phase === 'live');
    for (const { server } of live) this.#servers.set(server, (this.#servers.get(server) ?? 0) + 1);
    if (live.length > 0) this.#live.set(roomId, live);
    else this.#live.delete(roomId);
  }

  asked(roomId: string, server: string): void {
    this.#asked.set(roomId, (this.#asked.get(roomId) ?? new Set()).add(server));
  }

  /** The room is no longer being subscribed. */
  settled(roomId: string): void {
    this.#asked.delete(roomId);
  }

  /** The live peek on the room through this server, as it was read last. */
  live(roomId: string, server: string): OutboundPeek | null {
    return this.#live.get(roomId)?.find((peek) => peek.server === server) ?? null;
  }

  /** The room's live peeks, the oldest first, as they were read last. */
  of(roomId: string): readonly OutboundPeek[] {
    return this.#live.get(roomId) ?? [];
  }

  /** Whether events of the room may come from this server. */
  peeks(roomId: string, server: string): boolean {
    return this.live(roomId, server) !== null || this.#asked.get(roomId)?.has(server) === true;
  }

  peeksAny(server: string): boolean {
    if (this.#servers.has(server)) return true;
    for (const servers of this.#asked.values()) if (servers.has(server)) return true;
    return false;
  }

  isPeeked(roomId: string): boolean {
    return this.#live.has(roomId) || this.#asked.has(roomId);
  }

  /** Rooms that are peeked into. */
  get count(): number {
    return this.#live.size;
  }

  /** The live peeks of every room. */
  rooms(): Iterable<readonly [roomId: string, peeks: readonly OutboundPeek[]]> {
    return this.#live;
  }
}
