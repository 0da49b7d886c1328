import fc from 'fast-check';
import { expect, test } from 'vitest';
import { canonicalJson } from '../../../src/matrix/canonical-json.ts';
import { type Json, JsonError, type JsonFault } from '../../../src/matrix/json.ts';

function faultOf(value: Json): JsonFault | null {
  try {
    canonicalJson(value);
    return null;
  } catch (error) {
    if (error instanceof JsonError) return error.kind;
    throw error;
  }
}

test.each([
  ['{}', '{}'],
  ['{"one": 1, "two": "Two"}', '{"one":1,"two":"Two"}'],
  ['{"b": "2", "a": "1"}', '{"a":"1","b":"2"}'],
  ['{"b":"2","a":"1"}', '{"a":"1","b":"2"}'],
  [
    `{"auth": {"success": true, "mxid": "@john.doe:example.com", "profile": {"display_name": "John Doe",
      "three_pids": [{"medium": "email", "address": "john.doe@example.org"},
                     {"medium": "msisdn", "address": "123456789"}]}}}`,
    '{"auth":{"mxid":"@john.doe:example.com","profile":{"display_name":"John Doe","three_pids":' +
      '[{"address":"john.doe@example.org","medium":"email"},{"address":"123456789","medium":"msisdn"}]},' +
      '"success":true}}',
  ],
  ['{"a": "日本語"}', '{"a":"日本語"}'],
  ['{"本": 2, "日": 1}', '{"日":1,"本":2}'],
  ['{"a": "\\u65E5"}', '{"a":"日"}'],
  ['{"a": null}', '{"a":null}'],
])('the specification: %s becomes %s', (text, canonical) => {
  expect(canonicalJson(JSON.parse(text))).toBe(canonical);
});

test('the specification, tolerant of floats: -0 and 1e10 become integers', () => {
  expect(canonicalJson(JSON.parse('{"a": -0, "b": 1e10}'), { allowFloats: true })).toBe(
    '{"a":0,"b":10000000000}',
  );
});

test('keys stand in code point order, not in that of UTF-16', () => {
  expect(canonicalJson({ '😀': 2, '\uff61': 1, z: 0 })).toBe('{"z":0,"\uff61":1,"😀":2}');
  expect(canonicalJson({ 10: 'a', 9: 'b', 1: 'c' })).toBe('{"1":"c","10":"a","9":"b"}');
});

test('float, `1.0`, 2⁵³, −0, 1e400 ⇒ no canonical JSON', () => {
  expect(faultOf(1.5)).toBe('bad-number');
  expect(faultOf(2 ** 53)).toBe('bad-number');
  expect(faultOf(-(2 ** 53))).toBe('bad-number');
  expect(faultOf(-0)).toBe('bad-number');
  expect(faultOf(Number.POSITIVE_INFINITY)).toBe('bad-number');
  expect(faultOf(Number.NaN)).toBe('bad-number');
  expect(faultOf({ a: [{ b: 0.1 }] })).toBe('bad-number');
  expect(canonicalJson([2 ** 53 - 1, -(2 ** 53 - 1)])).toBe('[9007199254740991,-9007199254740991]');
});

test('Infinity has no canonical form even where floats are allowed', () => {
  expect(() => canonicalJson(Number.POSITIVE_INFINITY, { allowFloats: true })).toThrow(JsonError);
});

test.each([
  [1.5, '1.5'],
  [-0.1, '-0.1'],
  [0.0001, '0.0001'],
  [0.00001, '1e-05'],
  [1.5e-7, '1.5e-07'],
  [1.25e-300, '1.25e-300'],
  [1e20, '100000000000000000000'],
])('where floats are allowed %d is written as Python writes it', (value, text) => {
  expect(canonicalJson(value, { allowFloats: true })).toBe(text);
});

test('a lone surrogate, in a key or a value, has no canonical form', () => {
  expect(faultOf('\ud800')).toBe('bad-string');
  expect(faultOf({ '\udc00a': 1 })).toBe('bad-string');
  expect(faultOf(['😀'])).toBeNull();
});

test('depth 10/100/5 000/32 000 nesting ⇒ an error of ours, never a stack overflow', () => {
  const nest = (depth: number) => {
    let value: Json = [];
    for (let i = 1; i < depth; i++) value = i % 2 === 0 ? [value] : { a: value };
    return value;
  };
  expect(faultOf(nest(10))).toBeNull();
  expect(faultOf(nest(100))).toBeNull();
  expect(faultOf(nest(101))).toBe('too-deep');
  expect(faultOf(nest(5_000))).toBe('too-deep');
  expect(faultOf(nest(32_000))).toBe('too-deep');
});

test('`__proto__`, `constructor`, `toJSON`, `hasOwnProperty` are keys like any other', () => {
  const text = '{"__proto__":{"a":1},"constructor":2,"hasOwnProperty":3,"toJSON":4}';
  expect(canonicalJson(JSON.parse(text))).toBe(text);
});

test('values that are not JSON are refused', () => {
  expect(faultOf(undefined as unknown as Json)).toBe('not-json');
  expect(faultOf({ toJSON: (() => 1) as unknown as Json })).toBe('not-json');
});

/** Another way to the same text: every member as its own `JSON.stringify`, sorted as code point arrays. */
function byCodePoints(value: Json): string {
  if (Array.isArray(value)) return `[${value.map(byCodePoints).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const points = (text: string) => Array.from(text, (character) => character.codePointAt(0) ?? 0);
  const members = Object.entries(value).sort(([a], [b]) => {
    const [left, right] = [points(a), points(b)];
    for (let i = 0; i < Math.min(left.length, right.length); i++) {
      if (left[i] !== right[i]) return (left[i] ?? 0) - (right[i] ?? 0);
    }
    return left.length - right.length;
  });
  return `{${members.map(([key, item]) => `${JSON.stringify(key)}:${byCodePoints(item)}`).join(',')}}`;
}

const text = fc.string({
  unit: fc.constantFrom('a', 'B', '"', '\\', '\n', '\u0000', 'é', '\uff61', '\ue000', '😀', '𐀀'),
});
const { json } = fc.letrec<{ json: Json }>((tie) => ({
  json: fc.oneof(
    { maxDepth: 4 },
    text,
    fc.maxSafeInteger(),
    fc.boolean(),
    fc.constant(null),
    fc.array(tie('json'), { maxLength: 4 }),
    fc.dictionary(text, tie('json'), { maxKeys: 6 }),
  ),
}));

test('it agrees with an independent writer and can be read back', () => {
  fc.assert(
    fc.property(
      json.filter((value) => !JSON.stringify(value).includes('-0')),
      (value) => {
        const canonical = canonicalJson(value);
        expect(canonical).toBe(byCodePoints(value));
        expect(canonicalJson(JSON.parse(canonical))).toBe(canonical);
      },
    ),
  );
});
