import { LRUCache } from 'lru-cache';
import type { Homeserver } from '../homeserver/homeserver.ts';
import { serverNameOf } from '../matrix/ids.ts';
import type { JsonObject } from '../matrix/json.ts';
import { pduOf } from '../rooms/log-entries.ts';
import type { LogEntry, RoomLog, RoomLogStore } from '../store/store.ts';
import { type Acl, aclOf } from './acl.ts';
import { loggedState } from './logged-state.ts';
import { covers, isJoin, isJoined, isLeave, type Presence, Presences, STILL } from './presences.ts';

/** Rooms whose access control list and members are held in memory. */
const ROOMS = 500;
const PAGE = 500;
/** Access control lists remembered of one room; of older events the oldest remembered one decides. */
const MOST_ACLS = 200;

interface Deps {
  readonly logs: RoomLogStore;
  readonly homeserver: Homeserver;
}

/** Which entries of a room's log are relayed to which server; the homeserver is asked for its state once. */
export class RelayChecks {
  readonly #deps: Deps;
  readonly #rooms = new LRUCache<string, RoomRelayCheck>({ max: ROOMS });

  constructor(deps: Deps) {
    this.#deps = deps;
  }

  /** Those of `entries` that go to `server`, as of `log`. Rejects with `HomeserverDown` and `StoreDownError`. */
  relayed(
    server: string,
    { roomId, head }: Pick<RoomLog, 'roomId' | 'head'>,
    entries: readonly LogEntry[],
  ): Promise<LogEntry[]> {
    let room = this.#rooms.get(roomId);
    if (room === undefined) {
      room = new RoomRelayCheck(roomId, this.#deps);
      this.#rooms.set(roomId, room);
    }
    return room.relayed(server, head, entries);
  }

  /** The room is asked about anew at the next event. */
  forget(roomId: string): void {
    this.#rooms.delete(roomId);
  }
}

interface Known {
  /** Lists in the order of the log, each in force after its position. The first one begins at 0. */
  readonly acls: { readonly after: number; readonly acl: Acl }[];
  /** Servers with joined members: where the homeserver sends to them itself. */
  readonly present: Map<string, Presence>;
  /** Servers that a member has left since this was read, and where: whether others remain must be asked. */
  readonly doubtful: Map<string, number>;
  scannedTo: number;
}

/**
 * One room. A server is sent what it was and is allowed to see by the access control list, and nothing from
 * the moment on when it has a member of its own, since then the homeserver sends to it.
 */
class RoomRelayCheck {
  readonly #roomId: string;
  readonly #deps: Deps;
  #known: Promise<Known> | null = null;
  /** Where the log ends, as far as `known` covers or will cover it. */
  #readTo = 0;

  constructor(roomId: string, deps: Deps) {
    this.#roomId = roomId;
    this.#deps = deps;
  }

  async relayed(server: string, head: number, entries: readonly LogEntry[]): Promise<LogEntry[]> {
    const known = await this.#current(server, head);
    const now = known.acls.at(-1);
    if (now !== undefined && !now.acl(server)) return [];
    const present = known.present.get(server);
    return entries.filter(({ position }) => !covers(present, position) && aclBefore(known, position)(server));
  }

  async #current(server: string, head: number): Promise<Known> {
    const known = await this.#advance(head);
    const left = known.doubtful.get(server);
    if (left === undefined) return known;
    if (this.#known !== null && (await this.#known) === known) this.#known = null;
    const fresh = await this.#advance(head);
    const before = known.present.get(server);
    // Nobody remains: what lay between join and leave has been sent by the homeserver all the same.
    if (before !== undefined && !fresh.present.has(server)) {
      fresh.present.set(server, { after: before.after, until: left });
    }
    return fresh;
  }

  /** Knows the log up to `head` at least. One caller at a time reads on; the others wait for the same. */
  #advance(head: number): Promise<Known> {
    const before = this.#known;
    if (before !== null && this.#readTo >= head) return before;
    this.#readTo = Math.max(this.#readTo, head);
    const next = (before === null ? this.#read() : before.then((known) => this.#scan(known))).catch(
      (error: unknown) => {
        if (this.#known === next) this.#known = null;
        throw error;
      },
    );
    this.#known = next;
    return next;
  }

  async #read(): Promise<Known> {
    // State first, then the log: what the log has got meanwhile is seen there, and the log decides.
    const state = await this.#loggedState();
    const known: Known = {
      acls: [],
      present: new Map(),
      doubtful: new Map(),
      scannedTo: 0,
    };
    const presences = new Presences();
    let oldestAcl: LogEntry | null = null;
    await this.#each(0, (entry) => {
      known.scannedTo = entry.position;
      if (!entry.applied) return;
      presences.take(entry);
      if (!isAcl(entry)) return;
      oldestAcl ??= entry;
      addAcl(known, entry);
    });
    known.acls.unshift({ after: 0, acl: await this.#firstAcl(oldestAcl, state.acl) });
    for (const [server, presence] of presences.of(state.joined)) known.present.set(server, presence);
    return known;
  }

  async #scan(known: Known): Promise<Known> {
    await this.#each(known.scannedTo, (entry) => {
      if (entry.applied) ingest(known, entry);
      known.scannedTo = entry.position;
    });
    return known;
  }

  /** The list in force where the log begins. */
  async #firstAcl(oldest: LogEntry | null, last: Acl): Promise<Acl> {
    if (oldest === null) return last;
    if (oldest.replaces === null) return aclOf(null);
    return aclOf(await this.#deps.homeserver.event(oldest.replaces));
  }

  async #loggedState(): Promise<{ acl: Acl; joined: string[] }> {
    let acl: JsonObject | null = null;
    const joined: string[] = [];
    for (const event of await loggedState(this.#deps, this.#roomId)) {
      if (event.type === 'm.room.server_acl' && event.state_key === '') acl = event;
      if (event.type === 'm.room.member' && typeof event.state_key === 'string' && isJoined(event)) {
        joined.push(event.state_key);
      }
    }
    return { acl: aclOf(acl), joined };
  }

  async #each(after: number, visit: (entry: LogEntry) => void): Promise<void> {
    for (let at = after; ; ) {
      const page = await this.#deps.logs.read(this.#roomId, at, PAGE);
      for (const entry of page) visit(entry);
      const last = page.at(-1);
      if (last === undefined || page.length < PAGE) return;
      at = last.position;
    }
  }
}

function addAcl(known: Known, entry: LogEntry): void {
  known.acls.push({ after: entry.position, acl: aclOf(pduOf(entry)) });
  if (known.acls.length > MOST_ACLS) known.acls.shift();
}

function ingest(known: Known, entry: LogEntry): void {
  if (isAcl(entry)) addAcl(known, entry);
  if (entry.type !== 'm.room.member' || entry.stateKey === null) return;
  const server = serverNameOf(entry.stateKey);
  if (server === null) return;
  const isPresent = known.present.get(server)?.until === STILL;
  if (isPresent) {
    // The first one: what comes later may be the end of an invite only, and what lies between was not sent.
    if (isLeave(entry) && !known.doubtful.has(server)) known.doubtful.set(server, entry.position);
  } else if (isJoin(entry)) {
    known.present.set(server, { after: entry.position - 1, until: STILL });
  }
}

/** The list in force before the event at `position`. */
function aclBefore(known: Known, position: number): Acl {
  let found = known.acls[0]?.acl ?? aclOf(null);
  for (const { after, acl } of known.acls) {
    if (after >= position) break;
    found = acl;
  }
  return found;
}

function isAcl(entry: LogEntry): boolean {
  return entry.type === 'm.room.server_acl' && entry.stateKey === '';
}
