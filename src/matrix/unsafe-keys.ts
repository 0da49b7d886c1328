/** The field's prime 2^255 − 19, little-endian (RFC 8032). */
const FIELD_PRIME = Buffer.from('edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f', 'hex');

/** The y coordinates of the eight points of small order: 0, 1, −1 and two of order eight. */
const SMALL_ORDER_Y: ReadonlySet<string> = new Set([
  '0000000000000000000000000000000000000000000000000000000000000000',
  '0100000000000000000000000000000000000000000000000000000000000000',
  'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05',
  'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a',
]);

/** Its private half was published: the key that element-hq/ess-helm shipped (CVE-2026-24044, ELEMENTSEC-2025-1670). */
const PUBLISHED_KEYS: ReadonlySet<string> = new Set([
  Buffer.from('l/O9hxMVKB6Lg+3Hqf0FQQZhVESQcMzbPN1Cz2nM3og', 'base64').toString('hex'),
]);

/**
 * Whether a raw Ed25519 public key must not be trusted: it is of small order (anybody can sign for it), not in
 * its one encoding, or its private half is publicly known. The key is 32 bytes long.
 */
export function isUnsafePublicKey(publicKey: Uint8Array): boolean {
  const y = Buffer.from(publicKey);
  y[31] = (y[31] as number) & 0x7f;
  return (
    !isBelow(y, FIELD_PRIME) ||
    SMALL_ORDER_Y.has(y.toString('hex')) ||
    PUBLISHED_KEYS.has(Buffer.from(publicKey).toString('hex'))
  );
}

/** Compares little-endian numbers of the same length. */
export function isBelow(number: Uint8Array, limit: Uint8Array): boolean {
  for (let i = limit.length - 1; i >= 0; i--) {
    const difference = (number[i] as number) - (limit[i] as number);
    if (difference !== 0) return difference < 0;
  }
  return false;
}
