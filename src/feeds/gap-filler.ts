import type { JsonObject } from '../matrix/json.ts';
import { prevEventIds } from '../matrix/pdu.ts';
import type { RoomVersionRules } from '../matrix/room-versions.ts';
import type { KeyRing, RemoteServers } from '../remote-servers/remote-servers.ts';
import { pduOf } from '../rooms/log-entries.ts';
import type { EventRejected, VerifiedEvent } from '../rooms/verify-event.ts';
import { verifyMany } from '../rooms/verify-many.ts';
import type { RoomLog, Store } from '../store/store.ts';

/** The spec's usual cap; some servers send more than was asked for, so the answer is cut as well. */
const MOST_MISSING = 20;
const MOST_BYTES = 20 * 65_536 * 2;

/** What a server has of the events before one that the log does not hold. */
export interface Ancestors {
  /** To be appended, oldest first. */
  readonly missing: readonly VerifiedEvent[];
  /** IDs of events from before the log began: known now, and not wanted. */
  readonly older: readonly string[];
}

/** Whether one of the events has a predecessor that neither the log nor `known` holds. */
export async function hasUnknownAncestors(
  store: Store,
  log: RoomLog,
  events: readonly VerifiedEvent[],
  rules: RoomVersionRules,
  known: ReadonlySet<string>,
): Promise<boolean> {
  return (await lastUnlinked(store, log, events, rules, known)) !== -1;
}

/** The last of the events with a predecessor that neither the log nor `known` holds; −1 if there is none. */
export async function lastUnlinked(
  store: Store,
  log: RoomLog,
  events: readonly VerifiedEvent[],
  rules: RoomVersionRules,
  known: ReadonlySet<string>,
): Promise<number> {
  for (let i = events.length - 1; i >= 0; i--) {
    const previous = prevEventIds((events[i] as VerifiedEvent).pdu, rules).filter((id) => !known.has(id));
    if (previous.length === 0) continue;
    const held = await store.logs.positions(log.roomId, previous);
    if (previous.some((id) => !held.has(id))) return i;
  }
  return -1;
}

/** Asks a server for what lies between the log's newest events and `event`, every event verified. */
export async function fillGap(
  from: {
    readonly store: Store;
    readonly remote: RemoteServers;
    readonly keys: KeyRing;
    readonly rejected: (reason: EventRejected) => void;
  },
  server: string,
  log: RoomLog,
  event: VerifiedEvent,
  rules: RoomVersionRules,
): Promise<Ancestors> {
  const { store } = from;
  const newest = await store.logs.readLast(log.roomId, log.head, 10);
  const body: JsonObject = {
    earliest_events: newest.map((entry) => entry.eventId),
    latest_events: [event.eventId],
    limit: MOST_MISSING,
    min_depth: 0,
  };
  const answer = await from.remote.request(server, {
    method: 'POST',
    path: `/_matrix/federation/v1/get_missing_events/${encodeURIComponent(log.roomId)}`,
    body,
    timeoutMs: 20_000,
    maxBytes: MOST_BYTES,
  });
  const events = Array.isArray(answer.events) ? answer.events.slice(0, MOST_MISSING * 2) : [];
  const verified = await verifyMany(events, { roomId: log.roomId, rules }, from.keys, from.rejected);
  const given = verified.map(({ eventId }) => eventId);
  const held = await store.logs.positions(log.roomId, given);
  const [oldest] = await store.logs.read(log.roomId, log.tail - 1, 1);
  const begin = oldest === undefined ? 0 : Number(pduOf(oldest).depth);
  const others = verified.filter(({ eventId }) => eventId !== event.eventId && !held.has(eventId));
  const isOlder = ({ pdu }: VerifiedEvent) => Number(pdu.depth) <= begin;
  return {
    missing: inGraphOrder(others.filter((other) => !isOlder(other))),
    older: others.filter(isOlder).map(({ eventId }) => eventId),
  };
}

/** Oldest first, as far as their depths tell. */
export function inGraphOrder(events: readonly VerifiedEvent[]): VerifiedEvent[] {
  return events.toSorted((a, b) => Number(a.pdu.depth) - Number(b.pdu.depth));
}
