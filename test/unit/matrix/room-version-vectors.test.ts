import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { decodeBase64 } from '../../../src/matrix/base64.ts';
import { canonicalJson } from '../../../src/matrix/canonical-json.ts';
import { eventIdOf, isEventId } from '../../../src/matrix/event-id.ts';
import { contentHash, hasValidContentHash } from '../../../src/matrix/hashes.ts';
import { type JsonObject, without } from '../../../src/matrix/json.ts';
import { checkPdu, requiredSigners, roomIdOf, stripUnsigned } from '../../../src/matrix/pdu.ts';
import { redact } from '../../../src/matrix/redaction.ts';
import { roomVersion, SUPPORTED_ROOM_VERSIONS } from '../../../src/matrix/room-versions.ts';
import { signingKeyIds, verifyPduSignature } from '../../../src/matrix/signed-json.ts';
import { SPEC_KEY } from './spec-key.ts';

interface Vector {
  readonly room_version: string;
  /** The signed event. */
  readonly canonical: string;
  readonly redacted: JsonObject;
  readonly event_id: string;
}

/** Made by Synapse 1.163.2 with `make_room_version_vectors.py`. */
const vectors = JSON.parse(
  readFileSync(new URL('../../fixtures/matrix/room-versions.json', import.meta.url), 'utf8'),
) as Vector[];

function rulesOf(version: string) {
  const rules = roomVersion(version);
  if (rules === undefined) throw new Error(`room version ${version} is not known`);
  return rules;
}

test.each(SUPPORTED_ROOM_VERSIONS)(
  'v1–v12 each: create, redact, hash, sign vectors: version %s',
  (version) => {
    const rules = rulesOf(version);
    const ours = vectors.filter((vector) => vector.room_version === version);
    expect(ours).toHaveLength(12);
    for (const { canonical, redacted, event_id } of ours) {
      const event = JSON.parse(canonical) as JsonObject;
      const pdu = checkPdu(event, rules);
      const name = `${version} ${pdu.type}`;
      expect(canonicalJson(event), name).toBe(canonical);
      expect(redact(stripUnsigned(event), rules), name).toEqual(redacted);
      expect(eventIdOf(pdu, rules), name).toBe(event_id);
      expect(isEventId(event_id, rules), name).toBe(true);
      expect(hasValidContentHash(pdu), name).toBe(true);
      expect(requiredSigners(pdu, rules)).toEqual(
        pdu.state_key === '@c:domain' && rules.eventIds !== 'named' ? [] : ['domain'],
      );
      expect(signingKeyIds(pdu, 'domain')).toEqual(['ed25519:1']);
      expect(verifyPduSignature(pdu, rules, 'domain', 'ed25519:1', SPEC_KEY.publicKey), name).toBe(true);
      expect(verifyPduSignature(redact(pdu, rules), rules, 'domain', 'ed25519:1', SPEC_KEY.publicKey)).toBe(
        true,
      );
      const moved = { ...pdu, depth: pdu.depth + 1 };
      expect(verifyPduSignature(moved, rules, 'domain', 'ed25519:1', SPEC_KEY.publicKey), name).toBe(false);
      expect(hasValidContentHash(moved), name).toBe(false);
    }
  },
);

test('hash mismatch ⇒ redacted, not dropped: the changed event still verifies and keeps its ID', () => {
  for (const { room_version, canonical, event_id } of vectors) {
    const rules = rulesOf(room_version);
    const event = JSON.parse(canonical) as JsonObject;
    if (event.type !== 'm.room.message') continue;
    const changed = checkPdu({ ...event, content: { body: 'something else' } }, rules);
    expect(hasValidContentHash(changed)).toBe(false);
    expect(eventIdOf(changed, rules)).toBe(event_id);
    expect(verifyPduSignature(changed, rules, 'domain', 'ed25519:1', SPEC_KEY.publicKey)).toBe(true);
    expect(redact(changed, rules).content).toEqual({});
  }
});

test('v12 create has no room_id: the room is named by its hash', () => {
  const rules = rulesOf('12');
  const vector = vectors.find(
    ({ room_version, canonical }) => room_version === '12' && canonical.includes('"type":"m.room.create"'),
  );
  const create = checkPdu(JSON.parse(vector?.canonical ?? '') as JsonObject, rules);
  expect(create.room_id).toBeUndefined();
  expect(roomIdOf(create, rules)).toBe(`!${vector?.event_id.slice(1)}`);
  expect(() => checkPdu({ ...create, room_id: '!a:domain' }, rules)).toThrow('room_id');
});

test('unsigned counts neither for the hash nor for the signature', () => {
  const [{ room_version, canonical, event_id } = vectors[0] as Vector] = vectors.slice(-1);
  const rules = rulesOf(room_version);
  const event = { ...(JSON.parse(canonical) as JsonObject), unsigned: { anything: 1.5 } };
  expect(eventIdOf(event, rules)).toBe(event_id);
  expect(hasValidContentHash(event)).toBe(true);
  expect(verifyPduSignature(event, rules, 'domain', 'ed25519:1', SPEC_KEY.publicKey)).toBe(true);
});

test('the content hash does not look at what it is kept in', () => {
  const event = JSON.parse((vectors[0] as Vector).canonical) as JsonObject;
  const claimed = (event.hashes as { sha256: string }).sha256;
  const bare = without(event, 'hashes', 'signatures', 'unsigned');
  expect(Buffer.from(contentHash(bare))).toEqual(decodeBase64(claimed));
  for (const hashes of [{}, { sha256: 1 }, { sha256: '!' }, { sha256: '' }]) {
    expect(hasValidContentHash({ ...event, hashes })).toBe(false);
  }
});

test('unknown room version', () => {
  for (const id of ['', '0', '13', '1.0', 'org.matrix.msc3757.10', '__proto__', 'constructor']) {
    expect(roomVersion(id)).toBeUndefined();
  }
});
