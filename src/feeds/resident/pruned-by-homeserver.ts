import type { Homeserver } from '../../homeserver/homeserver.ts';
import { isObject, type JsonObject } from '../../matrix/json.ts';
import { stripUnsigned } from '../../matrix/pdu.ts';
import { redact } from '../../matrix/redaction.ts';
import { roomVersion } from '../../matrix/room-versions.ts';
import { pduOf } from '../../rooms/log-entries.ts';
import type { NewLogEntry, RoomLog, Store } from '../../store/store.ts';

/** The event that a redaction names: top level up to room version 10, in `content` from 11 on. */
export function redactedEventId(redaction: JsonObject): string | null {
  const content = isObject(redaction.content) ? redaction.content : {};
  const target = typeof redaction.redacts === 'string' ? redaction.redacts : content.redacts;
  return typeof target === 'string' ? target : null;
}

/**
 * What arriving redactions make of events of the log or of each other. Whether a redaction counts is the
 * homeserver's word: it gives the event pruned, or as it was. Rejects with `HomeserverDown`.
 */
export async function prunedByHomeserver(
  store: Store,
  homeserver: Homeserver,
  log: RoomLog,
  arriving: readonly NewLogEntry[],
): Promise<{ eventId: string; json: string }[]> {
  const rules = roomVersion(log.roomVersion);
  if (rules === undefined) return [];
  const redactions = arriving.filter(({ type, shown }) => type === 'm.room.redaction' && shown);
  const named = new Set(redactions.map((entry) => redactedEventId(pduOf(entry))));
  named.delete(null);
  const targets = [...named] as string[];
  const held = await store.logs.positions(log.roomId, targets);
  const amend: { eventId: string; json: string }[] = [];
  for (const eventId of targets) {
    const position = held.get(eventId);
    const entry =
      position === undefined
        ? arriving.find((arrived) => arrived.eventId === eventId)
        : (await store.logs.readLast(log.roomId, position, 1))[0];
    if (entry?.eventId !== eventId) continue;
    const event = await homeserver.event(eventId);
    if (event === null) continue;
    const pdu = stripUnsigned(event);
    // A hidden one may be held redacted already: it is not given whole because of a redaction that does not count.
    amend.push({ eventId, json: JSON.stringify(entry.shown ? pdu : redact(pdu, rules)) });
  }
  return amend;
}
