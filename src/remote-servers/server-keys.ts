import { decodeBase64 } from '../matrix/base64.ts';
import { isObject, type JsonObject, ownMember } from '../matrix/json.ts';
import { signingKeyIds, verifySignedJson } from '../matrix/signed-json.ts';
import { isUnsafePublicKey } from '../matrix/unsafe-keys.ts';

const DAY_MS = 24 * 60 * 60_000;
/** A key is never held valid for longer than this from when it was fetched (specification: 7 days). */
const MAX_VALIDITY_MS = 7 * DAY_MS;
/** A server that lists more keys is not read on. */
const MAX_KEYS = 100;
/** A server has one key in use, or two while it changes them; each attempt goes over the whole answer. */
const MAX_SIGNATURES = 4;

export interface ServerKey {
  readonly publicKey: Uint8Array;
  /** ms: of a current key until when it is valid, of an old one when it expired. */
  readonly validUntil: number;
  /** Given up by its server: it verifies old events only. */
  readonly expired: boolean;
}

/**
 * The keys in an answer of `GET /_matrix/key/v2/server` (or in a notary's copy of it), by key ID. null where
 * the answer is not about that server or no key in it that is in use signed it.
 */
export function checkedServerKeys(
  answer: JsonObject,
  server: string,
  now: number,
): Map<string, ServerKey> | null {
  const {
    server_name: name,
    valid_until_ts: validUntil,
    verify_keys: current,
    old_verify_keys: old,
  } = answer;
  if (name !== server || !isObject(current) || typeof validUntil !== 'number') return null;
  if (!Number.isSafeInteger(validUntil)) return null;
  const keys = new Map<string, ServerKey>();
  const until = Math.min(validUntil, now + MAX_VALIDITY_MS);
  for (const [keyId, publicKey] of listed(current)) {
    keys.set(keyId, { publicKey, validUntil: until, expired: false });
  }
  const signers = signingKeyIds(answer, server).filter((keyId) => keys.has(keyId));
  const signed = signers.slice(0, MAX_SIGNATURES).some((keyId) => {
    const key = keys.get(keyId);
    return key !== undefined && verifySignedJson(answer, server, keyId, key.publicKey);
  });
  if (!signed) return null;
  for (const [keyId, publicKey, entry] of isObject(old) ? listed(old) : []) {
    const expiredAt = entry.expired_ts;
    if (keys.has(keyId) || typeof expiredAt !== 'number') continue;
    keys.set(keyId, { publicKey, validUntil: Math.min(expiredAt, until), expired: true });
  }
  return keys;
}

/** A request is made now, with a key in use; an event may be as old as its key. */
export function isValidAt(key: ServerKey, at: number, use: 'request' | 'event'): boolean {
  return at <= key.validUntil && !(use === 'request' && key.expired);
}

function* listed(keys: JsonObject): Generator<[keyId: string, publicKey: Uint8Array, entry: JsonObject]> {
  for (const keyId of Object.keys(keys).slice(0, MAX_KEYS)) {
    const entry = ownMember(keys, keyId);
    if (!isKeyId(keyId) || !isObject(entry) || typeof entry.key !== 'string') continue;
    const publicKey = decodeBase64(entry.key);
    if (publicKey?.length !== 32 || isUnsafePublicKey(publicKey)) continue;
    yield [keyId, publicKey, entry];
  }
}

/** `ed25519:<version>`, of a length that can be stored. */
export function isKeyId(keyId: string): boolean {
  return /^ed25519:[\w.+=/-]{1,200}$/.test(keyId);
}
