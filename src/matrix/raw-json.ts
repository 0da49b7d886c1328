import { JsonError } from './json.ts';
import { endOfString } from './json-scan.ts';

// One's way through the bytes of valid JSON, which nobody has parsed.

export const COMMA = 0x2c;
export const COLON = 0x3a;
export const QUOTE = 0x22;
export const BACKSLASH = 0x5c;

/** What a byte means where only the end of a value is looked for. */
const OTHER = 0;
const IN_STRING = 1;
const OPENS = 2;
const CLOSES = 3;
const MEANING = meanings();

function meanings(): Uint8Array {
  const table = new Uint8Array(256).fill(OTHER);
  table[QUOTE] = IN_STRING;
  for (const open of '{[') table[open.charCodeAt(0)] = OPENS;
  for (const close of '}]') table[close.charCodeAt(0)] = CLOSES;
  return table;
}

/** Where the value that begins at `start` ends. Throws `JsonError` where it does not. */
export function endOfValue(bytes: Uint8Array, start: number): number {
  const first = MEANING[bytes[start] as number];
  if (first === IN_STRING) return endOfString(bytes, start);
  return first === OPENS ? endOfNested(bytes, start) : endOfPlain(bytes, start);
}

/** Hot: answers of megabytes are gone through here, a byte at a time. */
function endOfNested(bytes: Uint8Array, start: number): number {
  const { length } = bytes;
  let depth = 1;
  for (let at = start + 1; at < length; at++) {
    const meaning = MEANING[bytes[at] as number];
    if (meaning === OTHER) continue;
    if (meaning === IN_STRING) {
      for (at++; bytes[at] !== QUOTE; at++) {
        if (bytes[at] === BACKSLASH) at++;
        if (at >= length) throw malformed();
      }
    } else if (meaning === OPENS) depth++;
    else if (--depth === 0) return at + 1;
  }
  throw malformed();
}

/** A number, `true`, `false` or `null`. */
function endOfPlain(bytes: Uint8Array, start: number): number {
  let at = start;
  for (; at < bytes.length; at++) {
    const byte = bytes[at] as number;
    if (MEANING[byte] === CLOSES || byte === COMMA || isBlank(byte)) break;
    if (MEANING[byte] !== OTHER) throw malformed();
  }
  if (at === start || at === bytes.length) throw malformed();
  return at;
}

/** The key whose quotes are in this stretch. */
export function keyText(bytes: Uint8Array, start: number, end: number): string {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start).toString('utf8');
  try {
    return String(JSON.parse(text));
  } catch {
    throw malformed();
  }
}

/** The first place from `at` on that is no blank. */
export function skipBlanks(bytes: Uint8Array, at: number): number {
  let i = at;
  while (i < bytes.length && isBlank(bytes[i] as number)) i++;
  return i;
}

function isBlank(byte: number): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;
}

export function malformed(): JsonError {
  return new JsonError('not-json', 'Not the JSON that was expected');
}
