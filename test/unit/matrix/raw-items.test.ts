import fc from 'fast-check';
import { expect, test } from 'vitest';
import { JsonError } from '../../../src/matrix/json.ts';
import {
  arrayItems,
  type ByteRange,
  eachItem,
  listedItems,
  MemberNames,
  memberSteps,
  topLevelMembers,
} from '../../../src/matrix/raw-items.ts';

const bytes = (text: string) => new TextEncoder().encode(text);
const cut = (all: Uint8Array, { start, end }: ByteRange) =>
  new TextDecoder().decode(all.subarray(start, end));

test('members keep their bytes as sent', () => {
  const all = bytes(' { "a" : 1.0 ,"b\\u0041":[ {"x":"}]"} ], "é":"\\"" ,"n":null} ');
  const members = [...topLevelMembers(all)].map(([key, range]) => [key, cut(all, range)]);
  expect(members).toEqual([
    ['a', '1.0'],
    ['bA', '[ {"x":"}]"} ]'],
    ['é', '"\\""'],
    ['n', 'null'],
  ]);
  expect(cut(all, { start: topLevelMembers(all).get('bA')?.keyStart ?? 0, end: all.length })).toMatch(
    /^"b\\u/,
  );
});

test('items of an array inside of an object', () => {
  const all = bytes('{"pdus":[{"a":[1,2]}, {} ,"x" ],"edus":[]}');
  const members = topLevelMembers(all);
  const pdus = members.get('pdus');
  const edus = members.get('edus');
  expect(pdus && arrayItems(all, pdus).map((item) => cut(all, item))).toEqual(['{"a":[1,2]}', '{}', '"x"']);
  expect(edus && arrayItems(all, edus)).toEqual([]);
});

test('duplicate keys ⇒ the last one counts', () => {
  const all = bytes('{"a":1,"a":[2]}');
  const range = topLevelMembers(all).get('a');
  expect(range && cut(all, range)).toBe('[2]');
});

test('`__proto__` is a member like any other', () => {
  expect([...topLevelMembers(bytes('{"__proto__":1,"constructor":2}')).keys()]).toEqual([
    '__proto__',
    'constructor',
  ]);
});

test('32 000 nesting is walked without recursion', () => {
  const deep = '['.repeat(32_000) + ']'.repeat(32_000);
  const all = bytes(`{"a":${deep}}`);
  const range = topLevelMembers(all).get('a');
  expect(range && range.end - range.start).toBe(64_000);
});

test.each([
  '',
  '[]',
  '{',
  '{"a"',
  '{"a":',
  '{"a":1',
  '{"a":1,',
  '{"a":1,}',
  '{a:1}',
  '{"a":,}',
  '{} x',
  '{"a":}',
  '{"\\x":1}',
])('no object: %j', (text) => {
  expect(() => topLevelMembers(bytes(text))).toThrow(JsonError);
});

test.each(['', '{}', '[', '[1', '[1,', '[,]', '[1,]', '[] 1'])('no array: %j', (text) => {
  expect(() => arrayItems(bytes(text))).toThrow(JsonError);
});

test('an array may not run out of its range', () => {
  expect(() => arrayItems(bytes('[1,2,3]'), { start: 0, end: 4 })).toThrow(JsonError);
});

test('put together again they are what JSON.parse sees', () => {
  fc.assert(
    fc.property(fc.dictionary(fc.string(), fc.jsonValue()), fc.constantFrom(0, 1, 3), (object, blanks) => {
      const text = JSON.stringify(object, null, blanks);
      const all = bytes(text);
      const entries = [...topLevelMembers(all)].map(([key, range]) => [key, JSON.parse(cut(all, range))]);
      expect(Object.fromEntries(entries)).toEqual(JSON.parse(text));
    }),
  );
  fc.assert(
    fc.property(fc.array(fc.jsonValue()), fc.constantFrom(0, 2), (array, blanks) => {
      const all = bytes(JSON.stringify(array, null, blanks));
      expect(arrayItems(all).map((item) => JSON.parse(cut(all, item)))).toEqual(
        JSON.parse(JSON.stringify(array)),
      );
    }),
  );
});

test('the items of all lists of an object, one at a time, whatever stands between them', () => {
  const all = bytes(' {"n":1,"a":[ {"x":"]"} , 2] ,"o":{"a":[9]},"e":[],"b\\u0041":["é"]} ');
  const found = [...listedItems(all)].map((item) => [item.list, cut(all, item)]);
  expect(found).toEqual([
    ['a', '{"x":"]"}'],
    ['a', '2'],
    ['bA', '"é"'],
  ]);
});

test('listed items agree with those of a parsed object', () => {
  const lists = fc.dictionary(fc.string(), fc.oneof(fc.array(fc.jsonValue()), fc.jsonValue()));
  fc.assert(
    fc.property(lists, fc.nat(2), (object, indent) => {
      const all = bytes(JSON.stringify(object, null, indent));
      const expected = Object.entries(JSON.parse(new TextDecoder().decode(all))).flatMap(([list, value]) =>
        Array.isArray(value) ? value.map((item) => [list, item]) : [],
      );
      expect([...listedItems(all)].map((item) => [item.list, JSON.parse(cut(all, item))])).toEqual(expected);
    }),
  );
});

test.each([
  '',
  '[]',
  '{"a":[1',
  '{"a":[1 2]}',
  '{"a":1 "b":2}',
  '{"a" 1}',
  '{1:[]}',
  '{"a":[]} x',
  '{"a":[1,]',
])('listed items of %j ⇒ JsonError', (text) => {
  expect(() => [...listedItems(bytes(text))]).toThrow(JsonError);
});

test('members looked for by name are those of the object, however their names are written', () => {
  const names = new MemberNames('type', 'é', 'none');
  const all = bytes('{"types":1,"a":{"type":2},"\\u0074ype":3,"\\u00e9":4}');
  expect(names.find(all, { start: 0, end: all.length }).map((range) => range && cut(all, range))).toEqual([
    '3',
    '4',
    undefined,
  ]);
  fc.assert(
    fc.property(fc.dictionary(fc.string(), fc.jsonValue()), fc.string(), (object, name) => {
      const text = bytes(JSON.stringify(object));
      const [found] = new MemberNames(name).find(text, { start: 0, end: text.length });
      expect(found).toEqual(topLevelMembers(text).get(name));
    }),
  );
});

test('items one at a time are those found at once', () => {
  fc.assert(
    fc.property(fc.array(fc.jsonValue()), fc.nat(2), (list, indent) => {
      const all = bytes(` ${JSON.stringify(list, null, indent)} `);
      const range = { start: 0, end: all.length };
      expect([...eachItem(all, range)].map(({ start, end }) => ({ start, end }))).toEqual(
        arrayItems(all, range),
      );
    }),
  );
  for (const text of ['{}', '[1', '[1 2]', '[1] x', '']) {
    const all = bytes(text);
    expect(() => [...eachItem(all, { start: 0, end: all.length })], text).toThrow(JsonError);
  }
});

test('members step by step: the same as at once, and null after each item of a list', () => {
  const all = bytes(' { "a" : [ {"x":"}]"} ,2,[] ] ,"b\\u0041":{"c":[1]}, "n":[] } ');
  const steps = [...memberSteps(all)];
  const named = steps.filter((step) => step !== null).map(({ name, ...range }) => [name, range] as const);
  expect(new Map(named)).toEqual(topLevelMembers(all));
  expect(steps.map((step) => step?.name ?? null)).toEqual([null, null, null, 'a', 'bA', 'n']);
});

test.each(['', '[]', '{"a":1', '{"a":[1,', '{"a" 1}', '{"a":1}x', '{,}', 'null'])(
  'members step by step: %j ⇒ JsonError',
  (text) => {
    expect(() => [...memberSteps(bytes(text))]).toThrow(JsonError);
  },
);
