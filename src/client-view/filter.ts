import { isObject, type Json, type JsonObject } from '../matrix/json.ts';
import type { Relations } from './relations.ts';
import { compileTypes, type TypePattern } from './type-pattern.ts';

/** Which events of a section are wanted. null: no restriction; an empty list lets nothing through. */
export interface EventFilter {
  readonly types: readonly TypePattern[] | null;
  readonly notTypes: readonly TypePattern[];
  readonly senders: ReadonlySet<string> | null;
  readonly notSenders: ReadonlySet<string>;
  readonly rooms: ReadonlySet<string> | null;
  readonly notRooms: ReadonlySet<string>;
  /** Only events with (true) or without (false) a `url` in their content. */
  readonly containsUrl: boolean | null;
  /** Only events to which events of these senders, and of these kinds of relation, relate. */
  readonly relatedBySenders: ReadonlySet<string> | null;
  readonly relatedByRelTypes: ReadonlySet<string> | null;
}

/** What of a `/sync` filter concerns peeked rooms (client-server API, "Filtering"). */
export interface SyncFilter {
  readonly rooms: ReadonlySet<string> | null;
  readonly notRooms: ReadonlySet<string>;
  readonly includeLeave: boolean;
  readonly timeline: EventFilter;
  /** How many timeline events at most; null when the filter does not say. */
  readonly timelineLimit: number | null;
  readonly state: EventFilter;
  readonly lazyLoadMembers: boolean;
  readonly includeRedundantMembers: boolean;
  readonly eventFormat: 'client' | 'federation';
  /** Paths of the fields wanted, taken apart; null for all. */
  readonly eventFields: readonly (readonly string[])[] | null;
}

/** The most timeline events that a filter gets, whatever a homeserver would give. */
export const MAX_TIMELINE_LIMIT = 1000;

/**
 * Types with `*`, and paths of fields, that a filter may have: each event is held against each of them, and rooms
 * have tens of thousands of events. Clients have some ten. More of them count as not given.
 */
const MOST_EACH = 100;

/**
 * Reads a filter, inline or stored. What is malformed in it counts as not given: the homeserver has seen the
 * same filter and has refused what it does not take.
 */
export function parseFilter(json: JsonObject): SyncFilter {
  const room = objectOf(json.room);
  const timeline = objectOf(room.timeline);
  const state = objectOf(room.state);
  return {
    rooms: setOf(room.rooms),
    notRooms: setOf(room.not_rooms) ?? new Set(),
    includeLeave: room.include_leave === true,
    timeline: eventFilter(timeline),
    timelineLimit: limitOf(timeline.limit),
    state: eventFilter(state),
    lazyLoadMembers: state.lazy_load_members === true,
    includeRedundantMembers: state.include_redundant_members === true,
    eventFormat: json.event_format === 'federation' ? 'federation' : 'client',
    eventFields: fieldsOf(json.event_fields),
  };
}

/** The filter of a request that has none. */
export const NO_FILTER: SyncFilter = parseFilter({});

/** Whether the filter wants to hear of this room at all. */
export function wantsRoom(filter: SyncFilter, roomId: string): boolean {
  return passes(roomId, filter.rooms, filter.notRooms);
}

/**
 * Whether an event, in client format or as a PDU, passes. The room is the event's own unless given; an event
 * of no known room passes the room lists.
 */
export function matchesEvent(filter: EventFilter, event: JsonObject, roomId = event.room_id): boolean {
  const type = String(event.type);
  if (filter.notTypes.some((pattern) => pattern(type))) return false;
  if (filter.types !== null && !filter.types.some((pattern) => pattern(type))) return false;
  if (!passes(String(event.sender), filter.senders, filter.notSenders)) return false;
  if (typeof roomId === 'string' && !passes(roomId, filter.rooms, filter.notRooms)) return false;
  if (filter.containsUrl === null) return true;
  return (typeof objectOf(event.content).url === 'string') === filter.containsUrl;
}

/** Whether every event passes: it need not be looked at. */
export function passesAll(filter: EventFilter): boolean {
  const { types, notTypes, senders, notSenders, rooms, notRooms, containsUrl } = filter;
  const lists = [types, senders, rooms, filter.relatedBySenders, filter.relatedByRelTypes, containsUrl];
  return lists.every((list) => list === null) && notTypes.length + notSenders.size + notRooms.size === 0;
}

/** Whether no event of the room can pass. */
export function passesNone({ types, senders, rooms, notRooms }: EventFilter, roomId: string): boolean {
  const empty = types?.length === 0 || senders?.size === 0;
  return empty || !passes(roomId, rooms, notRooms);
}

/** Whether events that the filter wants relate to this one; `relations` is not asked where it does not say. */
export function matchesRelations(filter: EventFilter, eventId: string, relations: () => Relations): boolean {
  const { relatedBySenders: senders, relatedByRelTypes: types } = filter;
  if (senders === null && types === null) return true;
  return relations().some(
    eventId,
    ({ type, sender }) => (types?.has(type) ?? true) && (senders?.has(String(sender)) ?? true),
  );
}

/** The event with only these fields; the event itself when `fields` is null. */
export function pickFields(event: JsonObject, fields: SyncFilter['eventFields']): JsonObject {
  if (fields === null) return event;
  const picked = bare();
  for (const path of fields) copyField(event, picked, path);
  return picked;
}

function copyField(from: JsonObject, to: JsonObject, path: readonly string[]): void {
  const parents = path.slice(0, -1);
  const last = path.at(-1);
  let source = from;
  for (const key of parents) {
    const inner = own(source, key);
    if (!isObject(inner)) return;
    source = inner;
  }
  const value = last === undefined ? undefined : own(source, last);
  if (last === undefined || value === undefined) return;
  let target = to;
  let original = from;
  for (const key of parents) {
    original = own(original, key) as JsonObject;
    const there = target[key];
    if (there === original) return;
    const inner = isObject(there) ? there : bare();
    target[key] = inner;
    target = inner;
  }
  target[last] = value;
}

/** An object without a prototype: the names of fields come from outside, and `__proto__` is one like any other. */
function bare(): JsonObject {
  return Object.create(null) as JsonObject;
}

function own(object: JsonObject, key: string): Json | undefined {
  return Object.hasOwn(object, key) ? object[key] : undefined;
}

function eventFilter(json: JsonObject): EventFilter {
  const types = typesOf(json.types);
  return {
    types: types === null ? null : compileTypes(types),
    notTypes: compileTypes(typesOf(json.not_types) ?? []),
    senders: setOf(json.senders),
    notSenders: setOf(json.not_senders) ?? new Set(),
    rooms: setOf(json.rooms),
    notRooms: setOf(json.not_rooms) ?? new Set(),
    containsUrl: typeof json.contains_url === 'boolean' ? json.contains_url : null,
    relatedBySenders: someOf(json.related_by_senders),
    relatedByRelTypes: someOf(json.related_by_rel_types),
  };
}

function passes(value: string, wanted: ReadonlySet<string> | null, unwanted: ReadonlySet<string>): boolean {
  return !unwanted.has(value) && (wanted === null || wanted.has(value));
}

function objectOf(value: Json | undefined): JsonObject {
  return isObject(value) ? value : {};
}

function stringsOf(value: Json | undefined): string[] | null {
  return Array.isArray(value) ? value.filter((item) => typeof item === 'string') : null;
}

function typesOf(value: Json | undefined): string[] | null {
  const types = stringsOf(value);
  const wild = types?.filter((type) => type.includes('*')) ?? [];
  return wild.length > MOST_EACH ? null : types;
}

function setOf(value: Json | undefined): Set<string> | null {
  const strings = stringsOf(value);
  return strings === null ? null : new Set(strings);
}

/** An empty list is none, as Synapse takes it. */
function someOf(value: Json | undefined): Set<string> | null {
  const set = setOf(value);
  return set === null || set.size === 0 ? null : set;
}

function limitOf(value: Json | undefined): number | null {
  if (typeof value !== 'number' || !Number.isInteger(value) || value < 0) return null;
  return Math.min(value, MAX_TIMELINE_LIMIT);
}

/** Dots part the names; `\.` and `\\` are a dot and a backslash in a name. An empty list means all fields. */
function fieldsOf(value: Json | undefined): string[][] | null {
  const paths = stringsOf(value);
  if (paths === null || paths.length === 0 || paths.length > MOST_EACH) return null;
  const taken = paths.map((path) =>
    Array.from(path.matchAll(/(?:^|\.)((?:\\[.\\]|[^.])*)/g), ([, name = '']) =>
      name.replace(/\\([.\\])/g, '$1'),
    ),
  );
  // No event is as deep.
  return taken.filter((names) => names.length <= MOST_EACH);
}
