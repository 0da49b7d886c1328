import { createHash } from 'node:crypto';
import { decodeBase64 } from './base64.ts';
import { canonicalJson } from './canonical-json.ts';
import { isObject, type JsonObject, without } from './json.ts';
import { redact } from './redaction.ts';
import type { RoomVersionRules } from './room-versions.ts';

/**
 * The part of an event that its reference hash and its signatures cover, as canonical JSON: the redacted
 * event without `signatures` and `unsigned`. Throws `JsonError`.
 */
export function essentialJson(event: JsonObject, rules: RoomVersionRules): string {
  const essential = without(redact(event, rules), 'signatures');
  return canonicalJson(essential, { allowFloats: !rules.strictJson });
}

/**
 * SHA-256 of the redacted event (specification, "Calculating the reference hash"): 32 bytes. `essential`: its
 * `essentialJson`, where that is at hand.
 */
export function referenceHash(
  event: JsonObject,
  rules: RoomVersionRules,
  essential = essentialJson(event, rules),
): Uint8Array {
  return sha256(essential);
}

/** SHA-256 of the whole event (specification, "Calculating the content hash"): 32 bytes. Throws `JsonError`. */
export function contentHash(event: JsonObject): Uint8Array {
  // Floats never spoil this hash: where they are forbidden the event is refused for its shape.
  return sha256(canonicalJson(without(event, 'unsigned', 'signatures', 'hashes'), { allowFloats: true }));
}

/** Whether `hashes.sha256` is right. Where it is not, only the redacted event may be used. */
export function hasValidContentHash(event: JsonObject): boolean {
  const claimed = isObject(event.hashes) ? event.hashes.sha256 : undefined;
  const bytes = typeof claimed === 'string' ? decodeBase64(claimed) : null;
  return bytes !== null && Buffer.compare(bytes, contentHash(event)) === 0;
}

function sha256(text: string): Uint8Array {
  return createHash('sha256').update(text, 'utf8').digest();
}
