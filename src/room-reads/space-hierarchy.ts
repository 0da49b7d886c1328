import { LRUCache } from 'lru-cache';
import { RateLimiterMemory, RateLimiterRes } from 'rate-limiter-flexible';
import { type Caller, type Homeserver, HomeserverRefusal } from '../homeserver/homeserver.ts';
import { isRoomId, isServerName } from '../matrix/ids.ts';
import { isObject, type Json, type JsonObject } from '../matrix/json.ts';
import { parseJson } from '../matrix/json-scan.ts';
import type { Clock } from '../platform/clock.ts';
import { Gate } from '../platform/gate.ts';
import { limitExceeded, MatrixError } from '../platform/matrix-error.ts';
import type { ReplicaSummaries } from './replica-summaries.ts';
import type { RoomRead } from './room-read.ts';

export interface SpaceHierarchyDeps {
  readonly summaries: ReplicaSummaries;
  readonly homeserver: Pick<Homeserver, 'readAs'>;
  readonly clock: Clock;
}

/** Rooms in one answer, as Synapse has it. */
const MOST_ROOMS = 50;
/** Rooms of a hierarchy that are gone through, those of earlier answers included. */
const MOST_VISITED = 1_000;
/** Questions to the homeserver under way, of all and of one user. */
const ASKED_AT_ONCE = 32;
const ASKED_FOR_ONE = 8;
/** As Synapse has it: an answer may cost it fifty questions to other servers. */
const WALKS = { points: 10, duration: 2 };
const TOO_FAST = 429;
/** After this, what the homeserver has not told of a child yet is left out. */
const PATIENCE_MS = 2_000;
const MOST_BYTES = 1024 * 1024;
/** So that the next answer need not ask again for what stood in the earlier ones. */
const KEPT_MS = 60_000;
const MOST_KEPT = 5_000;
/** … characters in all, as JSON: an entry may have a megabyte, by the word of another server. */
const MOST_KEPT_CHARS = 16 * 1024 * 1024;
/** Servers that one link of a space may send the homeserver to. */
const MOST_VIA = 5;
const TOKEN = /^PEEK-H-([1-9][0-9]{0,3})$/;

interface Place {
  readonly roomId: string;
  readonly via: readonly string[];
  readonly depth: number;
}

interface Walk {
  readonly read: RoomRead;
  readonly suggestedOnly: boolean;
  readonly asking: Map<string, Promise<JsonObject | null>>;
  /** Resolves when nothing more is waited for. */
  readonly over: Promise<null>;
}

/**
 * `/hierarchy` of a space that is peeked through another server, of which the homeserver knows nothing: the space from
 * its replica, each child from its replica too where it is peeked here, else as the homeserver sums it up for this user.
 * What it will not, or not in time, is left out. The spaces below that are not peeked show their children where the
 * homeserver is in them.
 */
export class SpaceHierarchy {
  readonly #deps: SpaceHierarchyDeps;
  readonly #kept = new LRUCache<string, { entry: JsonObject | null; until: number }>({
    max: MOST_KEPT,
    maxSize: MOST_KEPT_CHARS,
    sizeCalculation: ({ entry }) => JSON.stringify(entry).length,
  });
  readonly #gate = new Gate(ASKED_AT_ONCE, Number.POSITIVE_INFINITY, { running: ASKED_FOR_ONE });
  readonly #walks = new RateLimiterMemory(WALKS);

  constructor(deps: SpaceHierarchyDeps) {
    this.#deps = deps;
  }

  readonly hierarchy = async (read: RoomRead): Promise<Json> => {
    if (read.path.length > 1) throw new MatrixError(404, 'M_UNRECOGNIZED', 'There is no such endpoint');
    const from = read.query.get('from');
    const skip = from === null ? 0 : Number(TOKEN.exec(from)?.[1] ?? Number.NaN);
    if (skip === 0 || Number.isNaN(skip)) {
      const own = await this.#homeservers(read);
      if (own.status === 200) return parseJson(own.body);
      if (skip !== 0 || own.status === TOO_FAST) throw new HomeserverRefusal(own.status, own.body);
    }
    await this.#spend(read.who.userId);
    const maxDepth = whole(read.query, 'max_depth', 0) ?? Number.POSITIVE_INFINITY;
    const limit = Math.min(whole(read.query, 'limit', 1) ?? MOST_ROOMS, MOST_ROOMS);
    const done = new AbortController();
    try {
      const walk: Walk = {
        read,
        suggestedOnly: read.query.get('suggested_only') === 'true',
        asking: new Map(),
        over: this.#deps.clock.sleep(PATIENCE_MS, done.signal).then(() => null),
      };
      return await this.#page(walk, { skip, limit, maxDepth });
    } finally {
      done.abort();
    }
  };

  async #page(
    walk: Walk,
    { skip, limit, maxDepth }: { skip: number; limit: number; maxDepth: number },
  ): Promise<JsonObject> {
    const stack: Place[] = [{ roomId: walk.read.roomId, via: [], depth: 0 }];
    const seen = new Set<string>();
    const rooms: JsonObject[] = [];
    let visited = 0;
    while (rooms.length < limit && visited < MOST_VISITED) {
      const place = stack.pop();
      if (place === undefined) break;
      if (seen.has(place.roomId)) continue;
      seen.add(place.roomId);
      visited++;
      const entry = await Promise.race([this.#entry(walk, place), walk.over]);
      if (entry === null && place.depth === 0)
        throw new Error('the space itself could not be summed up in time');
      if (entry === null) continue;
      if (visited > skip) rooms.push(entry);
      if (place.depth >= maxDepth) continue;
      const children = placesIn(entry, place.depth + 1).filter(({ roomId }) => !seen.has(roomId));
      // Asked for side by side, taken up in their order.
      for (const child of children.slice(0, limit)) void this.#entry(walk, child);
      stack.push(...children.reverse());
    }
    const more = stack.some(({ roomId }) => !seen.has(roomId)) && visited < MOST_VISITED;
    return more ? { rooms, next_batch: `PEEK-H-${visited}` } : { rooms };
  }

  /** A room with its `children_state`; null for one that cannot be told of. Never rejects. */
  #entry(walk: Walk, place: Place): Promise<JsonObject | null> {
    const asked = walk.asking.get(place.roomId);
    if (asked !== undefined) return asked;
    const { signal, who } = walk.read;
    const work = async () => (await this.#ofReplica(place)) ?? (await this.#ofHomeserver(walk, place));
    const asking = this.#gate
      .run(work, signal, who.userId)
      .then((entry) => entry && withSuggested(entry, walk.suggestedOnly))
      .catch(() => null);
    walk.asking.set(place.roomId, asking);
    return asking;
  }

  async #ofReplica({ roomId }: Place): Promise<JsonObject | null> {
    const { summaries } = this.#deps;
    const summary = await summaries.of(roomId);
    if (summary === null) return null;
    const children = summary.room_type === 'm.space' ? await summaries.childrenOf(roomId) : [];
    return { ...summary, children_state: children };
  }

  async #ofHomeserver({ read }: Walk, { roomId, via }: Place): Promise<JsonObject | null> {
    const { clock } = this.#deps;
    const key = JSON.stringify([read.who.userId, roomId]);
    const kept = this.#kept.get(key);
    if (kept !== undefined && clock.now() < kept.until) return kept.entry;
    const entry = await this.#asked(read.who.caller, roomId, via);
    this.#kept.set(key, { entry, until: clock.now() + KEPT_MS });
    return entry;
  }

  async #asked(caller: Caller, roomId: string, via: readonly string[]): Promise<JsonObject | null> {
    const room = encodeURIComponent(roomId);
    const servers = via.map((server) => `via=${encodeURIComponent(server)}`).join('&');
    const summary = await this.#json(caller, `/v1/room_summary/${room}?${servers}`);
    if (summary?.room_id !== roomId) return null;
    const { membership: _, ...rest } = summary;
    const entry: JsonObject = { ...rest, children_state: [] };
    if (summary.room_type === 'm.space') {
      const own = await this.#json(caller, `/v1/rooms/${room}/hierarchy?max_depth=0&limit=1`);
      const [top] = Array.isArray(own?.rooms) ? own.rooms : [];
      if (isObject(top) && Array.isArray(top.children_state)) entry.children_state = top.children_state;
    }
    return entry;
  }

  async #spend(userId: string): Promise<void> {
    try {
      await this.#walks.consume(userId);
    } catch (error) {
      if (!(error instanceof RateLimiterRes)) throw error;
      throw limitExceeded('Too many hierarchies were asked for', Math.max(1, error.msBeforeNext));
    }
  }

  async #json(caller: Caller, path: string): Promise<JsonObject | null> {
    const limits = { timeoutMs: PATIENCE_MS, maxBytes: MOST_BYTES };
    const { status, body } = await this.#deps.homeserver.readAs(caller, `/_matrix/client${path}`, limits);
    if (status !== 200) return null;
    const json = parseJson(body);
    return isObject(json) ? json : null;
  }

  /** The homeserver's own answer, which goes before ours where it is a 200. */
  #homeservers({ who, roomId, query }: RoomRead): Promise<{ status: number; body: Buffer }> {
    const path = `/_matrix/client/v1/rooms/${encodeURIComponent(roomId)}/hierarchy?${query}`;
    return this.#deps.homeserver.readAs(who.caller, path, { timeoutMs: 60_000, maxBytes: 16 * MOST_BYTES });
  }
}

function withSuggested(entry: JsonObject, suggestedOnly: boolean): JsonObject {
  if (!suggestedOnly || !Array.isArray(entry.children_state)) return entry;
  const suggested = entry.children_state.filter(
    (child) => isObject(child) && isObject(child.content) && child.content.suggested === true,
  );
  return { ...entry, children_state: suggested };
}

function placesIn({ children_state: children }: JsonObject, depth: number): Place[] {
  if (!Array.isArray(children)) return [];
  return children.flatMap((child) => {
    if (!isObject(child) || typeof child.state_key !== 'string' || !isRoomId(child.state_key)) return [];
    const named = isObject(child.content) && Array.isArray(child.content.via) ? child.content.via : [];
    const via = named.filter((server) => typeof server === 'string' && isServerName(server)) as string[];
    return [{ roomId: child.state_key, via: via.slice(0, MOST_VIA), depth }];
  });
}

/** A parameter that is a whole number of at least `least`; null where it is not given. */
function whole(query: URLSearchParams, name: string, least: number): number | null {
  const given = query.get(name);
  if (given === null) return null;
  const value = /^[0-9]{1,9}$/.test(given) ? Number(given) : -1;
  if (value >= least) return value;
  throw new MatrixError(400, 'M_INVALID_PARAM', `${name} is no whole number from ${least} on`);
}
