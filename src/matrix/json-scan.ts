import { type Json, JsonError, MAX_JSON_DEPTH } from './json.ts';

export interface JsonLimits {
  /** Levels of nesting; default `MAX_JSON_DEPTH`. */
  readonly maxDepth?: number;
  /** Length of the text in bytes; no limit by default. */
  readonly maxBytes?: number;
  /** Names and values of any kind, counted before one is made; default `MAX_JSON_VALUES`. */
  readonly maxValues?: number;
  /** Only what canonical JSON knows: integers within ±(2^53−1), no fraction, no exponent, no `-0`. */
  readonly strictNumbers?: boolean;
  /** Numbers of any length and size; what is beyond a double becomes `Infinity`. */
  readonly anyNumbers?: boolean;
}

/**
 * For what holds events of others, a transaction or an answer: what is wrong with one of them costs that one.
 * Whoever looks at an event checks its own depth and numbers; nothing is to recurse into it before.
 */
export const HOLDS_EVENTS: JsonLimits = { maxDepth: 100_000, anyNumbers: true };

/**
 * How many names and values a text may hold by default. Each takes up to a hundred bytes once it is parsed, where
 * two sufficed on the wire (`{},{},…`): the length of a text says nothing of what it costs.
 */
export const MAX_JSON_VALUES = 10_000_000;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const MINUS = 0x2d;
const ZERO = 0x30;
/** No double needs more digits; a longer number is noise. */
const MAX_NUMBER_BYTES = 400;

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * One pass over JSON bytes, before anything is parsed: size, depth, count and the shape of numbers, which
 * `JSON.parse` hides (`1.0`, `-0`, 2^53+1). It does not find every syntax error; parsing does.
 * Throws `JsonError`.
 */
export function checkJson(bytes: Uint8Array, limits: JsonLimits = {}): void {
  if (limits.maxBytes !== undefined && bytes.length > limits.maxBytes) {
    throw new JsonError('too-large', `JSON of ${bytes.length} bytes where ${limits.maxBytes} are allowed`);
  }
  const maxDepth = limits.maxDepth ?? MAX_JSON_DEPTH;
  const maxValues = limits.maxValues ?? MAX_JSON_VALUES;
  const strict = limits.strictNumbers ?? false;
  const end = bytes.length;
  let depth = 0;
  let values = 0;
  let at = 0;
  while (at < end) {
    const byte = bytes[at] as number;
    if (beginsValue(byte) && ++values > maxValues) {
      throw new JsonError('too-large', `JSON of more than ${maxValues} values`);
    }
    if (byte === QUOTE) {
      at = endOfString(bytes, at);
    } else if (byte === 0x7b || byte === 0x5b) {
      if (++depth > maxDepth) throw new JsonError('too-deep', `JSON nested deeper than ${maxDepth} levels`);
      at++;
    } else if (byte === 0x7d || byte === 0x5d) {
      depth--;
      at++;
    } else if (byte === MINUS || isDigit(byte)) {
      const stop = endOfNumber(bytes, at);
      if (limits.anyNumbers !== true) checkNumber(bytes, at, stop, strict);
      at = stop;
    } else {
      at++;
    }
  }
}

/** The bytes as UTF-8 JSON, checked first. Throws `JsonError` and nothing else. */
export function parseJson(bytes: Uint8Array, limits: JsonLimits = {}): Json {
  checkJson(bytes, limits);
  try {
    return JSON.parse(utf8.decode(bytes)) as Json;
  } catch {
    throw new JsonError('not-json', 'Not JSON in UTF-8');
  }
}

/** Where the string that opens at `at` is over: just after its closing quote. */
export function endOfString(bytes: Uint8Array, at: number): number {
  for (let i = at + 1; i < bytes.length; i++) {
    const byte = bytes[i];
    if (byte === QUOTE) return i + 1;
    if (byte === BACKSLASH) i++;
  }
  throw new JsonError('not-json', 'A string is not closed');
}

function endOfNumber(bytes: Uint8Array, at: number): number {
  let i = at + 1;
  while (i < bytes.length && isNumberByte(bytes[i] as number)) i++;
  return i;
}

function checkNumber(bytes: Uint8Array, start: number, end: number, strict: boolean): void {
  const negative = bytes[start] === MINUS;
  const first = negative ? start + 1 : start;
  // Fifteen digits cannot leave the safe range: nearly all numbers are done here.
  if (end - first <= 15 && allDigits(bytes, first, end) && !(negative && bytes[first] === ZERO)) return;
  if (end - start > MAX_NUMBER_BYTES) throw new JsonError('bad-number', 'A number is too long');
  const text = String.fromCharCode(...bytes.subarray(start, end));
  const value = Number(text);
  if (!Number.isFinite(value)) throw new JsonError('bad-number', `${text} is not a number`);
  if (strict && (!/^-?\d+$/.test(text) || !Number.isSafeInteger(value) || Object.is(value, -0))) {
    throw new JsonError('bad-number', `${text} is not an integer within ±(2^53−1)`);
  }
}

function allDigits(bytes: Uint8Array, start: number, end: number): boolean {
  for (let i = start; i < end; i++) if (!isDigit(bytes[i] as number)) return false;
  return true;
}

/** Outside strings and numbers; the letters are those of `true`, `false` and `null` that occur once in each. */
function beginsValue(byte: number): boolean {
  switch (byte) {
    case QUOTE:
    case MINUS:
    case 0x7b:
    case 0x5b:
    case 0x66:
    case 0x6e:
    case 0x74:
      return true;
    default:
      return isDigit(byte);
  }
}

function isDigit(byte: number): boolean {
  return byte >= 0x30 && byte <= 0x39;
}

/** Digits, `+`, `-`, `.`, `e`, `E`. */
function isNumberByte(byte: number): boolean {
  return isDigit(byte) || byte === 0x2e || byte === MINUS || byte === 0x2b || (byte | 0x20) === 0x65;
}
