import { serverNameOf } from '../matrix/ids.ts';
import { isObject, type Json, type JsonObject } from '../matrix/json.ts';
import { pduOf } from '../rooms/log-entries.ts';
import type { LogEntry } from '../store/store.ts';

/**
 * The last time that a server was in the room: the homeserver has sent it, or was sent by it, what lies after
 * `after` and up to `until`. A server's first join comes from that server; its last leave goes to those who were in
 * the room before it.
 */
export interface Presence {
  readonly after: number;
  /** The position of the last leave, or `STILL`. */
  readonly until: number;
}

export const STILL = Number.POSITIVE_INFINITY;

export function covers(presence: Presence | undefined, position: number): boolean {
  return presence !== undefined && position > presence.after && position <= presence.until;
}

interface Change {
  readonly position: number;
  readonly user: string;
  readonly joins: boolean;
}

/** Which servers are in a room, or were, made of its log and of the state at the log's end. */
export class Presences {
  readonly #changes = new Map<string, Change[]>();
  /** Whose membership the log knows. */
  readonly #changed = new Set<string>();

  /** Takes the entries of the log, in order; all but memberships are passed over. */
  take(entry: LogEntry): void {
    if (entry.type !== 'm.room.member' || entry.stateKey === null) return;
    const server = serverNameOf(entry.stateKey);
    if (server === null) return;
    const changes = this.#changes.get(server) ?? [];
    changes.push({ position: entry.position, user: entry.stateKey, joins: isJoin(entry) });
    this.#changes.set(server, changes);
    this.#changed.add(entry.stateKey);
  }

  /** By server. `joined`: the users who are joined by the state that the log ends with; never by a newer one. */
  of(joined: readonly string[]): Map<string, Presence> {
    const presences = new Map<string, Presence>();
    for (const [server, changes] of this.#changes) {
      const last = lastOf(changes);
      if (last !== null) presences.set(server, last);
    }
    for (const user of joined) {
      const server = this.#changed.has(user) ? null : serverNameOf(user);
      if (server !== null) presences.set(server, { after: 0, until: STILL });
    }
    return presences;
  }
}

/** Of one server. Who leaves without having joined in the log may have been invited only, and counts for nothing. */
function lastOf(changes: readonly Change[]): Presence | null {
  const users = new Set<string>();
  let last: Presence | null = null;
  for (const { position, user, joins } of changes) {
    const before = users.size;
    if (joins) users.add(user);
    else users.delete(user);
    if (before === 0 && users.size > 0) last = { after: position - 1, until: STILL };
    else if (before > 0 && users.size === 0 && last !== null) last = { after: last.after, until: position };
  }
  return last;
}

export function isJoin(entry: LogEntry): boolean {
  return isJoined(pduOf(entry));
}

/** A ban too; an invite is none, and may go to somebody while another of their server is there. */
export function isLeave(entry: LogEntry): boolean {
  const membership = membershipOf(pduOf(entry));
  return membership === 'leave' || membership === 'ban';
}

export function isJoined(event: JsonObject): boolean {
  return membershipOf(event) === 'join';
}

function membershipOf(event: JsonObject): Json | undefined {
  return isObject(event.content) ? event.content.membership : undefined;
}
