import { createPublicKey, type KeyObject, verify } from 'node:crypto';
import { isBelow, isUnsafePublicKey } from './unsafe-keys.ts';

const KEY_BYTES = 32;
const SIGNATURE_BYTES = 64;
/** SubjectPublicKeyInfo of an Ed25519 key, up to the 32 raw bytes (RFC 8410). */
const SPKI_PREFIX = Buffer.from('302a300506032b6570032100', 'hex');
/** The group's order L, little-endian (RFC 8032). */
const GROUP_ORDER = Buffer.from('edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010', 'hex');

/** Building a key object costs about as much as a tenth of a verification: the last ones used are kept. */
const MAX_CACHED_KEYS = 1000;
const cachedKeys = new Map<string, KeyObject | null>();

/**
 * Whether an Ed25519 signature is valid. False, never an error, for wrong lengths, keys that are not safe
 * (`isUnsafePublicKey`), and signatures that could be another's second form (S ≥ L).
 */
export function verifySignature(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
  if (publicKey.length !== KEY_BYTES || signature.length !== SIGNATURE_BYTES) return false;
  if (!isBelow(signature.subarray(KEY_BYTES), GROUP_ORDER)) return false;
  const key = keyObject(publicKey);
  if (key === null) return false;
  try {
    return verify(null, message, key, signature);
  } catch {
    return false;
  }
}

function keyObject(publicKey: Uint8Array): KeyObject | null {
  const name = Buffer.from(publicKey).toString('hex');
  let key = cachedKeys.get(name);
  if (key === undefined) key = isUnsafePublicKey(publicKey) ? null : importKey(publicKey);
  else cachedKeys.delete(name);
  cachedKeys.set(name, key);
  if (cachedKeys.size > MAX_CACHED_KEYS) {
    for (const oldest of cachedKeys.keys()) {
      cachedKeys.delete(oldest);
      break;
    }
  }
  return key;
}

function importKey(publicKey: Uint8Array): KeyObject | null {
  try {
    return createPublicKey({ key: Buffer.concat([SPKI_PREFIX, publicKey]), format: 'der', type: 'spki' });
  } catch {
    return null;
  }
}
