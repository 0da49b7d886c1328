import type { Homeserver, ReadEvent } from '../homeserver/homeserver.ts';
import { eventIdOf } from '../matrix/event-id.ts';
import { type Pdu, prevEventIds, stripUnsigned } from '../matrix/pdu.ts';
import { redact } from '../matrix/redaction.ts';
import { roomVersion } from '../matrix/room-versions.ts';
import { pduOf } from '../rooms/log-entries.ts';
import type { NewLogEntry, RoomLog, Store } from '../store/store.ts';

/** How many unknown ancestors of one event are looked at: real chains of hidden events are one or two long. */
const MOST = 20;

/**
 * Ancestors that the homeserver does not show in its stream: its own dummy events and `m.room.aliases`, which it
 * hides from all clients, and whatever was written on a branch where the room was not open, or was not accepted.
 * They show only as `prev_events` which the log does not hold. Oldest first.
 *
 * An event is given whole only if the homeserver lets a non-member see it, else redacted, as homeservers give
 * hidden history to each other: it links the graph and tells nothing. (Of a dummy event that is all there is.)
 * An ancestor that lies before the log began is not wanted; the depth of the log's oldest entry tells.
 * Rejects with `HomeserverDown`.
 */
export async function hiddenAncestors(
  store: Store,
  homeserver: Homeserver,
  log: RoomLog,
  event: ReadEvent,
  arriving: readonly NewLogEntry[],
): Promise<{ eventId: string; pdu: Pdu }[]> {
  const rules = roomVersion(log.roomVersion);
  if (rules === undefined) return [];
  const oldest = (await store.logs.read(log.roomId, log.tail - 1, 1))[0];
  if (oldest === undefined) return [];
  const oldestDepth = Number(pduOf(oldest).depth);

  const found: { eventId: string; pdu: Pdu }[] = [];
  const seen = new Set(arriving.map((entry) => entry.eventId));
  let wanted = prevEventIds(event.pdu, rules);
  for (let looked = 0; wanted.length > 0 && looked < MOST; ) {
    const unknown = wanted.filter((id) => !seen.has(id));
    const held = await store.logs.positions(log.roomId, unknown);
    wanted = [];
    for (const id of unknown) {
      if (held.has(id) || seen.has(id) || looked >= MOST) continue;
      seen.add(id);
      looked++;
      const fetched = await homeserver.event(id);
      if (fetched === null || Number(fetched.depth) <= oldestDepth) continue;
      const pdu = stripUnsigned(fetched);
      if (eventIdOf(pdu, rules) !== id) continue;
      const visible = await homeserver.visibleEvent(log.roomId, id);
      found.unshift({ eventId: id, pdu: visible === null ? redact(pdu, rules) : pdu });
      wanted.push(...prevEventIds(pdu, rules));
    }
  }
  return found;
}
