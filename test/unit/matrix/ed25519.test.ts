import fc from 'fast-check';
import nacl from 'tweetnacl';
import { expect, test } from 'vitest';
import { decodeBase64 } from '../../../src/matrix/base64.ts';
import { verifySignature } from '../../../src/matrix/ed25519.ts';
import { signingKeyFromSeed } from '../../../src/matrix/signing-key.ts';
import { isUnsafePublicKey } from '../../../src/matrix/unsafe-keys.ts';

const P = 2n ** 255n - 19n;
const ORDER = 2n ** 252n + 27742317777372353535851937790883648493n;

const littleEndian = (value: bigint) =>
  Uint8Array.from({ length: 32 }, (_, i) => Number((value >> BigInt(8 * i)) & 0xffn));
const fromLittleEndian = (bytes: Uint8Array) =>
  bytes.reduceRight((sum, byte) => (sum << 8n) | BigInt(byte), 0n);

const seed = fc.uint8Array({ minLength: 32, maxLength: 32 });

test('what tweetnacl signs verifies, and tweetnacl verifies what is signed here', () => {
  fc.assert(
    fc.property(seed, fc.uint8Array(), (bytes, message) => {
      const pair = nacl.sign.keyPair.fromSeed(bytes);
      const key = signingKeyFromSeed('ed25519:1', bytes);
      const signature = nacl.sign.detached(message, pair.secretKey);
      expect(Buffer.from(key.sign(message))).toEqual(Buffer.from(signature));
      expect(verifySignature(pair.publicKey, message, signature)).toBe(true);
    }),
    { numRuns: 20 },
  );
});

test('a flipped bit anywhere ⇒ both say no', () => {
  fc.assert(
    fc.property(seed, fc.nat(767), (bytes, bit) => {
      const pair = nacl.sign.keyPair.fromSeed(bytes);
      const message = Uint8Array.from(bytes);
      const signature = nacl.sign.detached(message, pair.secretKey);
      const target = [signature, message][bit < 512 ? 0 : 1] as Uint8Array;
      const at = bit < 512 ? bit : bit - 512;
      target[at >> 3] = (target[at >> 3] as number) ^ (1 << (at & 7));
      expect(verifySignature(pair.publicKey, message, signature)).toBe(false);
      expect(nacl.sign.detached.verify(message, signature, pair.publicKey)).toBe(false);
    }),
    { numRuns: 20 },
  );
});

test('a malleable signature, S + L, is refused', () => {
  const pair = nacl.sign.keyPair.fromSeed(new Uint8Array(32).fill(7));
  const message = Buffer.from('message');
  const signature = nacl.sign.detached(message, pair.secretKey);
  expect(verifySignature(pair.publicKey, message, signature)).toBe(true);
  const second = Uint8Array.from(signature);
  second.set(littleEndian(fromLittleEndian(signature.subarray(32)) + ORDER), 32);
  expect(verifySignature(pair.publicKey, message, second)).toBe(false);
});

/** The y of every point whose order divides 8: 1, −1, 0 (x² = −1), and those with x = ±iy (order 8). */
function smallOrderY(): bigint[] {
  const power = (base: bigint, exponent: bigint): bigint => {
    let [result, square] = [1n, base % P];
    for (let e = exponent; e > 0n; e >>= 1n) {
      if (e & 1n) result = (result * square) % P;
      square = (square * square) % P;
    }
    return result;
  };
  const inverse = (value: bigint) => power(value, P - 2n);
  const root = (value: bigint): bigint | null => {
    const i = power(2n, (P - 1n) / 4n);
    const candidate = power(value, (P + 3n) / 8n);
    return [candidate, (candidate * i) % P].find((x) => (x * x - value) % P === 0n) ?? null;
  };
  // A point of order 8 doubles to one with y = 0, so y² = −x² there; the curve −x² + y² = 1 + d·x²·y² then
  // says d·y⁴ + 2·y² − 1 = 0.
  const d = (((-121665n * inverse(121666n)) % P) + P) % P;
  const discriminant = root((1n + d) % P) ?? 0n;
  const found = new Set<bigint>([0n, 1n, P - 1n]);
  for (const sign of [1n, -1n]) {
    const square = ((((-1n + sign * discriminant) * inverse(d)) % P) + P) % P;
    const y = root(square);
    if (y !== null) found.add(y).add((P - y) % P);
  }
  return [...found];
}

test('small-order key ⇒ refused, whatever it "signed"', () => {
  const ys = smallOrderY();
  expect(ys).toHaveLength(5);
  for (const y of ys) {
    for (const signBit of [0n, 1n << 255n]) {
      const key = littleEndian(y + signBit);
      expect(isUnsafePublicKey(key)).toBe(true);
      // With the identity as R and S = 0 such a key "verifies" many messages.
      const forged = new Uint8Array(64);
      forged[0] = 1;
      for (let n = 0; n < 8; n++) expect(verifySignature(key, Uint8Array.of(n), forged)).toBe(false);
    }
  }
});

test('a key with two encodings (y ≥ p) is refused', () => {
  for (let n = 0n; n < 19n; n++) expect(isUnsafePublicKey(littleEndian(P + n))).toBe(true);
  expect(isUnsafePublicKey(littleEndian(3n))).toBe(false);
});

test('known insecure key ⇒ refused', () => {
  const published = decodeBase64('l/O9hxMVKB6Lg+3Hqf0FQQZhVESQcMzbPN1Cz2nM3og');
  expect(published && isUnsafePublicKey(published)).toBe(true);
});

test('wrong lengths and bytes that are no point ⇒ false, no error', () => {
  const pair = nacl.sign.keyPair.fromSeed(new Uint8Array(32).fill(7));
  const message = new Uint8Array(3);
  const signature = nacl.sign.detached(message, pair.secretKey);
  expect(verifySignature(pair.publicKey.subarray(1), message, signature)).toBe(false);
  expect(verifySignature(pair.publicKey, message, signature.subarray(1))).toBe(false);
  expect(verifySignature(new Uint8Array(0), message, new Uint8Array(0))).toBe(false);
  expect(verifySignature(littleEndian(2n), message, signature)).toBe(false);
  expect(verifySignature(littleEndian(7n), message, signature)).toBe(false);
});

test('more keys than are kept still verify', () => {
  const message = new Uint8Array(1);
  const first = nacl.sign.keyPair.fromSeed(new Uint8Array(32).fill(1));
  const signature = nacl.sign.detached(message, first.secretKey);
  expect(verifySignature(first.publicKey, message, signature)).toBe(true);
  for (let n = 0; n < 1100; n++) verifySignature(littleEndian(BigInt(n)), message, signature);
  expect(verifySignature(first.publicKey, message, signature)).toBe(true);
});
