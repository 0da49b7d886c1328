import {
  type EventFilter,
  MAX_TIMELINE_LIMIT,
  matchesEvent,
  parseFilter,
  pickFields,
  wantsRoom,
} from '../../../src/client-view/filter.ts';
import type { Json, JsonObject } from '../../../src/matrix/json.ts';
import { type Maker, made } from '../made.ts';
import { property, same } from '../property.ts';

const ROOMS = ['!a:x', '!b:x', '!a', '__proto__', 'constructor', ''];
const USERS = ['@a:x', '@b:x', '@A:x', '__proto__', 'toString', ''];
const TYPES = [
  'm.room.message',
  'm.room.member',
  'm.room',
  'm.',
  'org.x.y',
  '__proto__',
  'm.room.*',
  '*',
  '',
];
const PATTERNS = [
  ...TYPES,
  'm.*',
  '*.y',
  'm.*.*',
  '*room*',
  '**',
  'm.room.m*r',
  '*m*e*s*',
  '^m',
  'm.room.messag?',
];
const FIELDS = [
  'content',
  'content.body',
  'content.a\\.b',
  'content.\\\\',
  'type',
  '__proto__',
  'a.__proto__.b',
  '.',
  '',
];

/** A list of these, or something else in its place. */
function listOf(maker: Maker, items: readonly string[]): Json {
  if (maker.percent(6)) return maker.json(1);
  return maker.list(4, (): Json => (maker.percent(5) ? maker.json(1) : maker.of(items)));
}

function eventFilter(maker: Maker): Json {
  if (maker.percent(5)) return maker.json(2);
  const filter: JsonObject = {};
  if (maker.percent(40)) filter.types = listOf(maker, PATTERNS);
  if (maker.percent(30)) filter.not_types = listOf(maker, PATTERNS);
  if (maker.percent(30)) filter.senders = listOf(maker, USERS);
  if (maker.percent(30)) filter.not_senders = listOf(maker, USERS);
  if (maker.percent(20)) filter.rooms = listOf(maker, ROOMS);
  if (maker.percent(20)) filter.not_rooms = listOf(maker, ROOMS);
  if (maker.percent(20)) filter.contains_url = maker.percent(90) ? maker.percent(50) : maker.json(0);
  if (maker.percent(40)) filter.limit = maker.percent(80) ? maker.below(1_200) : maker.json(1);
  if (maker.percent(20)) filter.lazy_load_members = maker.percent(90) ? maker.percent(50) : maker.json(0);
  return filter;
}

function filterOf(maker: Maker): JsonObject {
  const room: JsonObject = { timeline: eventFilter(maker), state: eventFilter(maker) };
  if (maker.percent(30)) room.rooms = listOf(maker, ROOMS);
  if (maker.percent(30)) room.not_rooms = listOf(maker, ROOMS);
  const filter: JsonObject = { room: maker.percent(95) ? room : maker.json(2) };
  if (maker.percent(20)) filter.event_fields = listOf(maker, FIELDS);
  if (maker.percent(10)) Object.assign(filter, maker.object(2));
  return filter;
}

function eventOf(maker: Maker): JsonObject {
  const content = maker.object(2);
  if (maker.percent(30)) content.url = maker.percent(80) ? 'mxc://x/y' : maker.json(0);
  return {
    type: maker.percent(95) ? maker.of(TYPES) : maker.json(0),
    sender: maker.percent(95) ? maker.of(USERS) : maker.json(0),
    content: maker.percent(95) ? content : maker.json(1),
  };
}

const objectIn = (value: Json | undefined): JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? value : {};
const strings = (value: Json | undefined): string[] | null =>
  Array.isArray(value) ? value.filter((item) => typeof item === 'string') : null;

/** `*` is any run of characters, every other character itself. */
function fits(pattern: string, type: string): boolean {
  const escaped = pattern.replace(/[\\^$.+?()[\]{}|/-]/g, '\\$&').replaceAll('*', '[^]*');
  return new RegExp(`^${escaped}$`).test(type);
}

/** What the specification says of an event filter, read off the JSON each time. */
function wanted(filter: JsonObject, event: JsonObject, roomId: string): boolean {
  const type = String(event.type);
  const sender = String(event.sender);
  if (strings(filter.not_types)?.some((pattern) => fits(pattern, type))) return false;
  if (strings(filter.not_senders)?.includes(sender)) return false;
  if (strings(filter.not_rooms)?.includes(roomId)) return false;
  if (strings(filter.types)?.some((pattern) => fits(pattern, type)) === false) return false;
  if (strings(filter.senders)?.includes(sender) === false) return false;
  if (strings(filter.rooms)?.includes(roomId) === false) return false;
  if (typeof filter.contains_url !== 'boolean') return true;
  return (typeof objectIn(event.content).url === 'string') === filter.contains_url;
}

function limitIn(value: Json | undefined): number | null {
  const isCount = typeof value === 'number' && Number.isInteger(value) && value >= 0;
  return isCount ? Math.min(value, MAX_TIMELINE_LIMIT) : null;
}

/** A filter of some 64 KiB: the most that a request's target can hold of it. */
function hugeFilter(maker: Maker): { filter: JsonObject; event: JsonObject } {
  const stars = '*a'.repeat(maker.of([1, 30, 1_000, 30_000]));
  const many = Array.from({ length: maker.of([1, 100, 5_000]) }, (_, n) => `${maker.of(PATTERNS)}*${n}`);
  const one = maker.of<Json>([[stars], many, [...many, stars.slice(0, 1_000)], ['a*'.repeat(1_000)]]);
  const fields = ['a.'.repeat(30_000), '\\.'.repeat(30_000), '\\'.repeat(60_000), 'content.'.repeat(8_000)];
  const part: JsonObject = { types: one, not_types: one, senders: one, not_senders: one, rooms: one };
  return {
    filter: { room: { timeline: part, state: part }, event_fields: [maker.of(fields)] },
    event: { type: 'a'.repeat(maker.of([1, 255, 60_000])), sender: '@a:x', content: maker.object(3) },
  };
}

/** Of work, not of waiting for others' work: ten times what any of these may take; what backtracks takes minutes. */
const STALL_MS = 500;

/** What this thread has worked, ms. */
function worked(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1000;
}

const check = (
  filter: EventFilter,
  json: Json | undefined,
  event: JsonObject,
  roomId: string,
  what: string,
) => same(matchesEvent(filter, event, roomId), wanted(objectIn(json), event, roomId), what);

export const properties = [
  property(
    'a filter lets through what the specification says of its rooms, types, senders, URLs and limit',
    made((maker) => ({ json: filterOf(maker), event: eventOf(maker), roomId: maker.of(ROOMS) })),
    ({ json, event, roomId }) => {
      const filter = parseFilter(json);
      const room = objectIn(json.room);
      const named = strings(room.rooms)?.includes(roomId) !== false;
      same(wantsRoom(filter, roomId), named && !strings(room.not_rooms)?.includes(roomId), 'the room');
      check(filter.timeline, room.timeline, event, roomId, 'in the timeline');
      check(filter.state, room.state, event, roomId, 'in the state');
      same(filter.timelineLimit, limitIn(objectIn(room.timeline).limit), 'the limit');
      same(filter.lazyLoadMembers, objectIn(room.state).lazy_load_members === true, 'lazy members');
      const picked = pickFields(event, filter.eventFields);
      for (const key of Object.keys(picked)) same(Object.hasOwn(event, key), true, `the field ${key}`);
      same(Object.hasOwn(Object.prototype, 'b'), false, 'the prototype of all objects');
    },
  ),
  property(
    'whatever JSON is given for a filter, it is read, and reads events',
    made((maker) => ({
      json: maker.object(2),
      event: { ...maker.object(2), type: maker.name(), sender: maker.name() },
    })),
    ({ json, event }) => {
      const filter = parseFilter(json);
      matchesEvent(filter.timeline, event, '!a:x');
      matchesEvent(filter.state, event);
      JSON.stringify(pickFields(event, filter.eventFields));
    },
  ),
  property(
    'a filter of 64 KiB stalls nobody',
    made((maker) => (maker.below(400) === 0 ? hugeFilter(maker) : { filter: {}, event: {} })),
    ({ filter, event }) => {
      const before = worked();
      const read = parseFilter(filter);
      matchesEvent(read.timeline, event, '!a:x');
      matchesEvent(read.state, event, '!a:x');
      pickFields(event, read.eventFields);
      const took = worked() - before;
      if (took > STALL_MS) throw new Error(`it took ${Math.round(took)} ms`);
    },
  ),
];
