import { setImmediate as nextTurn } from 'node:timers/promises';
import { isObject, JsonError, type JsonObject, ownMember } from '../matrix/json.ts';
import { parseJson } from '../matrix/json-scan.ts';
import { type Pdu, stripUnsigned } from '../matrix/pdu.ts';
import {
  type ByteRange,
  eachItem,
  type ListItem,
  listedItems,
  topLevelMembers,
} from '../matrix/raw-items.ts';
import { HomeserverDown } from './homeserver.ts';

/** How long work goes on (ms) before others get a turn, and how many events are worked on between looks at the time. */
const STRETCH_MS = 5;
const LOOK_EVERY = 16;

/** An answer of the homeserver that holds lists of events, taken apart without parsing it in one go. */
export class EventAnswer {
  readonly #bytes: Buffer;
  readonly #members: ReadonlyMap<string, ByteRange>;

  /** Throws `HomeserverDown` where the body is no JSON object. */
  constructor(body: Buffer) {
    this.#bytes = body;
    this.#members = readable(() => topLevelMembers(body));
  }

  /** A string member; null where there is none. */
  text(name: string): string | null {
    const range = this.#members.get(name);
    const value = range === undefined ? null : parsed(this.#bytes, range);
    return typeof value === 'string' ? value : null;
  }

  /** An event as a member; null where there is none that can be used. */
  event(name: string): JsonObject | null {
    const range = this.#members.get(name);
    const value = range === undefined ? null : parsed(this.#bytes, range);
    return isObject(value) ? value : null;
  }

  /** A list of events. One that cannot be parsed (nested too deep, say) costs no other. */
  events(name: string): Promise<JsonObject[]> {
    const range = this.#members.get(name);
    return range === undefined ? Promise.resolve([]) : objectsIn(this.#bytes, range);
  }

  async pdus(name: string): Promise<Pdu[]> {
    return (await this.events(name)).map(asPdu).filter((pdu) => pdu !== null);
  }
}

/** The objects of a JSON array that is a whole body. Throws `HomeserverDown` where it is none. */
export function eventArray(body: Buffer): Promise<JsonObject[]> {
  return objectsIn(body, { start: 0, end: body.length });
}

/**
 * An event of our own homeserver as a PDU, without `unsigned`; null for what has not the fields of one. Limits,
 * hashes and signatures were the homeserver's to check when it took the event in.
 */
export function asPdu(event: JsonObject): Pdu | null {
  const shaped =
    typeof event.type === 'string' &&
    typeof event.sender === 'string' &&
    isObject(event.content) &&
    typeof event.depth === 'number' &&
    typeof event.origin_server_ts === 'number' &&
    Array.isArray(event.prev_events) &&
    Array.isArray(event.auth_events);
  return shaped ? (stripUnsigned(event) as Pdu) : null;
}

/** `unsigned.replaces_state`. */
export function replacedBy(event: JsonObject): string | null {
  const replaced = isObject(event.unsigned) ? ownMember(event.unsigned, 'replaces_state') : undefined;
  return typeof replaced === 'string' ? replaced : null;
}

/** Calls `work` on each item, with a pause for others every few milliseconds. */
export async function inStretches<T>(items: Iterable<T>, work: (item: T) => void): Promise<void> {
  let began = performance.now();
  let worked = 0;
  for (const item of items) {
    work(item);
    if (++worked % LOOK_EVERY !== 0 || performance.now() - began < STRETCH_MS) continue;
    await nextTurn();
    began = performance.now();
  }
}

async function objectsIn(bytes: Buffer, range: ByteRange): Promise<JsonObject[]> {
  const objects: JsonObject[] = [];
  await eachOf(eachItem(bytes, range), (item) => {
    const value = parsed(bytes, item);
    if (isObject(value)) objects.push(value);
  });
  return objects;
}

async function eachOf<T>(items: Iterable<T>, work: (item: T) => void): Promise<void> {
  try {
    await inStretches(items, work);
  } catch (error) {
    if (error instanceof JsonError) throw otherJson(error);
    throw error;
  }
}

function parsed(bytes: Buffer, { start, end }: ByteRange): unknown {
  try {
    return parseJson(bytes.subarray(start, end));
  } catch (error) {
    if (error instanceof JsonError) return null;
    throw error;
  }
}

/** Goes through all lists of an answer, a little at a time. Rejects with `HomeserverDown` where it is none. */
export function eachListed(body: Buffer, work: (item: ListItem) => void): Promise<void> {
  return eachOf(listedItems(body), work);
}

function readable<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (error instanceof JsonError) throw otherJson(error);
    throw error;
  }
}

function otherJson(cause: JsonError): HomeserverDown {
  return new HomeserverDown('the homeserver answered 200 with other JSON than was asked for', { cause });
}
