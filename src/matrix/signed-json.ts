import { decodeBase64, encodeBase64 } from './base64.ts';
import { type CanonicalOptions, canonicalJson } from './canonical-json.ts';
import { verifySignature } from './ed25519.ts';
import { essentialJson } from './hashes.ts';
import { isObject, type JsonObject, ownMember, without } from './json.ts';
import type { RoomVersionRules } from './room-versions.ts';
import type { SigningKey } from './signing-key.ts';

/**
 * The object with our signature added to its `signatures` (specification, "Signing JSON"); `unsigned` and the
 * signatures of others stay. Throws `JsonError` where it is not canonical.
 */
export function signJson(object: JsonObject, serverName: string, key: SigningKey): JsonObject {
  const signature = encodeBase64(key.sign(signedBytes(object)));
  const signatures = isObject(object.signatures) ? object.signatures : {};
  const ours = ownMember(signatures, serverName);
  return {
    ...object,
    signatures: { ...signatures, [serverName]: { ...(isObject(ours) ? ours : {}), [key.keyId]: signature } },
  };
}

/** Whether this key of this server signed the object. Never throws. */
export function verifySignedJson(
  object: JsonObject,
  serverName: string,
  keyId: string,
  publicKey: Uint8Array,
): boolean {
  const signature = signatureOf(object, serverName, keyId);
  return signature !== null && verifies(publicKey, () => signedBytes(object), signature);
}

/**
 * Whether this key of this server signed the event, in its redacted form. Never throws. `essential`: its
 * `essentialJson`, where that is at hand.
 */
export function verifyPduSignature(
  pdu: JsonObject,
  rules: RoomVersionRules,
  serverName: string,
  keyId: string,
  publicKey: Uint8Array,
  essential?: string,
): boolean {
  const signature = signatureOf(pdu, serverName, keyId);
  const signed = () => Buffer.from(essential ?? essentialJson(pdu, rules));
  return signature !== null && verifies(publicKey, signed, signature);
}

/** The IDs of the ed25519 keys with which the server says it signed the object. */
export function signingKeyIds(object: JsonObject, serverName: string): string[] {
  return Object.keys(signaturesOf(object, serverName)).filter((keyId) => keyId.startsWith('ed25519:'));
}

function signatureOf(object: JsonObject, serverName: string, keyId: string): Uint8Array | null {
  const signature = ownMember(signaturesOf(object, serverName), keyId);
  return typeof signature === 'string' ? decodeBase64(signature) : null;
}

function signaturesOf(object: JsonObject, serverName: string): JsonObject {
  const byServer = isObject(object.signatures) ? ownMember(object.signatures, serverName) : undefined;
  return isObject(byServer) ? byServer : {};
}

function signedBytes(object: JsonObject, options: CanonicalOptions = {}): Uint8Array {
  return Buffer.from(canonicalJson(without(object, 'signatures', 'unsigned'), options));
}

/** A message that cannot be made canonical has no valid signature. */
function verifies(publicKey: Uint8Array, message: () => Uint8Array, signature: Uint8Array): boolean {
  let bytes: Uint8Array;
  try {
    bytes = message();
  } catch {
    return false;
  }
  return verifySignature(publicKey, bytes, signature);
}
