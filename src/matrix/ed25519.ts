import { createPublicKey, type KeyObject, verify } from 'node:crypto';

const KEY_BYTES = 32;
const SIGNATURE_BYTES = 64;
/** SubjectPublicKeyInfo of an Ed25519 key, up to the 32 raw bytes (RFC 8410). */
const SPKI_PREFIX = Buffer.from('302a300506032b6570032100', 'hex');
/** The field's prime 2^255 − 19 and the group's order L, little-endian (RFC 8032). */
const FIELD_PRIME = Buffer.from('edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f', 'hex');
const GROUP_ORDER = Buffer.from('edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010', 'hex');
/** The y coordinates of the eight points of small order: 0, 1, −1 and two of order eight. */
const SMALL_ORDER_Y: ReadonlySet<string> = new Set([
  '0000000000000000000000000000000000000000000000000000000000000000',
  '0100000000000000000000000000000000000000000000000000000000000000',
  'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05',
  'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a',
]);

/** Building a key object costs about as much as a tenth of a verification: the last ones used are kept. */
const MAX_CACHED_KEYS = 1000;
const cachedKeys = new Map<string, KeyObject | null>();

/**
 * Whether an Ed25519 signature is valid. False, never an error, for wrong lengths, keys of small order or not
 * in their one encoding, and signatures that could be another's second form (S ≥ L).
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
  if (key === undefined) key = isSafeKey(publicKey) ? importKey(publicKey) : null;
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

function isSafeKey(publicKey: Uint8Array): boolean {
  const y = Buffer.from(publicKey);
  y[31] = (y[31] as number) & 0x7f;
  return isBelow(y, FIELD_PRIME) && !SMALL_ORDER_Y.has(y.toString('hex'));
}

function isBelow(number: Uint8Array, limit: Uint8Array): boolean {
  for (let i = limit.length - 1; i >= 0; i--) {
    const difference = (number[i] as number) - (limit[i] as number);
    if (difference !== 0) return difference < 0;
  }
  return false;
}
