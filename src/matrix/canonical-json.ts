import { type Json, JsonError, type JsonObject, MAX_JSON_DEPTH } from './json.ts';

export interface CanonicalOptions {
  /**
   * Room versions 1–5 have events with floats. They are written as Python's `repr` writes them, since that
   * is what was signed; integral values are written as integers.
   */
  readonly allowFloats?: boolean;
  readonly maxDepth?: number;
}

const SURROGATE = /[\ud800-\udfff]/;

/**
 * Canonical JSON (specification, appendix "Canonical JSON"): the shortest encoding, keys by code point.
 * Throws `JsonError` on floats, `-0`, integers beyond ±(2^53−1), lone surrogates, too deep a nesting and
 * values that are not JSON.
 */
export function canonicalJson(value: Json, options: CanonicalOptions = {}): string {
  return write(value, options.allowFloats ?? false, options.maxDepth ?? MAX_JSON_DEPTH);
}

/** Recursion ends at `levels`, which is small. */
function write(value: Json, floats: boolean, levels: number): string {
  switch (typeof value) {
    case 'string':
      return writeString(value);
    case 'number':
      return writeNumber(value, floats);
    case 'boolean':
      return value ? 'true' : 'false';
    case 'object':
      if (value === null) return 'null';
      if (levels === 0) throw new JsonError('too-deep', 'Nested too deep');
      return Array.isArray(value)
        ? writeArray(value, floats, levels - 1)
        : writeObject(value, floats, levels - 1);
    default:
      throw new JsonError('not-json', `A value of type ${typeof value} is not JSON`);
  }
}

function writeArray(items: readonly Json[], floats: boolean, levels: number): string {
  let text = '[';
  for (let i = 0; i < items.length; i++) {
    if (i > 0) text += ',';
    text += write(items[i] as Json, floats, levels);
  }
  return `${text}]`;
}

function writeObject(object: JsonObject, floats: boolean, levels: number): string {
  let text = '{';
  for (const key of sortedKeys(object)) {
    if (text.length > 1) text += ',';
    text += `${writeString(key)}:${write(object[key] as Json, floats, levels)}`;
  }
  return `${text}}`;
}

/** UTF-16 order is code point order as long as there are no surrogates; UTF-8 order always is. */
function sortedKeys(object: JsonObject): string[] {
  const keys = Object.keys(object).sort();
  if (!keys.some((key) => SURROGATE.test(key))) return keys;
  return keys
    .map((key) => ({ key, utf8: Buffer.from(key) }))
    .sort((a, b) => Buffer.compare(a.utf8, b.utf8))
    .map(({ key }) => key);
}

function writeString(text: string): string {
  if (!text.isWellFormed()) throw new JsonError('bad-string', 'A string has a lone surrogate');
  return JSON.stringify(text);
}

function writeNumber(value: number, floats: boolean): string {
  if (Number.isSafeInteger(value) && !Object.is(value, -0)) return String(value);
  if (!floats || !Number.isFinite(value)) {
    throw new JsonError('bad-number', `${String(value)} is not an integer within ±(2^53−1)`);
  }
  return Number.isInteger(value) ? BigInt(value).toString() : pythonFloat(value);
}

/** Exponents below 1e-4 and from 1e16 on, with two digits at least. */
function pythonFloat(value: number): string {
  const size = Math.abs(value);
  if (size >= 1e-4 && size < 1e16) return String(value);
  return value.toExponential().replace(/e([+-])(\d)$/, 'e$10$2');
}
