import { expect, test } from 'vitest';
import { encodeBase64 } from '../../../src/matrix/base64.ts';
import { parseSigningKeys, SigningKeyError, signingKeyFromSeed } from '../../../src/matrix/signing-key.ts';
import { SPEC_KEY, SPEC_SEED } from './spec-key.ts';

const other = encodeBase64(new Uint8Array(32).fill(9));

test('lines, as Synapse writes them: the first key signs', () => {
  const keys = parseSigningKeys(`\ned25519 a_XyZ ${SPEC_SEED}\r\n\n  ed25519 old ${other}=\n`);
  expect(keys.map((key) => key.keyId)).toEqual(['ed25519:a_XyZ', 'ed25519:old']);
  expect(keys[0]?.publicKey).toEqual(SPEC_KEY.publicKey);
  expect(keys[0]?.sign(Buffer.from('{}'))).toEqual(SPEC_KEY.sign(Buffer.from('{}')));
});

test('PEM blocks, as Dendrite writes them', () => {
  const block = (id: string, seed: string) =>
    `-----BEGIN MATRIX PRIVATE KEY-----\nKey-ID: ${id}\n\n${seed}=\n-----END MATRIX PRIVATE KEY-----\n`;
  const keys = parseSigningKeys(
    block('ed25519:abc', SPEC_SEED) + block('ed25519:2', other).replaceAll('\n', '\r\n'),
  );
  expect(keys.map((key) => key.keyId)).toEqual(['ed25519:abc', 'ed25519:2']);
  expect(keys[0]?.publicKey).toEqual(SPEC_KEY.publicKey);
});

test.each([
  '',
  '\n\n',
  'ed25519 1',
  `ed25519 1 ${SPEC_SEED} more`,
  `rsa 1 ${SPEC_SEED}`,
  `ed25519 1 ${SPEC_SEED.slice(4)}`,
  'ed25519 1 !!!!',
  `ed25519 "1" ${SPEC_SEED}`,
  `ed25519 a:b ${SPEC_SEED}`,
  '-----BEGIN MATRIX PRIVATE KEY-----',
  `-----BEGIN MATRIX PRIVATE KEY-----\n\n${SPEC_SEED}=\n-----END MATRIX PRIVATE KEY-----`,
  '-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----',
])('not a signing key file, and the message does not give the seed away: %j', (text) => {
  let caught: unknown;
  try {
    parseSigningKeys(text);
  } catch (error) {
    caught = error;
  }
  expect(caught).toBeInstanceOf(SigningKeyError);
  expect(String(caught)).not.toContain(SPEC_SEED.slice(4, 20));
});

test('a seed has 32 bytes', () => {
  expect(() => signingKeyFromSeed('ed25519:1', new Uint8Array(31))).toThrow(SigningKeyError);
});
