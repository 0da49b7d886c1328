import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type Json, JsonError, type JsonFault } from '../../../src/matrix/json.ts';
import { checkJson, type JsonLimits, parseJson } from '../../../src/matrix/json-scan.ts';

const bytes = (text: string) => new TextEncoder().encode(text);

function faultOf(text: string | Uint8Array, limits?: JsonLimits): JsonFault | null {
  try {
    parseJson(typeof text === 'string' ? bytes(text) : text, limits);
    return null;
  } catch (error) {
    if (error instanceof JsonError) return error.kind;
    throw error;
  }
}

const nested = (depth: number) => '['.repeat(depth) + ']'.repeat(depth);

test('depth 10/100/5 000/32 000 nesting ⇒ 100 levels pass, deeper ones are refused before parsing', () => {
  expect(faultOf(nested(10))).toBeNull();
  expect(faultOf(nested(100))).toBeNull();
  expect(faultOf(nested(101))).toBe('too-deep');
  expect(faultOf(nested(5_000))).toBe('too-deep');
  expect(faultOf(nested(32_000))).toBe('too-deep');
  expect(faultOf('{"a":'.repeat(32_000))).toBe('too-deep');
  expect(faultOf(nested(11), { maxDepth: 10 })).toBe('too-deep');
});

test('brackets in strings do not count as depth', () => {
  expect(parseJson(bytes(JSON.stringify({ a: `"\\${'['.repeat(500)}` })))).toEqual({
    a: `"\\${'['.repeat(500)}`,
  });
});

test.each([
  '1.0',
  '1.5',
  '1e3',
  '1E3',
  '-0',
  '-0.0',
  '9007199254740992',
  '-9007199254740992',
  '9007199254740993',
  '123456789012345678901234567890',
])('float, `1.0`, 2⁵³, −0: %s ⇒ refused where numbers are strict, else read', (number) => {
  expect(faultOf(`{"a":${number}}`, { strictNumbers: true })).toBe('bad-number');
  expect(faultOf(number, { strictNumbers: true })).toBe('bad-number');
  expect(faultOf(`[${number}]`)).toBeNull();
});

test.each(['0', '7', '-1', '999999999999999', '9007199254740991', '-9007199254740991'])(
  'the integer %s passes the strict scan',
  (number) => {
    expect(parseJson(bytes(`[${number}]`), { strictNumbers: true })).toEqual([Number(number)]);
  },
);

test('1e400 ⇒ refused always: it would become Infinity', () => {
  expect(faultOf('1e400')).toBe('bad-number');
  expect(faultOf('[-1e400]')).toBe('bad-number');
  expect(faultOf('1'.repeat(1_000_000))).toBe('bad-number');
});

test('a float in a string is a string', () => {
  expect(faultOf('{"1.5":"-0, 1e400"}', { strictNumbers: true })).toBeNull();
});

test('duplicate keys ⇒ the last one counts, as in homeservers', () => {
  expect(parseJson(bytes('{"a":1,"a":2}'))).toEqual({ a: 2 });
});

test('size is bounded before anything else', () => {
  expect(faultOf('[1]', { maxBytes: 3 })).toBeNull();
  expect(faultOf('[12]', { maxBytes: 3 })).toBe('too-large');
});

test('names and values are counted before one of them is made', () => {
  const text = '{"a":[1,-2.5,"x",true,false,null,{},[]],"b\\"[{":0}';
  expect(faultOf(text, { maxValues: 13 })).toBeNull();
  expect(faultOf(text, { maxValues: 12 })).toBe('too-large');
});

test('many small values in few bytes ⇒ refused before parsing, by default too', () => {
  for (const item of ['{}', '0', '""', 'null']) {
    expect(faultOf(`[${`${item},`.repeat(1000)}0]`, { maxValues: 1000 })).toBe('too-large');
  }
  expect(() => checkJson(Buffer.alloc(31_000_000, '{},'))).toThrow(JsonError);
  expect(() => checkJson(Buffer.alloc(12_000_000, '{},'))).not.toThrow();
});

test.each([
  '',
  '{',
  '"',
  '"\\',
  '{"a"}',
  '[1,]',
  'nul',
  '01',
  '-',
  '\ufeff{}',
  '{}{}',
  "{'a':1}",
  '}{',
  '][',
])('not JSON: %j', (text) => {
  expect(faultOf(text)).toMatch(/^(not-json|bad-number)$/);
});

test('invalid UTF-8 is not JSON', () => {
  expect(faultOf(Uint8Array.of(0x22, 0xff, 0x22))).toBe('not-json');
  expect(faultOf(Uint8Array.of(0x22, 0xed, 0xa0, 0x80, 0x22))).toBe('not-json');
});

test('`__proto__` survives as an own member and reaches no prototype', () => {
  const parsed = parseJson(bytes('{"__proto__":{"polluted":1}}')) as Record<string, Json>;
  expect(Object.hasOwn(parsed, '__proto__')).toBe(true);
  expect(({} as Record<string, unknown>).polluted).toBeUndefined();
});

test('whatever the bytes are, it parses them or throws JsonError', () => {
  const soup = fc
    .array(fc.constantFrom(...'{}[],:"\\-+.eE0129 tfn'), { maxLength: 40 })
    .map((a) => a.join(''));
  fc.assert(
    fc.property(soup, fc.boolean(), (text, strictNumbers) => {
      faultOf(text, { strictNumbers });
    }),
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 60 }), (raw) => {
      faultOf(raw);
    }),
  );
});

test('what the scan lets through means what it meant', () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      const text = JSON.stringify(value);
      expect(parseJson(bytes(text))).toEqual(JSON.parse(text));
    }),
  );
});

test('a scan alone throws nothing but JsonError', () => {
  expect(() => checkJson(bytes(nested(101)))).toThrow(JsonError);
});
