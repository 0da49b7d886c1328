import { LRUCache } from 'lru-cache';
import { isRoomId, isServerName } from '../matrix/ids.ts';

const MOST_ROOMS = 20_000;
/** As many as are tried for one peek. */
const MOST_SERVERS = 10;
/** Of one server; any of them keeps it in its place. */
const MOST_SOURCES = 10;
/** Of one source, so that none displaces what the others said. */
const MOST_OF_SOURCE = 3;

/**
 * What speaks for a server's having a room, the best first: `answered`: it has let us peek; `listed`: a directory names
 * it, or a request that named it alone has succeeded; `named`: by a user or a space; `failed`: in a request that was
 * refused.
 */
export type Evidence = 'answered' | 'listed' | 'named' | 'failed';

const RANKS: readonly Evidence[] = ['answered', 'listed', 'named', 'failed'];

interface Learned {
  readonly server: string;
  readonly rank: number;
  /** Who has named it, on this evidence; the newest first. */
  readonly sources: readonly string[];
}

/**
 * Servers that were named beside a room in requests and answers that passed by: hints on whom to ask, tried after
 * those that a client names. Nobody vouches for them.
 */
export class LearnedServers {
  readonly #ownName: string;
  readonly #servers = new LRUCache<string, readonly Learned[]>({ max: MOST_ROOMS });
  readonly #listeners = new Set<(roomId: string) => void>();

  constructor(ownName: string) {
    this.#ownName = ownName;
  }

  /** Those with the best evidence first, and of these the ones named last. */
  of(roomId: string): readonly string[] {
    return (this.#servers.get(roomId) ?? []).map(({ server }) => server);
  }

  /**
   * What is no room ID or no server name is passed over, and so are all but the first three of `servers`; with those
   * that the same `source` has named before, three are kept: the best, and of these the newest.
   */
  learn(roomId: unknown, servers: Iterable<unknown>, evidence: Evidence, source: string): void {
    if (typeof roomId !== 'string' || !isRoomId(roomId)) return;
    const named = new Set<string>();
    for (const server of servers) {
      if (named.size === MOST_OF_SOURCE) break;
      if (typeof server === 'string' && server !== this.#ownName && isServerName(server)) named.add(server);
    }
    if (named.size === 0) return;
    const before = this.#servers.get(roomId) ?? [];
    const rank = RANKS.indexOf(evidence);
    const known = new Map(before.map((learned) => [learned.server, learned]));
    const isBetter = (server: string) => rank < (known.get(server)?.rank ?? Number.POSITIVE_INFINITY);
    // What is known on better evidence stays as it is: naming it again takes nobody's place.
    const fresh = [...named]
      .filter((server) => isBetter(server) || known.get(server)?.rank === rank)
      .map((server) => {
        const others = isBetter(server) ? [] : (known.get(server)?.sources ?? []);
        return { server, rank, sources: [...new Set([source, ...others])].slice(0, MOST_SOURCES) };
      });
    const replaced = new Set(fresh.map(({ server }) => server));
    const all = [...fresh, ...before.filter(({ server }) => !replaced.has(server))];
    const kept = withinPlaces(all);
    this.#servers.set(roomId, kept);
    const isNew = kept.some(({ server }) => !known.has(server));
    if (isNew) for (const tell of this.#listeners) tell(roomId);
  }

  /** Calls `listener` when a server is learned for a room that was not known for it. */
  onNew(listener: (roomId: string) => void): void {
    this.#listeners.add(listener);
  }
}

/** Three of each source, ten in all; `learned` has the newest first. Nobody's second goes before another's first. */
function withinPlaces(learned: readonly Learned[]): Learned[] {
  const bySource = new Map<string, number>();
  const best = learned.toSorted((a, b) => a.rank - b.rank);
  const numbered = best.map((one) => {
    const places = one.sources.map((source) => bySource.get(source) ?? 0);
    one.sources.forEach((source, i) => {
      bySource.set(source, (places[i] ?? 0) + 1);
    });
    return { one, place: Math.min(...places) };
  });
  return numbered
    .filter(({ place }) => place < MOST_OF_SOURCE)
    .toSorted((a, b) => a.one.rank - b.one.rank || a.place - b.place)
    .slice(0, MOST_SERVERS)
    .map(({ one }) => one);
}
