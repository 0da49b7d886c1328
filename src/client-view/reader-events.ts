import { isObject, JsonError, type JsonObject, MAX_ENVELOPE_DEPTH } from '../matrix/json.ts';
import { type JsonLimits, parseJson } from '../matrix/json-scan.ts';
import { type ByteRange, eachItem, MemberNames, type MemberRange } from '../matrix/raw-items.ts';
import { takeTurns } from '../platform/turns.ts';
import type { IgnoredSenders } from './ignored-users.ts';

const OF_EVENT = new MemberNames('sender', 'state_key', 'unsigned');
const OF_UNSIGNED = new MemberNames('membership', 'm.relations');
/** A thread's newest event may itself have been replaced; nothing is bundled deeper. */
const DEEPEST_BUNDLE = 3;
const BUNDLE_LIMITS: JsonLimits = { maxDepth: MAX_ENVELOPE_DEPTH, anyNumbers: true };
const COMMA = 0x2c;
const BRACE = 0x7b;

interface Edit extends ByteRange {
  readonly text: string;
}

/**
 * A list of events that the homeserver gave to the reader, as another user is to have it, in pieces of JSON text:
 * without `unsigned.membership`, which is the reader's (MSC4115), and without what an ignored sender says. Every other
 * byte of an event stays as it was. Throws `JsonError` where there is no list.
 */
export async function eventsForUser(
  bytes: Buffer,
  list: ByteRange,
  ignored: IgnoredSenders,
): Promise<Buffer[]> {
  const turn = takeTurns();
  const pieces: Buffer[] = [Buffer.from('[')];
  for (const item of eachItem(bytes, list)) {
    const event = eventFor(bytes, item, ignored);
    if (event === null) continue;
    if (pieces.length > 1) pieces.push(Buffer.of(COMMA));
    pieces.push(...event);
    const pause = turn();
    if (pause !== undefined) await pause;
  }
  pieces.push(Buffer.from(']'));
  return pieces;
}

/** Null for an event that this user is not shown. */
function eventFor(bytes: Buffer, event: ByteRange, ignored: IgnoredSenders): Buffer[] | null {
  const [sender, stateKey, unsigned] = OF_EVENT.find(bytes, event);
  if (sender !== undefined && stateKey === undefined && ignored.size > 0) {
    const name = parsed(bytes, sender);
    if (typeof name === 'string' && ignored.ignores(name)) return null;
  }
  const added = unsigned !== undefined && bytes[unsigned.start] === BRACE ? unsigned : null;
  return edited(bytes, event, added === null ? [] : unsignedEdits(bytes, added, ignored));
}

function unsignedEdits(bytes: Buffer, unsigned: ByteRange, ignored: IgnoredSenders): Edit[] {
  const [membership, relations] = OF_UNSIGNED.find(bytes, unsigned);
  const edits: Edit[] = [];
  if (membership !== undefined) edits.push({ ...wholeMember(bytes, unsigned, membership), text: '' });
  if (relations !== undefined) {
    const text = JSON.stringify(cleanedBundles(bytes, relations, ignored));
    edits.push({ start: relations.start, end: relations.end, text });
  }
  return edits;
}

/** Nothing is told of bundles that hold an event nested too deep to be looked through. */
function cleanedBundles(bytes: Buffer, { start, end }: ByteRange, ignored: IgnoredSenders): JsonObject {
  try {
    const bundles = parseJson(bytes.subarray(start, end), BUNDLE_LIMITS);
    if (!isObject(bundles)) return {};
    cleanBundles(bundles, ignored, DEEPEST_BUNDLE);
    return bundles;
  } catch (error) {
    if (error instanceof JsonError) return {};
    throw error;
  }
}

/** A thread whose newest event is hidden is not told of: the homeserver would have named another. */
function cleanBundles(bundles: JsonObject, ignored: IgnoredSenders, deepest: number): void {
  const { 'm.thread': thread, 'm.replace': replacement } = bundles;
  if (isObject(thread) && isObject(thread.latest_event)) {
    if (ignored.hides(thread.latest_event)) delete bundles['m.thread'];
    else cleanEvent(thread.latest_event, ignored, deepest);
  }
  if (isObject(replacement)) cleanEvent(replacement, ignored, deepest);
}

function cleanEvent(event: JsonObject, ignored: IgnoredSenders, deepest: number): void {
  const { unsigned } = event;
  if (!isObject(unsigned) || deepest === 0) return;
  delete unsigned.membership;
  if (isObject(unsigned['m.relations'])) cleanBundles(unsigned['m.relations'], ignored, deepest - 1);
}

/** The member with its key and one of the commas beside it. */
function wholeMember(bytes: Buffer, object: ByteRange, member: MemberRange): ByteRange {
  let after = member.end;
  while (after < object.end && isBlank(bytes[after])) after++;
  if (bytes[after] === COMMA) return { start: member.keyStart, end: after + 1 };
  let before = member.keyStart - 1;
  while (before > object.start && isBlank(bytes[before])) before--;
  return { start: bytes[before] === COMMA ? before : member.keyStart, end: member.end };
}

function edited(bytes: Buffer, { start, end }: ByteRange, edits: readonly Edit[]): Buffer[] {
  const parts: Buffer[] = [];
  let at = start;
  for (const edit of edits.toSorted((one, other) => one.start - other.start)) {
    parts.push(bytes.subarray(at, edit.start), Buffer.from(edit.text));
    at = edit.end;
  }
  parts.push(bytes.subarray(at, end));
  return parts;
}

function parsed(bytes: Buffer, { start, end }: ByteRange): unknown {
  return JSON.parse(bytes.toString('utf8', start, end));
}

function isBlank(byte: number | undefined): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;
}
