import { parseSigningKeys, type SigningKey } from '../../../src/matrix/signing-key.ts';

/** The seed of the specification's cryptographic test vectors (server `domain`, key `ed25519:1`). */
export const SPEC_SEED = 'YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1';

export const SPEC_KEY = parseSigningKeys(`ed25519 1 ${SPEC_SEED}\n`)[0] as SigningKey;
