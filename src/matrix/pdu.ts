import { canonicalJson } from './canonical-json.ts';
import { eventIdOf, isEventId } from './event-id.ts';
import { fitsBytes, isHashRoomId, isRoomId, isUserId, MAX_ID_BYTES, serverNameOf } from './ids.ts';
import { isObject, type Json, JsonError, type JsonObject, without } from './json.ts';
import { PduError } from './pdu-error.ts';
import type { RoomVersionRules } from './room-versions.ts';

export { PduError };

/** A persistent data unit: an event as servers exchange it. Shape-checked before it gets this type. */
export interface Pdu extends JsonObject {
  type: string;
  sender: string;
  content: JsonObject;
  depth: number;
  origin_server_ts: number;
}

/** The largest PDU, in bytes of canonical JSON (specification, "Size limits"). */
export const MAX_PDU_BYTES = 65_536;
/** Specification, server-server API, "PDUs". */
const MAX_PREV_EVENTS = 20;
const MAX_AUTH_EVENTS = 10;
const MAX_DEPTH = 2 ** 63;

/**
 * Checks shape and limits of an event; it says nothing of hashes, signatures and authorization, and does not
 * look at `unsigned`, which is whoever's and is to be stripped. What passes can be hashed and redacted without
 * an error. Throws `PduError`.
 */
export function checkPdu(value: Json, rules: RoomVersionRules): Pdu {
  if (!isObject(value)) throw new PduError('A PDU is an object');
  checkSize(value, rules);
  checkShortString(value.type, 'type');
  if (value.state_key !== undefined) checkShortString(value.state_key, 'state_key');
  if (typeof value.sender !== 'string' || !isUserId(value.sender)) throw new PduError('sender is no user ID');
  for (const name of ['content', 'hashes', 'signatures'] as const) {
    if (!isObject(value[name])) throw new PduError(`${name} is no object`);
  }
  const { depth } = value;
  if (typeof depth !== 'number' || !Number.isInteger(depth) || depth < 0 || depth >= MAX_DEPTH) {
    throw new PduError('depth is no integer from 0 to 2^63−1');
  }
  if (!Number.isSafeInteger(value.origin_server_ts)) throw new PduError('origin_server_ts is no integer');
  checkRoomId(value, rules);
  checkEventReferences(value.prev_events, MAX_PREV_EVENTS, 'prev_events', rules);
  checkEventReferences(value.auth_events, MAX_AUTH_EVENTS, 'auth_events', rules);
  if (
    rules.eventIds === 'named' &&
    !(typeof value.event_id === 'string' && isEventId(value.event_id, rules))
  ) {
    throw new PduError('event_id is no event ID of this room version');
  }
  checkAuthorisingUser(value, rules);
  return value as Pdu;
}

/** The state key, or null for an event that is not state. */
export function stateKeyOf(pdu: JsonObject): string | null {
  return typeof pdu.state_key === 'string' ? pdu.state_key : null;
}

/** The event without `unsigned`, which no signature covers. */
export function stripUnsigned<Event extends JsonObject>(event: Event): Event {
  return without(event, 'unsigned') as Event;
}

/** The room it is of: what it says, or for the create event of a version 12 room what its hash says. */
export function roomIdOf(pdu: Pdu, rules: RoomVersionRules): string {
  if (isHashedCreate(pdu, rules)) return `!${eventIdOf(pdu, rules).slice(1)}`;
  return String(pdu.room_id);
}

export function prevEventIds(pdu: JsonObject, rules: RoomVersionRules): string[] {
  return referencedIds(pdu.prev_events, rules);
}

export function authEventIds(pdu: JsonObject, rules: RoomVersionRules): string[] {
  return referencedIds(pdu.auth_events, rules);
}

/**
 * Whose signatures it must carry: the sender's server (an invite by third party may be sent by another, and
 * needs none: authorization checks what is signed inside it); in versions 1 and 2 also the server that named
 * the event; for a restricted join the server of the user who let the joiner in.
 */
export function requiredSigners(pdu: Pdu, rules: RoomVersionRules): string[] {
  const signers = new Set<string | null>();
  const membership = pdu.type === 'm.room.member' ? pdu.content.membership : undefined;
  if (!(membership === 'invite' && isObject(pdu.content.third_party_invite))) {
    signers.add(serverNameOf(pdu.sender));
  }
  if (rules.eventIds === 'named') signers.add(serverNameOf(String(pdu.event_id)));
  const authorising = authorisingUser(pdu, rules);
  if (authorising !== undefined) signers.add(serverNameOf(String(authorising)));
  return [...signers].filter((server) => server !== null);
}

function checkSize(value: JsonObject, rules: RoomVersionRules): void {
  let text: string;
  try {
    text = canonicalJson(without(value, 'unsigned'), { allowFloats: !rules.strictJson });
  } catch (error) {
    if (error instanceof JsonError) throw new PduError(error.message);
    throw error;
  }
  if (Buffer.byteLength(text) > MAX_PDU_BYTES) throw new PduError(`larger than ${MAX_PDU_BYTES} bytes`);
}

function checkShortString(value: Json | undefined, name: string): void {
  if (typeof value !== 'string' || !fitsBytes(value, MAX_ID_BYTES)) {
    throw new PduError(`${name} is no string of at most ${MAX_ID_BYTES} bytes`);
  }
}

function checkRoomId(pdu: JsonObject, rules: RoomVersionRules): void {
  const roomId = pdu.room_id;
  if (isHashedCreate(pdu, rules)) {
    if (roomId !== undefined) throw new PduError('the create event of this room version has no room_id');
    return;
  }
  if (typeof roomId !== 'string' || !isRoomId(roomId) || isHashRoomId(roomId) !== rules.hashRoomIds) {
    throw new PduError('room_id is no room ID of this room version');
  }
}

function isHashedCreate(pdu: JsonObject, rules: RoomVersionRules): boolean {
  return rules.hashRoomIds && pdu.type === 'm.room.create' && pdu.state_key === '';
}

/** Event IDs; in versions 1 and 2 pairs of an event ID and its hashes. */
function checkEventReferences(
  value: Json | undefined,
  most: number,
  name: string,
  rules: RoomVersionRules,
): void {
  if (!Array.isArray(value)) throw new PduError(`${name} is no array`);
  if (value.length > most) throw new PduError(`more than ${most} ${name}`);
  for (const item of value) {
    const id = rules.eventIds === 'named' ? pairedId(item) : item;
    if (typeof id !== 'string' || !isEventId(id, rules)) {
      throw new PduError(`${name} has something else than event IDs of this room version`);
    }
  }
}

function pairedId(item: Json): Json | undefined {
  return Array.isArray(item) && item.length === 2 && isObject(item[1]) ? item[0] : undefined;
}

function referencedIds(value: Json | undefined, rules: RoomVersionRules): string[] {
  if (!Array.isArray(value)) return [];
  const ids = rules.eventIds === 'named' ? value.map(pairedId) : value;
  return ids.filter((id) => typeof id === 'string');
}

function checkAuthorisingUser(pdu: JsonObject, rules: RoomVersionRules): void {
  const user = authorisingUser(pdu, rules);
  if (user !== undefined && !(typeof user === 'string' && isUserId(user))) {
    throw new PduError('join_authorised_via_users_server is no user ID');
  }
}

/** Of a restricted join, the user whose server let the joiner in. */
function authorisingUser(pdu: JsonObject, rules: RoomVersionRules): Json | undefined {
  if (!rules.auth.restricted || pdu.type !== 'm.room.member' || !isObject(pdu.content)) return undefined;
  return pdu.content.membership === 'join' ? pdu.content.join_authorised_via_users_server : undefined;
}
