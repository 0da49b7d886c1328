import { encodeBase64, encodeBase64Url } from './base64.ts';
import { referenceHash } from './hashes.ts';
import { fitsBytes, MAX_ID_BYTES, serverNameOf } from './ids.ts';
import type { JsonObject } from './json.ts';
import { PduError } from './pdu-error.ts';
import type { RoomVersionRules } from './room-versions.ts';

const BASE64_ID = /^\$[A-Za-z0-9+/]{43}$/;
const URL_SAFE_ID = /^\$[A-Za-z0-9_-]{43}$/;

/**
 * The event ID: what the event says in room versions 1 and 2, else its reference hash, whatever it says.
 * Throws `PduError` where it should say and does not, `JsonError` where it cannot be hashed. `essential`: its
 * `essentialJson`, where that is at hand.
 */
export function eventIdOf(event: JsonObject, rules: RoomVersionRules, essential?: string): string {
  if (rules.eventIds === 'named') {
    if (typeof event.event_id !== 'string') throw new PduError('event_id is missing');
    return event.event_id;
  }
  const hash = referenceHash(event, rules, essential);
  return `$${rules.eventIds === 'base64' ? encodeBase64(hash) : encodeBase64Url(hash)}`;
}

/** Whether a text has the form that event IDs have in this room version. */
export function isEventId(id: string, rules: RoomVersionRules): boolean {
  if (rules.eventIds === 'base64') return BASE64_ID.test(id);
  if (rules.eventIds === 'urlsafe') return URL_SAFE_ID.test(id);
  return id.startsWith('$') && fitsBytes(id, MAX_ID_BYTES) && serverNameOf(id) !== null;
}
