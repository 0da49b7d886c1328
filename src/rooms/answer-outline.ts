import { isObject, type Json, JsonError, type JsonObject } from '../matrix/json.ts';
import { checkJson, HOLDS_EVENTS } from '../matrix/json-scan.ts';
import { arrayItems, type ByteRange, topLevelMembers } from '../matrix/raw-items.ts';
import { type RoomVersionRules, roomVersion } from '../matrix/room-versions.ts';
import { type FirstEvents, type ListedEvent, neededFirst } from './needed-first.ts';
import { SignerTimes, type SignerUse } from './signer-times.ts';

/** A member that is not a list of events is read up to this; no server sends a longer one. */
const MOST_MEMBER_BYTES = 64 * 1024;
/** Of the recent events as many as an event may be large. */
const MOST_RECENT = 50;
/** A PDU has 64 KiB; what is beside it in `unsigned` does not count. A longer one is left out unread. */
const MOST_EVENT_BYTES = 1024 * 1024;
const LISTS = ['state', 'auth_chain'] as const;

/** A large answer to `PUT /peek` in short. */
export interface AnswerOutline {
  /**
   * The answer with those events of `state` and `auth_chain` alone that a reader needs first; it reads like a small
   * answer. Other members are left out where they are long.
   */
  readonly first: JsonObject;
  /** The other events: start and end of each in the body, one after the other. */
  readonly rest: { readonly state: Uint32Array; readonly authChain: Uint32Array };
  /** Who is said to have signed the other events. */
  readonly signers: readonly SignerUse[];
}

export interface OutlineLimits {
  readonly maxValues: number;
  /** Events of `state` and `auth_chain` together. */
  readonly maxEvents: number;
  /** The memberships of this server's users are among the first: who of them is banned may not be shown the room. */
  readonly ownServer: string;
  /** Who answers: that it has a member in the room is to be seen at once. */
  readonly answering: string;
  /** Recent events that came otherwise, in place of the answer's own. */
  readonly recent?: readonly Json[];
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** The JSON text in a stretch of bytes, parsed. Throws `JsonError`. */
export function parseRange(body: Uint8Array, { start, end }: ByteRange): Json {
  try {
    return JSON.parse(utf8.decode(body.subarray(start, end))) as Json;
  } catch {
    throw new JsonError('not-json', 'Not JSON in UTF-8');
  }
}

/**
 * Reads a large answer event by event, so that it is never in memory as a whole but as bytes: bounds and shape, what
 * is needed first, where the rest lies. Throws `JsonError`. It takes a second for tens of MiB: for worker threads.
 */
export function outlineAnswer(body: Uint8Array, limits: OutlineLimits): AnswerOutline {
  checkJson(body, { ...HOLDS_EVENTS, maxValues: limits.maxValues });
  const members = topLevelMembers(body);
  const first = otherMembers(body, members);
  if (limits.recent !== undefined) first.messages = limits.recent.slice(-MOST_RECENT);
  const ranges = {
    state: itemsOf(body, members.get('state')),
    authChain: itemsOf(body, members.get('auth_chain')),
  };
  if (ranges.state.length + ranges.authChain.length > limits.maxEvents) {
    throw new JsonError('too-large', `An answer of more than ${limits.maxEvents} events`);
  }
  const rules = rulesOf(first);
  const listed = {
    state: ranges.state.map((range) => listedEvent(body, range, rules)),
    authChain: ranges.authChain.map((range) => listedEvent(body, range, rules)),
  };
  const recent = [...(Array.isArray(first.messages) ? first.messages : []), first.latest_event ?? null];
  const chosen: FirstEvents =
    rules === undefined
      ? { state: new Set(), authChain: new Set() }
      : neededFirst(listed, recent.filter(isObject), {
          rules,
          ownServer: limits.ownServer,
          answering: limits.answering,
          parse: (range) => parseRange(body, range),
        });
  const shallow = (list: readonly ByteRange[], places: ReadonlySet<number>) =>
    new Set([...places].filter((place) => isShallow(body, list[place] as ByteRange)));
  const needed = {
    state: shallow(ranges.state, chosen.state),
    authChain: shallow(ranges.authChain, chosen.authChain),
  };
  const parsed = (list: readonly ByteRange[], wanted: ReadonlySet<number>) =>
    list.filter((_, place) => wanted.has(place)).map((range) => parseRange(body, range));
  first.state = parsed(ranges.state, needed.state);
  first.auth_chain = parsed(ranges.authChain, needed.authChain);
  const signers = new SignerTimes();
  const others = (list: readonly ListedEvent[], taken: ReadonlySet<number>) => {
    const rest = list.filter((_, place) => !taken.has(place));
    for (const event of rest) signers.add(event);
    return Uint32Array.from(rest.flatMap(({ range }) => [range.start, range.end]));
  };
  const rest = {
    state: others(listed.state, needed.state),
    authChain: others(listed.authChain, needed.authChain),
  };
  return { first, rest, signers: signers.uses() };
}

function rulesOf(answer: JsonObject): RoomVersionRules | undefined {
  return roomVersion(typeof answer.room_version === 'string' ? answer.room_version : '1');
}

function itemsOf(body: Uint8Array, range: ByteRange | undefined): ByteRange[] {
  if (range === undefined || body[range.start] !== 0x5b) return [];
  return arrayItems(body, range).filter(({ start, end }) => end - start <= MOST_EVENT_BYTES);
}

/** Every member but the two long lists. */
function otherMembers(body: Uint8Array, members: ReadonlyMap<string, ByteRange>): JsonObject {
  const others: JsonObject = Object.create(null) as JsonObject;
  for (const [name, range] of members) {
    if (LISTS.some((list) => list === name)) continue;
    if (name === 'messages') {
      others.messages = itemsOf(body, range)
        .slice(-MOST_RECENT)
        .filter((item) => isShallow(body, item))
        .map((item) => parseRange(body, item));
    } else if (range.end - range.start <= mostBytesOf(name) && isShallow(body, range)) {
      others[name] = parseRange(body, range);
    }
  }
  return { ...others };
}

function mostBytesOf(name: string): number {
  return name === 'latest_event' ? MOST_EVENT_BYTES : MOST_MEMBER_BYTES;
}

/** What is nested deeper cannot be handed to another thread, nor is it an event. */
function isShallow(body: Uint8Array, { start, end }: ByteRange): boolean {
  try {
    checkJson(body.subarray(start, end), { anyNumbers: true });
    return true;
  } catch {
    return false;
  }
}

function listedEvent(body: Uint8Array, range: ByteRange, rules: RoomVersionRules | undefined): ListedEvent {
  const event = parseRange(body, range);
  if (!isObject(event)) return { range, type: null, stateKey: null, sender: null, at: null, signatures: [] };
  const text = (value: Json | undefined) => (typeof value === 'string' ? value : null);
  // Where the validity of keys does not count, it is as if the event were as old as can be.
  const at = rules?.keysExpire === false ? 0 : event.origin_server_ts;
  return {
    range,
    type: text(event.type),
    stateKey: text(event.state_key),
    sender: text(event.sender),
    at: typeof at === 'number' && Number.isSafeInteger(at) ? at : null,
    signatures: isObject(event.signatures) ? SignerTimes.named(event.signatures) : [],
  };
}
