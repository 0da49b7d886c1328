import { expect, test } from 'vitest';
import { encodeBase64 } from '../../../src/matrix/base64.ts';
import { contentHash } from '../../../src/matrix/hashes.ts';
import type { JsonObject } from '../../../src/matrix/json.ts';
import { redact } from '../../../src/matrix/redaction.ts';
import { type RoomVersionRules, roomVersion } from '../../../src/matrix/room-versions.ts';
import { signJson, verifyPduSignature, verifySignedJson } from '../../../src/matrix/signed-json.ts';
import { SPEC_KEY } from './spec-key.ts';

const version1 = roomVersion('1') as RoomVersionRules;

function signatureIn(object: JsonObject): unknown {
  return (object.signatures as { domain: JsonObject }).domain['ed25519:1'];
}

test.each([
  [{}, 'K8280/U9SSy9IVtjBuVeLr+HpOB4BQFWbg+UZaADMtTdGYI7Geitb76LTrr5QV/7Xg4ahLwYGYZzuHGZKM5ZAQ'],
  [
    { one: 1, two: 'Two' },
    'KqmLSbO39/Bzb0QIYE82zqLwsA+PDzYIpIRA2sRQ4sL53+sN6/fpNSoqE7BP7vBZhG6kYdD13EIMJpvhJI+6Bw',
  ],
])('the specification, JSON signing: %j', (object, signature) => {
  const signed = signJson(object, 'domain', SPEC_KEY);
  expect(signed).toEqual({ ...object, signatures: { domain: { 'ed25519:1': signature } } });
  expect(verifySignedJson(signed, 'domain', 'ed25519:1', SPEC_KEY.publicKey)).toBe(true);
});

test.each([
  [
    'minimal',
    {
      room_id: '!x:domain',
      sender: '@a:domain',
      origin: 'domain',
      origin_server_ts: 1000000,
      signatures: {},
      hashes: {},
      type: 'X',
      content: {},
      prev_events: [],
      auth_events: [],
      depth: 3,
      unsigned: { age_ts: 1000000 },
    },
    '5jM4wQpv6lnBo7CLIghJuHdW+s2CMBJPUOGOC89ncos',
    'KxwGjPSDEtvnFgU00fwFz+l6d2pJM6XBIaMEn81SXPTRl16AqLAYqfIReFGZlHi5KLjAWbOoMszkwsQma+lYAg',
  ],
  [
    'with redactable content',
    {
      content: { body: 'Here is the message content' },
      event_id: '$0:domain',
      origin: 'domain',
      origin_server_ts: 1000000,
      type: 'm.room.message',
      room_id: '!r:domain',
      sender: '@u:domain',
      signatures: {},
      unsigned: { age_ts: 1000000 },
    },
    'onLKD1bGljeBWQhWZ1kaP9SorVmRQNdN5aM2JYU2n/g',
    'Wm+VzmOUOz08Ds+0NTWb1d4CZrVsJSikkeRxh6aCcUwu6pNC78FunoD7KNWzqFn241eYHYMGCA5McEiVPdhzBA',
  ],
] as const)('the specification, event signing: %s', (_name, frozen, hash, signature) => {
  const event = structuredClone(frozen) as unknown as JsonObject;
  expect(encodeBase64(contentHash(event))).toBe(hash);
  const hashed: JsonObject = { ...event, hashes: { sha256: hash } };
  const signed = signJson(redact(hashed, version1), 'domain', SPEC_KEY);
  expect(signatureIn(signed)).toBe(signature);
  const whole = { ...hashed, signatures: signed.signatures as JsonObject };
  expect(verifyPduSignature(whole, version1, 'domain', 'ed25519:1', SPEC_KEY.publicKey)).toBe(true);
});

test('signing keeps the signatures of others, our other keys and unsigned', () => {
  const object: JsonObject = {
    a: 1,
    unsigned: { age: 1 },
    signatures: { other: { 'ed25519:x': 'X' }, domain: { 'ed25519:old': 'O' } },
  };
  const before = structuredClone(object);
  const signed = signJson(object, 'domain', SPEC_KEY);
  expect(object).toEqual(before);
  expect(signed.unsigned).toEqual({ age: 1 });
  expect(signed.signatures).toEqual({
    other: { 'ed25519:x': 'X' },
    domain: { 'ed25519:old': 'O', 'ed25519:1': signatureIn(signJson({ a: 1 }, 'domain', SPEC_KEY)) },
  });
});

test("missing signature of sender's server, or one that is none ⇒ false, no error", () => {
  const signed = signJson({ a: 1 }, 'domain', SPEC_KEY);
  const verifies = (object: JsonObject, server = 'domain', keyId = 'ed25519:1') =>
    verifySignedJson(object, server, keyId, SPEC_KEY.publicKey);
  expect(verifies(signed)).toBe(true);
  expect(verifies(signed, 'other')).toBe(false);
  expect(verifies(signed, '__proto__')).toBe(false);
  expect(verifies(signed, 'domain', 'ed25519:2')).toBe(false);
  expect(verifies(signed, 'domain', 'constructor')).toBe(false);
  expect(verifies({ ...signed, a: 2 })).toBe(false);
  expect(verifies({ ...signed, a: 1.5 })).toBe(false);
  for (const signatures of [null, 1, [], 'x', {}, { domain: null }, { domain: { 'ed25519:1': 7 } }]) {
    expect(verifies({ a: 1, signatures })).toBe(false);
  }
  expect(verifies({ a: 1, signatures: { domain: { 'ed25519:1': 'not base64' } } })).toBe(false);
});
