import { randomBytes, randomInt } from 'node:crypto';

const ALPHANUMERIC = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';

/** Randomness, passed in, so that a failing run can be repeated. */
export interface Random {
  bytes(count: number): Uint8Array;
  /** An integer in `0 ≤ n < limit`. */
  below(limit: number): number;
}

export const systemRandom: Random = {
  bytes: (count) => randomBytes(count),
  below: (limit) => randomInt(limit),
};

/** `length` characters of `[0-9A-Za-z]`: peek IDs, request IDs, transaction IDs. */
export function alphanumeric(random: Random, length: number): string {
  let text = '';
  for (let i = 0; i < length; i++) text += ALPHANUMERIC[random.below(ALPHANUMERIC.length)];
  return text;
}
