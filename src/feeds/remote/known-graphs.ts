import { LRUCache } from 'lru-cache';
import type { RoomVersionRules } from '../../matrix/room-versions.ts';
import type { LogEntry, RoomLog, Store } from '../../store/store.ts';
import { RoomGraph } from './room-graph.ts';

const MOST_ROOMS = 500;
/** A graph that has grown to this is read anew. */
const MOST_EVENTS = 500;

interface Known {
  readonly graph: RoomGraph;
  readonly openedAt: number;
  /** The log's head up to which it is known. */
  readonly head: number;
}

/** The graphs of the rooms that were written to last, as long as nobody else writes to their logs. */
export class KnownGraphs {
  readonly #known = new LRUCache<string, Known>({ max: MOST_ROOMS });

  /** To be added to; it is forgotten here until `keep`, so that what is not stored is not believed. */
  async take(store: Store, log: RoomLog, rules: RoomVersionRules): Promise<RoomGraph> {
    const known = this.#known.get(log.roomId);
    this.#known.delete(log.roomId);
    const isCurrent = known?.head === log.head && known.openedAt === log.openedAt;
    if (known !== undefined && isCurrent && known.graph.size < MOST_EVENTS) return known.graph;
    return RoomGraph.of(store, log, rules);
  }

  /** All that was added to the graph has been appended. Kept if that was done right behind the log as it was given. */
  keep(log: RoomLog, graph: RoomGraph, appended: readonly LogEntry[]): void {
    const head = appended.at(-1)?.position;
    if (head === undefined || appended[0]?.position !== log.head + 1) return;
    this.#known.set(log.roomId, { graph, openedAt: log.openedAt, head });
  }
}
