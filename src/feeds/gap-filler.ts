import type { JsonObject } from '../matrix/json.ts';
import { prevEventIds } from '../matrix/pdu.ts';
import type { RoomVersionRules } from '../matrix/room-versions.ts';
import type { KeyRing, RemoteServers } from '../remote-servers/remote-servers.ts';
import type { EventRejected, VerifiedEvent } from '../rooms/verify-event.ts';
import { verifyMany } from '../rooms/verify-many.ts';
import type { RoomLog, Store } from '../store/store.ts';

/** The spec's usual cap; some servers send more than was asked for, so the answer is cut as well. */
const MOST_MISSING = 20;
const MOST_BYTES = 20 * 65_536 * 2;

/** The event's ancestors that the log lacks. */
export async function unknownAncestors(
  store: Store,
  log: RoomLog,
  event: VerifiedEvent,
  rules: RoomVersionRules,
  arriving: ReadonlySet<string>,
): Promise<string[]> {
  const previous = prevEventIds(event.pdu, rules).filter((id) => !arriving.has(id));
  const held = await store.logs.positions(log.roomId, previous);
  return previous.filter((id) => !held.has(id));
}

/** Asks a server for what lies between the log's newest events and `event`, verified, oldest first. */
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
): Promise<VerifiedEvent[]> {
  const newest = await from.store.logs.readLast(log.roomId, log.head, 10);
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
  return verified
    .filter(({ eventId }) => eventId !== event.eventId)
    .toSorted((a, b) => Number(a.pdu.depth) - Number(b.pdu.depth));
}
