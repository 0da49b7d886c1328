import { canonicalJson } from '../../../src/matrix/canonical-json.ts';
import { type Json, JsonError } from '../../../src/matrix/json.ts';
import { type Maker, made } from '../made.ts';
import { orError, property, same } from '../property.ts';

/**
 * Canonical JSON written in another way than the one under test, after the specification's own words: a list of
 * pieces from a stack, keys compared by their code points, characters escaped one by one.
 */
export function plainCanonical(value: Json): string {
  const pieces: string[] = [];
  const stack: (string | { value: Json })[] = [{ value }];
  while (stack.length > 0) {
    const next = stack.pop() as string | { value: Json };
    if (typeof next === 'string') pieces.push(next);
    else if (typeof next.value === 'string') pieces.push(quoted(next.value));
    else if (typeof next.value === 'number') pieces.push(BigInt(next.value).toString());
    else if (typeof next.value !== 'object' || next.value === null) pieces.push(`${next.value}`);
    else if (Array.isArray(next.value)) {
      stack.push(']');
      for (const [i, item] of [...next.value.entries()].reverse())
        stack.push({ value: item }, i > 0 ? ',' : '');
      stack.push('[');
    } else {
      const members = new Map(Object.entries(next.value));
      const keys = [...members.keys()].sort(byCodePoint);
      stack.push('}');
      for (const [i, key] of [...keys.entries()].reverse()) {
        stack.push({ value: members.get(key) as Json }, ':', { value: key }, i > 0 ? ',' : '');
      }
      stack.push('{');
    }
  }
  return pieces.join('');
}

function byCodePoint(left: string, right: string): number {
  const [a, b] = [Array.from(left), Array.from(right)];
  for (let i = 0; i < Math.min(a.length, b.length); i++) {
    const difference = (a[i]?.codePointAt(0) ?? 0) - (b[i]?.codePointAt(0) ?? 0);
    if (difference !== 0) return difference;
  }
  return a.length - b.length;
}

const ESCAPES = new Map([
  ['"', '\\"'],
  ['\\', '\\\\'],
  ['\b', '\\b'],
  ['\t', '\\t'],
  ['\n', '\\n'],
  ['\f', '\\f'],
  ['\r', '\\r'],
]);

function quoted(text: string): string {
  let escaped = '';
  for (const character of text) {
    const code = character.codePointAt(0) ?? 0;
    escaped +=
      ESCAPES.get(character) ?? (code < 0x20 ? `\\u${code.toString(16).padStart(4, '0')}` : character);
  }
  return `"${escaped}"`;
}

const BAD: readonly unknown[] = [
  1.5,
  -0,
  2 ** 53,
  Number.NaN,
  Number.POSITIVE_INFINITY,
  '\ud800',
  'a\udc00b',
];

/** A value with something in it that canonical JSON has no form for. */
function spoilt(maker: Maker): Json {
  const bad = (maker.percent(90) ? maker.of(BAD) : undefined) as Json;
  const object = { ...maker.object(), [maker.name()]: maker.percent(50) ? bad : [maker.json(1), bad] };
  return maker.percent(50) ? [maker.json(), object] : object;
}

function nested(maker: Maker): Json {
  let value: Json = maker.json(1);
  for (let i = maker.percent(90) ? maker.below(20) : maker.below(150); i > 0; i--)
    value = maker.percent(50) ? [value] : { a: value };
  return value;
}

export const properties = [
  property(
    'canonical JSON is what an implementation written differently gives, and its parse gives it again',
    made((maker) => maker.json()),
    (value) => {
      const text = canonicalJson(value);
      same(text, plainCanonical(value), 'canonical JSON');
      same(canonicalJson(JSON.parse(text) as Json), text, 'canonical JSON of canonical JSON');
    },
  ),
  property('what canonical JSON has no form for ⇒ JsonError', made(spoilt), (value) => {
    if (!(orError(() => canonicalJson(value), JsonError) instanceof JsonError))
      throw new Error('it was written');
  }),
  property('canonical JSON of any depth: written, or refused as too deep', made(nested), (value) => {
    const text = orError(() => canonicalJson(value), JsonError);
    if (typeof text === 'string') same(text, plainCanonical(value), 'canonical JSON');
    else same((text as JsonError).kind, 'too-deep', 'the reason');
  }),
];
