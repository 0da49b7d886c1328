import { eventIdOf } from '../matrix/event-id.ts';
import { essentialJson, hasValidContentHash } from '../matrix/hashes.ts';
import type { Json, JsonObject } from '../matrix/json.ts';
import { isObject } from '../matrix/json.ts';
import { checkPdu, type Pdu, requiredSigners, roomIdOf, stripUnsigned } from '../matrix/pdu.ts';
import { redact } from '../matrix/redaction.ts';
import type { RoomVersionRules } from '../matrix/room-versions.ts';
import { verifyPduSignature } from '../matrix/signed-json.ts';
import type { KeyRing } from '../remote-servers/remote-servers.ts';

export interface VerifiedEvent {
  readonly eventId: string;
  /** Without `unsigned`; redacted when the content hash was wrong. */
  readonly pdu: Pdu;
  readonly redacted: boolean;
}

/** Why an event costs itself and nothing else. */
export class EventRejected extends Error {
  override readonly name = 'EventRejected';
  readonly reason: 'shape' | 'room' | 'signature' | 'auth';
  /** A key could not be had: the event may be a good one all the same. */
  readonly isForWantOfKey: boolean;
  constructor(reason: EventRejected['reason'], message: string, isForWantOfKey = false) {
    super(message);
    this.reason = reason;
    this.isForWantOfKey = isForWantOfKey;
  }
}

/**
 * Whether an event is authentic: its shape and size, its room, its content hash (a wrong one leaves the event
 * in its redacted form), and a valid signature of its sender's server and of every other that has to sign it
 * (`requiredSigners`: an invite by third party needs none here, since authorization looks at the one inside it).
 * A key that cannot be had counts as a bad signature. Rejects with `EventRejected` and nothing else.
 */
export async function verifyEvent(
  json: Json,
  room: { readonly roomId: string; readonly rules: RoomVersionRules },
  keys: KeyRing,
): Promise<VerifiedEvent> {
  let pdu: Pdu;
  let eventId: string;
  /** What the event's ID and its signatures cover. */
  let essential: string;
  try {
    pdu = stripUnsigned(checkPdu(json, room.rules));
    if (roomIdOf(pdu, room.rules) !== room.roomId) throw new EventRejected('room', 'it is of another room');
    essential = essentialJson(pdu, room.rules);
    eventId = eventIdOf(pdu, room.rules, essential);
  } catch (error) {
    if (error instanceof EventRejected) throw error;
    throw new EventRejected('shape', error instanceof Error ? error.message : String(error));
  }
  const redacted = !hasValidContentHash(pdu);
  const used = redacted ? redact(pdu, room.rules) : pdu;
  // What only the part that is not used says excuses nobody from signing.
  const signers = new Set([...requiredSigners(pdu, room.rules), ...requiredSigners(used, room.rules)]);
  for (const server of signers) {
    const signed = await signatureOf(pdu, essential, server, room.rules, keys);
    if (signed !== 'valid') {
      const why = signed === 'no key' ? 'no key for the signature' : 'no valid signature';
      throw new EventRejected('signature', `${why} of ${server}`, signed === 'no key');
    }
  }
  return { eventId, pdu: used, redacted };
}

/** How many signatures of one server are tried: it has one key, or two while it changes them. */
const MOST_SIGNATURES = 3;

async function signatureOf(
  pdu: Pdu,
  essential: string,
  server: string,
  rules: RoomVersionRules,
  keys: KeyRing,
): Promise<'valid' | 'none' | 'no key'> {
  let isKeyMissing = false;
  // In the first room versions the validity of a key does not count: as if the event were as old as can be.
  const at = rules.keysExpire ? Number(pdu.origin_server_ts) : 0;
  for (const keyId of signatureKeyIds(pdu, server)) {
    const key = await keys.publicKey(server, keyId, at, 'event');
    if (key === null) isKeyMissing = true;
    else if (verifyPduSignature(pdu, rules, server, keyId, key, essential)) return 'valid';
  }
  return isKeyMissing ? 'no key' : 'none';
}

function signatureKeyIds(pdu: JsonObject, server: string): string[] {
  const signatures = isObject(pdu.signatures)
    ? new Map(Object.entries(pdu.signatures)).get(server)
    : undefined;
  if (!isObject(signatures)) return [];
  return Object.keys(signatures)
    .filter((keyId) => keyId.startsWith('ed25519:'))
    .slice(0, MOST_SIGNATURES);
}
