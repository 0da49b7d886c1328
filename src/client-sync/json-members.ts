/** Where the value of a member lies in the bytes: `start` is its first byte, `end` the one after its last. */
export interface ValueRange {
  readonly start: number;
  readonly end: number;
}

/** An object in JSON bytes: from its `{` to behind its `}`, and where the value of each member lies. */
export interface ObjectRange extends ValueRange {
  readonly members: ReadonlyMap<string, ValueRange>;
}

const QUOTE = 0x22;
const COMMA = 0x2c;
const COLON = 0x3a;
const BACKSLASH = 0x5c;
const BRACE_OPEN = 0x7b;
const BRACE_CLOSE = 0x7d;
const BRACKET_OPEN = 0x5b;
const BRACKET_CLOSE = 0x5d;
const SCALAR = /^(?:true|false|null|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)$/;
const LONGEST_SCALAR = 400;

/**
 * Reads the members of the object that begins at `at` (spaces before it allowed), without parsing their values
 * and without recursion. null where there is no object, where it is cut off, or where a key stands in it twice.
 */
export function objectAt(bytes: Buffer, at: number): ObjectRange | null {
  const start = afterSpace(bytes, at);
  if (bytes[start] !== BRACE_OPEN) return null;
  const members = new Map<string, ValueRange>();
  let next = afterSpace(bytes, start + 1);
  if (bytes[next] === BRACE_CLOSE) return { start, end: next + 1, members };
  for (;;) {
    const keyEnd = bytes[next] === QUOTE ? endOfString(bytes, next) : -1;
    const key = keyEnd < 0 ? null : stringAt(bytes, { start: next, end: keyEnd });
    if (key === null || members.has(key)) return null;
    const colon = afterSpace(bytes, keyEnd);
    if (bytes[colon] !== COLON) return null;
    const valueStart = afterSpace(bytes, colon + 1);
    const valueEnd = endOfValue(bytes, valueStart);
    if (valueEnd < 0) return null;
    members.set(key, { start: valueStart, end: valueEnd });
    next = afterSpace(bytes, valueEnd);
    if (bytes[next] === BRACE_CLOSE) return { start, end: next + 1, members };
    if (bytes[next] !== COMMA) return null;
    next = afterSpace(bytes, next + 1);
  }
}

/** The string that lies there; null if it is none. */
export function stringAt(bytes: Buffer, range: ValueRange): string | null {
  if (bytes[range.start] !== QUOTE) return null;
  try {
    const value: unknown = JSON.parse(bytes.toString('utf8', range.start, range.end));
    return typeof value === 'string' ? value : null;
  } catch {
    return null;
  }
}

/** The first byte from `at` on that is not white space. */
export function afterSpace(bytes: Buffer, at: number): number {
  let next = at;
  for (;;) {
    const byte = bytes[next];
    if (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) return next;
    next++;
  }
}

/** Behind the value that begins at `at`; −1 where it is cut off or none. */
function endOfValue(bytes: Buffer, at: number): number {
  const first = bytes[at];
  if (first === QUOTE) return endOfString(bytes, at);
  if (first === BRACE_OPEN || first === BRACKET_OPEN) return endOfNested(bytes, at);
  let end = at;
  while (end < bytes.length && end - at <= LONGEST_SCALAR && !endsScalar(bytes[end])) end++;
  return SCALAR.test(bytes.toString('latin1', at, end)) ? end : -1;
}

function endsScalar(byte: number | undefined): boolean {
  return (
    byte === undefined || byte <= 0x20 || byte === COMMA || byte === BRACE_CLOSE || byte === BRACKET_CLOSE
  );
}

function endOfNested(bytes: Buffer, at: number): number {
  let depth = 0;
  let next = at;
  while (next < bytes.length) {
    const byte = bytes[next];
    if (byte === QUOTE) {
      next = endOfString(bytes, next);
      if (next < 0) return -1;
      continue;
    }
    next++;
    if (byte === BRACE_OPEN || byte === BRACKET_OPEN) depth++;
    else if ((byte === BRACE_CLOSE || byte === BRACKET_CLOSE) && --depth === 0) return next;
  }
  return -1;
}

function endOfString(bytes: Buffer, at: number): number {
  let quote = at;
  for (;;) {
    quote = bytes.indexOf(QUOTE, quote + 1);
    if (quote < 0) return -1;
    let before = quote - 1;
    while (before > at && bytes[before] === BACKSLASH) before--;
    if ((quote - before) % 2 === 1) return quote + 1;
  }
}
