import type { OutboundPeek, Store } from '../store/store.ts';

/** Through which servers we peek, kept in memory: asked for every transaction that passes. */
export class PeekedThrough {
  readonly #store: Store;
  /** Live peeks: room ID → the server peeked through. */
  readonly #live = new Map<string, string>();
  /** Rooms being subscribed: the servers that have been asked so far. */
  readonly #asked = new Map<string, Set<string>>();

  constructor(store: Store) {
    this.#store = store;
  }

  /** Learns the live peeks from the store and keeps up with it. */
  async start(): Promise<void> {
    this.#store.subscribe((notice) => {
      if (notice.kind === 'outbound') void this.#learn(notice.roomId).catch(() => undefined);
    });
    for (const peek of await this.#store.outboundPeeks.all()) this.note(peek.roomId, peek);
  }

  async #learn(roomId: string): Promise<void> {
    this.note(roomId, await this.#store.outboundPeeks.get(roomId));
  }

  note(roomId: string, peek: OutboundPeek | null): void {
    if (peek?.phase === 'live') this.#live.set(roomId, peek.server);
    else this.#live.delete(roomId);
  }

  asked(roomId: string, server: string): void {
    this.#asked.set(roomId, (this.#asked.get(roomId) ?? new Set()).add(server));
  }

  /** The room is no longer being subscribed. */
  settled(roomId: string): void {
    this.#asked.delete(roomId);
  }

  isLive(roomId: string, server: string): boolean {
    return this.#live.get(roomId) === server;
  }

  /** Whether events of the room may come from this server. */
  peeks(roomId: string, server: string): boolean {
    return this.isLive(roomId, server) || this.#asked.get(roomId)?.has(server) === true;
  }

  peeksAny(server: string): boolean {
    for (const current of this.#live.values()) if (current === server) return true;
    for (const servers of this.#asked.values()) if (servers.has(server)) return true;
    return false;
  }

  isPeeked(roomId: string): boolean {
    return this.#live.has(roomId) || this.#asked.has(roomId);
  }

  get count(): number {
    return this.#live.size;
  }
}
