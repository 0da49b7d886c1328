import { LRUCache } from 'lru-cache';
import { isRoomId, isServerName } from '../matrix/ids.ts';

const MOST_ROOMS = 20_000;
/** As many as are tried for one peek. */
const MOST_SERVERS = 10;

/**
 * Servers that were named beside a room in requests and answers that passed by: hints on whom to ask, tried after
 * those that a client names. Nobody vouches for them.
 */
export class LearnedServers {
  readonly #ownName: string;
  readonly #servers = new LRUCache<string, readonly string[]>({ max: MOST_ROOMS });
  readonly #listeners = new Set<(roomId: string) => void>();

  constructor(ownName: string) {
    this.#ownName = ownName;
  }

  /** Best first: the ones named last. */
  of(roomId: string): readonly string[] {
    return this.#servers.get(roomId) ?? [];
  }

  /** What is no room ID or no server name is passed over. */
  learn(roomId: unknown, servers: Iterable<unknown>): void {
    if (typeof roomId !== 'string' || !isRoomId(roomId)) return;
    const named: string[] = [];
    for (const server of servers) {
      if (named.length === MOST_SERVERS) break;
      if (typeof server === 'string' && server !== this.#ownName && isServerName(server)) named.push(server);
    }
    if (named.length === 0) return;
    const before = this.#servers.get(roomId) ?? [];
    const isNew = named.some((server) => !before.includes(server));
    this.#servers.set(roomId, [...new Set([...named, ...before])].slice(0, MOST_SERVERS));
    if (isNew) for (const tell of this.#listeners) tell(roomId);
  }

  /** Calls `listener` when a server is learned for a room that was not known for it. */
  onNew(listener: (roomId: string) => void): void {
    this.#listeners.add(listener);
  }
}
