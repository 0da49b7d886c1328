import { createPrivateKey, sign } from 'node:crypto';
import nacl from 'tweetnacl';
import { decodeBase64 } from './base64.ts';
import { isUnsafePublicKey } from './unsafe-keys.ts';

export interface SigningKey {
  /** `ed25519:<version>`. */
  readonly keyId: string;
  /** 32 raw bytes. */
  readonly publicKey: Uint8Array;
  /** The Ed25519 signature of the message, 64 bytes. */
  sign(message: Uint8Array): Uint8Array;
}

/** A signing key file that cannot be used. Its message never contains key material. */
export class SigningKeyError extends Error {
  override readonly name = 'SigningKeyError';
}

const SEED_BYTES = 32;
/** PKCS #8 of an Ed25519 key, up to the 32 bytes of the seed (RFC 8410). */
const PKCS8_PREFIX = Buffer.from('302e020100300506032b657004220420', 'hex');
const KEY_VERSION = /^[\w.+=/-]+$/;
const PEM_BLOCK = /-----BEGIN MATRIX PRIVATE KEY-----([\s\S]*?)-----END MATRIX PRIVATE KEY-----/g;

/**
 * The keys of a homeserver's signing key file, in its order; the first one signs. Two formats are known:
 * lines `ed25519 <version> <seed>` (Synapse) and PEM blocks `MATRIX PRIVATE KEY` with a `Key-ID` (Dendrite).
 * Throws `SigningKeyError`.
 */
export function parseSigningKeys(text: string): SigningKey[] {
  const keys = text.includes('-----BEGIN') ? parsePem(text) : parseLines(text);
  if (keys.length === 0) throw new SigningKeyError('The signing key file holds no key');
  return keys;
}

/** The key pair of a 32-byte seed. */
export function signingKeyFromSeed(keyId: string, seed: Uint8Array): SigningKey {
  if (seed.length !== SEED_BYTES)
    throw new SigningKeyError(`The seed of ${keyId} is not ${SEED_BYTES} bytes long`);
  const { publicKey } = nacl.sign.keyPair.fromSeed(new Uint8Array(seed));
  if (isUnsafePublicKey(publicKey)) throw new SigningKeyError(`${keyId} is a publicly known, insecure key`);
  const privateKey = createPrivateKey({
    key: Buffer.concat([PKCS8_PREFIX, seed]),
    format: 'der',
    type: 'pkcs8',
  });
  return { keyId, publicKey, sign: (message) => sign(null, message, privateKey) };
}

function parseLines(text: string): SigningKey[] {
  const lines = text.split('\n').map((line) => line.trim());
  return lines.flatMap((line, index) => {
    if (line === '') return [];
    const [algorithm, version, seed, ...rest] = line.split(/\s+/);
    if (version === undefined || seed === undefined || rest.length > 0) {
      throw new SigningKeyError(
        `Line ${index + 1} of the signing key file is not "ed25519 <version> <seed>"`,
      );
    }
    return [keyOf(`${algorithm}:${version}`, seed)];
  });
}

function parsePem(text: string): SigningKey[] {
  return [...text.matchAll(PEM_BLOCK)].map(([, body = '']) => {
    const lines = body.split('\n').map((line) => line.trim());
    const headers = new Map<string, string>();
    const data: string[] = [];
    for (const line of lines) {
      const colon = line.indexOf(':');
      if (colon > 0) headers.set(line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim());
      else data.push(line);
    }
    const keyId = headers.get('key-id');
    if (keyId === undefined) throw new SigningKeyError('A MATRIX PRIVATE KEY has no Key-ID header');
    return keyOf(keyId, data.join(''));
  });
}

function keyOf(keyId: string, seed: string): SigningKey {
  const [algorithm, version, ...rest] = keyId.split(':');
  if (algorithm !== 'ed25519' || version === undefined || rest.length > 0 || !KEY_VERSION.test(version)) {
    throw new SigningKeyError('The signing key file has a key that is no ed25519 key with a version');
  }
  const bytes = decodeBase64(seed);
  if (bytes === null) throw new SigningKeyError(`The seed of ${keyId} is not base64`);
  return signingKeyFromSeed(keyId, bytes);
}
