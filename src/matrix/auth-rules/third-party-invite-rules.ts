import { decodeBase64, decodeBase64Url } from '../base64.ts';
import { isObject, type Json, type JsonObject } from '../json.ts';
import type { Pdu } from '../pdu.ts';
import { signingKeyIds, verifySignedJson } from '../signed-json.ts';
import type { AuthContext } from './auth-state.ts';
import { allowedIf, denied, type Verdict } from './verdict.ts';

/**
 * Signatures times keys that are tried, some 150 µs each. An identity server gives one signature and two keys;
 * an event of 64 KiB has room for a hundred thousand pairs.
 */
const MAX_VERIFICATIONS = 50;

/** An invite that an identity server vouches for: who was invited by mail has become this user. */
export function authoriseThirdPartyInvite(target: string, { event, state }: AuthContext): Verdict {
  const invite = event.content.third_party_invite;
  const signed = isObject(invite) ? invite.signed : undefined;
  if (!isObject(signed)) return denied('third_party_invite is not signed');
  if (typeof signed.token !== 'string' || signed.mxid === undefined) {
    return denied('third_party_invite names no user or no token');
  }
  if (signed.mxid !== target) return denied('third_party_invite is for another user');
  const promise = state('m.room.third_party_invite', signed.token);
  if (promise === null) return denied('no m.room.third_party_invite has this token');
  if (promise.sender !== event.sender) return denied('m.room.third_party_invite was sent by another user');
  return allowedIf(
    isSignedByOneOf(publicKeysOf(promise), signed),
    'no key of m.room.third_party_invite signed it',
  );
}

function isSignedByOneOf(publicKeys: readonly Uint8Array[], signed: JsonObject): boolean {
  let left = MAX_VERIFICATIONS;
  const servers = isObject(signed.signatures) ? Object.keys(signed.signatures) : [];
  for (const server of servers) {
    for (const keyId of signingKeyIds(signed, server)) {
      for (const publicKey of publicKeys) {
        if (left-- === 0) return false;
        if (verifySignedJson(signed, server, keyId, publicKey)) return true;
      }
    }
  }
  return false;
}

/** Client-server API, `m.room.third_party_invite`: unpadded base64, in the standard or the URL-safe alphabet. */
function publicKeysOf({ content }: Pdu): Uint8Array[] {
  const listed = Array.isArray(content.public_keys) ? content.public_keys : [];
  return [content.public_key, ...listed.map((each) => (isObject(each) ? each.public_key : undefined))]
    .map(decodeKey)
    .filter((key) => key !== null);
}

function decodeKey(text: Json | undefined): Uint8Array | null {
  return typeof text === 'string' ? (decodeBase64(text) ?? decodeBase64Url(text)) : null;
}
