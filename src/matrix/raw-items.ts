import { endOfString } from './json-scan.ts';
import { BACKSLASH, COLON, COMMA, endOfValue, keyText, malformed, QUOTE, skipBlanks } from './raw-json.ts';

/** A stretch of bytes: `start` is in it, `end` is not. */
export interface ByteRange {
  readonly start: number;
  readonly end: number;
}

/** Where a member of an object stands: `start` and `end` are its value's, `keyStart` the key's opening quote. */
export interface MemberRange extends ByteRange {
  readonly keyStart: number;
}

/**
 * The members of a JSON object, found in its bytes without parsing their values; of a key given twice the last
 * one counts, as in `JSON.parse`. For bytes that are valid JSON (`range`: the object alone, blanks around it
 * allowed). Throws `JsonError` where they are no object.
 */
export function topLevelMembers(
  bytes: Uint8Array,
  range: ByteRange = whole(bytes),
): Map<string, MemberRange> {
  const members = new Map<string, MemberRange>();
  eachMember(bytes, range, (keyStart, keyEnd, start, end) => {
    members.set(keyText(bytes, keyStart, keyEnd), { keyStart, start, end });
  });
  return members;
}

function eachMember(
  bytes: Uint8Array,
  range: ByteRange,
  visit: (keyStart: number, keyEnd: number, start: number, end: number) => void,
): void {
  walk(bytes, range, 0x7b, 0x7d, (at) => {
    if (bytes[at] !== QUOTE) throw malformed();
    const keyEnd = endOfString(bytes, at);
    const colon = skipBlanks(bytes, keyEnd);
    if (bytes[colon] !== COLON) throw malformed();
    const start = skipBlanks(bytes, colon + 1);
    const end = endOfValue(bytes, start);
    visit(at, keyEnd, start, end);
    return end;
  });
}

/**
 * The members of the object that opens at `open`, for who goes on into some of them: `into` is asked at each value
 * where it ends, and gives null for those that it passes over. Returns the members and where the object ends. As
 * `topLevelMembers` otherwise.
 */
export function membersInto(
  bytes: Uint8Array,
  open: number,
  into: (key: string, start: number) => number | null,
): { readonly members: Map<string, MemberRange>; readonly end: number } {
  const members = new Map<string, MemberRange>();
  if (bytes[open] !== 0x7b) throw malformed();
  let at = skipBlanks(bytes, open + 1);
  while (bytes[at] !== 0x7d) {
    if (bytes[at] !== QUOTE) throw malformed();
    const [keyStart, keyEnd] = [at, endOfString(bytes, at)];
    const colon = skipBlanks(bytes, keyEnd);
    if (bytes[colon] !== COLON) throw malformed();
    const start = skipBlanks(bytes, colon + 1);
    const key = keyText(bytes, keyStart, keyEnd);
    const end = into(key, start) ?? endOfValue(bytes, start);
    members.set(key, { keyStart, start, end });
    at = skipBlanks(bytes, end);
    if (bytes[at] === COMMA) {
      at = skipBlanks(bytes, at + 1);
      if (bytes[at] === 0x7d) throw malformed();
    } else if (bytes[at] !== 0x7d) throw malformed();
  }
  return { members, end: at + 1 };
}

/** Reads the object that is the whole text, blanks around it allowed; `read` is told where it opens. */
export function soleObject<T extends { readonly end: number }>(
  bytes: Uint8Array,
  read: (open: number) => T,
): T {
  const found = read(skipBlanks(bytes, 0));
  if (skipBlanks(bytes, found.end) < bytes.length) throw malformed();
  return found;
}

/** Names of members to look for, made once for many objects. */
export class MemberNames {
  readonly #names: readonly (readonly [name: string, utf8: Uint8Array])[];

  constructor(...names: readonly string[]) {
    this.#names = names.map((name) => [name, new TextEncoder().encode(name)]);
  }

  /** Where these members of an object stand, in the order of the names. As `topLevelMembers` otherwise. */
  find(bytes: Uint8Array, range: ByteRange): (MemberRange | undefined)[] {
    const found = new Array<MemberRange | undefined>(this.#names.length).fill(undefined);
    eachMember(bytes, range, (keyStart, keyEnd, start, end) => {
      const at = this.#indexOf(bytes, keyStart, keyEnd);
      if (at >= 0) found[at] = { keyStart, start, end };
    });
    return found;
  }

  #indexOf(bytes: Uint8Array, start: number, end: number): number {
    for (let i = start + 1; i < end - 1; i++) {
      if (bytes[i] !== BACKSLASH) continue;
      const name = keyText(bytes, start, end);
      return this.#names.findIndex(([wanted]) => wanted === name);
    }
    return this.#names.findIndex(([, utf8]) => isAt(bytes, start + 1, end - 1, utf8));
  }
}

function isAt(bytes: Uint8Array, start: number, end: number, text: Uint8Array): boolean {
  if (end - start !== text.length) return false;
  for (let i = 0; i < text.length; i++) if (bytes[start + i] !== text[i]) return false;
  return true;
}

/** The items of a JSON array, found in its bytes without parsing them. As `topLevelMembers` otherwise. */
export function arrayItems(bytes: Uint8Array, range: ByteRange = whole(bytes)): ByteRange[] {
  const items: ByteRange[] = [];
  walk(bytes, range, 0x5b, 0x5d, (start) => {
    const end = endOfValue(bytes, start);
    items.push({ start, end });
    return end;
  });
  return items;
}

/** An item of a list that is a member of an object. */
export interface ListItem extends ByteRange {
  readonly list: string;
}

/**
 * The items of all arrays among the members of a JSON object, found one at a time: for texts that are too long to
 * be gone through at once. Members that are no arrays are passed over. As `topLevelMembers` otherwise.
 */
export function* listedItems(bytes: Uint8Array): Generator<ListItem, void> {
  let at = skipBlanks(bytes, 0);
  if (bytes[at] !== 0x7b) throw malformed();
  at = skipBlanks(bytes, at + 1);
  while (bytes[at] !== 0x7d) {
    if (bytes[at] !== QUOTE) throw malformed();
    const keyEnd = endOfString(bytes, at);
    const list = keyText(bytes, at, keyEnd);
    const colon = skipBlanks(bytes, keyEnd);
    if (bytes[colon] !== COLON) throw malformed();
    const start = skipBlanks(bytes, colon + 1);
    at = skipBlanks(
      bytes,
      bytes[start] === 0x5b ? yield* itemsFrom(bytes, start, list) : endOfValue(bytes, start),
    );
    if (bytes[at] === COMMA) at = skipBlanks(bytes, at + 1);
    else if (bytes[at] !== 0x7d) throw malformed();
  }
  if (skipBlanks(bytes, at + 1) < bytes.length) throw malformed();
}

/** A member of an object with its name. */
export interface NamedMember extends MemberRange {
  readonly name: string;
}

/**
 * `topLevelMembers` for a text that is too long to be gone through at once: gives each member when its end is found,
 * and null after each item of a member that is an array, where others may have their turn.
 */
export function* memberSteps(bytes: Uint8Array): Generator<NamedMember | null, void> {
  let at = skipBlanks(bytes, 0);
  if (bytes[at] !== 0x7b) throw malformed();
  at = skipBlanks(bytes, at + 1);
  while (bytes[at] !== 0x7d) {
    if (bytes[at] !== QUOTE) throw malformed();
    const keyStart = at;
    const keyEnd = endOfString(bytes, keyStart);
    const colon = skipBlanks(bytes, keyEnd);
    if (bytes[colon] !== COLON) throw malformed();
    const start = skipBlanks(bytes, colon + 1);
    const end =
      bytes[start] === 0x5b ? yield* pausesOf(itemsFrom(bytes, start, '')) : endOfValue(bytes, start);
    yield { name: keyText(bytes, keyStart, keyEnd), keyStart, start, end };
    at = skipBlanks(bytes, end);
    if (bytes[at] === COMMA) at = skipBlanks(bytes, at + 1);
    else if (bytes[at] !== 0x7d) throw malformed();
  }
  if (skipBlanks(bytes, at + 1) < bytes.length) throw malformed();
}

function* pausesOf(items: Generator<ListItem, number>): Generator<null, number> {
  for (;;) {
    const next = items.next();
    if (next.done) return next.value;
    yield null;
  }
}

/** The same of an array: `arrayItems` for one that is too long to be gone through at once. */
export function* eachItem(bytes: Uint8Array, range: ByteRange): Generator<ByteRange, void> {
  const open = skipBlanks(bytes, range.start);
  if (bytes[open] !== 0x5b) throw malformed();
  const end = yield* itemsFrom(bytes, open, '');
  if (skipBlanks(bytes, end) < range.end) throw malformed();
}

/** Those of the array that opens at `open`; returns where it ends. */
function* itemsFrom(bytes: Uint8Array, open: number, list: string): Generator<ListItem, number> {
  let at = skipBlanks(bytes, open + 1);
  while (bytes[at] !== 0x5d) {
    const end = endOfValue(bytes, at);
    yield { list, start: at, end };
    at = skipBlanks(bytes, end);
    if (bytes[at] === COMMA) at = skipBlanks(bytes, at + 1);
    else if (bytes[at] !== 0x5d) throw malformed();
  }
  return at + 1;
}

/** Calls `item` at each item between the brackets; it returns where the item ends. */
function walk(
  bytes: Uint8Array,
  range: ByteRange,
  open: number,
  close: number,
  item: (at: number) => number,
): void {
  let at = skipBlanks(bytes, range.start);
  if (bytes[at] !== open) throw malformed();
  at = skipBlanks(bytes, at + 1);
  if (bytes[at] !== close) {
    for (;;) {
      at = skipBlanks(bytes, item(at));
      if (bytes[at] === close) break;
      if (bytes[at] !== COMMA) throw malformed();
      at = skipBlanks(bytes, at + 1);
    }
  }
  if (skipBlanks(bytes, at + 1) < range.end || at >= range.end) throw malformed();
}

function whole(bytes: Uint8Array): ByteRange {
  return { start: 0, end: bytes.length };
}
