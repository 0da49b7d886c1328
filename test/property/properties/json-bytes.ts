import { isDeepStrictEqual } from 'node:util';
import { type Json, JsonError, type JsonObject } from '../../../src/matrix/json.ts';
import { checkJson, parseJson } from '../../../src/matrix/json-scan.ts';
import {
  arrayItems,
  listedItems,
  membersInto,
  soleObject,
  topLevelMembers,
} from '../../../src/matrix/raw-items.ts';
import { type Maker, made } from '../made.ts';
import { orError, property, same } from '../property.ts';

const BLANKS = ['', '', '', ' ', '\n', '\t', '\r', '  '];

/** JSON with blanks wherever they may stand, and characters escaped that need not be. */
function loosely(maker: Maker, value: Json): string {
  const blank = () => maker.of(BLANKS);
  if (typeof value === 'string') {
    return maker.percent(80)
      ? JSON.stringify(value)
      : `"${Array.from(value, (c) => escaped(maker, c)).join('')}"`;
  }
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  if (Array.isArray(value))
    return `[${blank()}${value.map((item) => loosely(maker, item) + blank()).join(`,${blank()}`)}]`;
  const members = Object.entries(value).map(
    ([key, member]) => `${loosely(maker, key)}${blank()}:${blank()}${loosely(maker, member)}${blank()}`,
  );
  return `{${blank()}${members.join(`,${blank()}`)}}`;
}

/** The object of a text, read by going into every object in it. */
function walked(bytes: Buffer): JsonObject {
  const read = (open: number): { object: JsonObject; end: number } => {
    const inner = new Map<number, JsonObject>();
    const { members, end } = membersInto(bytes, open, (_key, start) => {
      if (bytes[start] !== 0x7b) return null;
      const { object, end } = read(start);
      inner.set(start, object);
      return end;
    });
    const entries = [...members].map(
      ([key, range]) => [key, inner.get(range.start) ?? valueAt(bytes, range)] as const,
    );
    return { object: Object.fromEntries(entries), end };
  };
  return soleObject(bytes, read).object;
}

function escaped(maker: Maker, character: string): string {
  if (character.length > 1 || maker.percent(50)) return JSON.stringify(character).slice(1, -1);
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
}

const PIECES = [
  ...[
    '{',
    '}',
    '[',
    ']',
    ',',
    ':',
    '"',
    '\\',
    '1',
    '1.0',
    '-0',
    '1e400',
    '-',
    '.',
    'true',
    'nul',
    ' ',
    '\n',
    '\\u12',
    '\\"',
  ],
  ...['"a"', '{"a":1}', '[1,2]', '\u0000', 'ä', '9007199254740993', '0x1', '01', '//', '\ufeff'],
];

const LONE_BACKSLASH = /"\\(?:\\|u005[cC])"/;

function spoilt(maker: Maker): Buffer {
  const text = maker.percent(40) ? maker.text(PIECES, 14) : loosely(maker, maker.json());
  const bytes = Buffer.from(text);
  for (let i = maker.below(3); i > 0 && bytes.length > 0; i--)
    bytes[maker.below(bytes.length)] = maker.below(256);
  const whole = maker.percent(20) ? bytes.subarray(0, maker.below(bytes.length + 1)) : bytes;
  // A lone back-slash as a name would spoil what is parsed afterwards: see `Maker.name`.
  return LONE_BACKSLASH.test(whole.toString('latin1')) ? Buffer.from('{}') : whole;
}

const valueAt = (bytes: Buffer, { start, end }: { start: number; end: number }): Json =>
  JSON.parse(bytes.subarray(start, end).toString()) as Json;

const surrounded = (maker: Maker, text: string) =>
  Buffer.from(`${maker.of(BLANKS)}${text}${maker.of(BLANKS)}`);

export const properties = [
  property('JSON bytes are parsed as JSON.parse parses them, or refused', made(spoilt), (bytes) => {
    const ours = orError(() => parseJson(bytes), JsonError);
    if (ours instanceof Error) return;
    same(isDeepStrictEqual(ours, JSON.parse(bytes.toString())), true, 'what was parsed');
    same(Buffer.from(bytes.toString()).equals(bytes), true, 'well-formed UTF-8');
  }),
  property(
    'well-formed JSON with integers and a bounded depth is never refused',
    made((maker) => surrounded(maker, loosely(maker, maker.json()))),
    (bytes) => {
      checkJson(bytes, { strictNumbers: true });
      same(isDeepStrictEqual(parseJson(bytes), JSON.parse(bytes.toString())), true, 'what was parsed');
    },
  ),
  property(
    'the members and items that are found in JSON bytes are those of JSON.parse',
    made((maker) => {
      const object = maker.object(2);
      return { object, bytes: surrounded(maker, loosely(maker, object)) };
    }),
    ({ object, bytes }) => {
      const members = topLevelMembers(bytes);
      const found = new Map([...members].map(([name, range]) => [name, valueAt(bytes, range)]));
      same(isDeepStrictEqual(found, new Map(Object.entries(object))), true, 'the members');
      for (const [name, range] of members) {
        const value = new Map(Object.entries(object)).get(name);
        if (!Array.isArray(value)) continue;
        const items = arrayItems(bytes, range).map((item) => valueAt(bytes, item));
        same(isDeepStrictEqual(items, value), true, `the items of ${name}`);
      }
      same(isDeepStrictEqual(walked(bytes), object), true, 'the object gone into');
      const listed = [...listedItems(bytes)].map((item) => [item.list, valueAt(bytes, item)]);
      const lists = Object.entries(object).flatMap(([name, value]) =>
        Array.isArray(value) ? value.map((item) => [name, item]) : [],
      );
      same(isDeepStrictEqual(listed, lists), true, 'the listed items');
    },
  ),
  property('the members and items of any bytes: found, or JsonError', made(spoilt), (bytes) => {
    const members = orError(() => topLevelMembers(bytes), JsonError);
    orError(() => soleObject(bytes, (open) => membersInto(bytes, open, () => null)), JsonError);
    orError(() => arrayItems(bytes), JsonError);
    orError(() => [...listedItems(bytes)], JsonError);
    const parsed = orError(() => parseJson(bytes), JsonError);
    if (parsed instanceof Error || members instanceof Error) return;
    const names = Object.keys(parsed as JsonObject).toSorted();
    same(isDeepStrictEqual([...members.keys()].toSorted(), names), true, 'the names');
    same(isDeepStrictEqual(walked(bytes), parsed), true, 'the object gone into');
  }),
];
