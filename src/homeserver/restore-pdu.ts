import { hasValidContentHash } from '../matrix/hashes.ts';
import type { JsonObject } from '../matrix/json.ts';
import { isObject, JsonError, without } from '../matrix/json.ts';
import type { Pdu } from '../matrix/pdu.ts';
import { redact } from '../matrix/redaction.ts';
import type { RoomVersionRules } from '../matrix/room-versions.ts';
import { asPdu } from './event-lists.ts';

/**
 * The PDU inside an event that Synapse shows to clients in federation format (`raw`, or `event_format:
 * federation`). It adds `unsigned`, `event_id` where the room version has none in events, and to a redaction
 * its target in the place where the room version does not have it.
 *
 * `pdu` is null for what is no event of a room (typing, receipts, presence). `whole` is false for a redaction
 * that still does not match its content hash: then the event is to be asked for in another way.
 */
export function restorePdu(
  event: JsonObject,
  rules: RoomVersionRules,
): { pdu: Pdu; whole: boolean } | { pdu: null } {
  const shown = asPdu(event);
  if (shown === null) return { pdu: null };
  const pdu = rules.eventIds === 'named' ? shown : (without(shown, 'event_id') as Pdu);
  if (pdu.type !== 'm.room.redaction') return { pdu, whole: true };
  // Pruned by a later redaction: pruning once more takes off what was added.
  if (isObject(event.unsigned) && isObject(event.unsigned.redacted_because)) {
    return { pdu: redact(pdu, rules), whole: true };
  }
  if (matchesItsHash(pdu)) return { pdu, whole: true };
  const bare =
    rules.redactsPlace === 'event'
      ? { ...pdu, content: without(pdu.content, 'redacts') }
      : (without(pdu, 'redacts') as Pdu);
  return { pdu: bare, whole: matchesItsHash(bare) };
}

function matchesItsHash(pdu: Pdu): boolean {
  try {
    return hasValidContentHash(pdu);
  } catch (error) {
    if (error instanceof JsonError) return false;
    throw error;
  }
}
