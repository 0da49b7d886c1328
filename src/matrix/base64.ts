const STANDARD = /^[A-Za-z0-9+/]*$/;
const URL_SAFE = /^[A-Za-z0-9_-]*$/;

/** Unpadded standard base64, as signatures, keys and hashes are written. */
export function encodeBase64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('base64').replace(/=+$/, '');
}

/** Unpadded URL-safe base64, as event IDs from room version 4 on are written. */
export function encodeBase64Url(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('base64url');
}

/** Decodes standard base64, with padding or without; null for any other character or a wrong length. */
export function decodeBase64(text: string): Uint8Array | null {
  return decode(text, 'base64', STANDARD);
}

/** Decodes URL-safe base64, with padding or without; null for any other character or a wrong length. */
export function decodeBase64Url(text: string): Uint8Array | null {
  return decode(text, 'base64url', URL_SAFE);
}

/** Spare bits in the last character may be anything, as everywhere in Matrix (the specification's test seed has some). */
function decode(text: string, encoding: 'base64' | 'base64url', alphabet: RegExp): Uint8Array | null {
  const padding = text.endsWith('==') ? 2 : text.endsWith('=') ? 1 : 0;
  if (padding > 0 && text.length % 4 !== 0) return null;
  const body = padding > 0 ? text.slice(0, -padding) : text;
  return alphabet.test(body) && body.length % 4 !== 1 ? Buffer.from(body, encoding) : null;
}
