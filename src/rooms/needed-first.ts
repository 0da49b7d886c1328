import { eventIdOf } from '../matrix/event-id.ts';
import { serverNameOf } from '../matrix/ids.ts';
import { isObject, type Json, type JsonObject } from '../matrix/json.ts';
import { authEventIds } from '../matrix/pdu.ts';
import type { ByteRange } from '../matrix/raw-items.ts';
import type { RoomVersionRules } from '../matrix/room-versions.ts';

/** Without these nobody can tell whether the room may be read; they are among the first however many others are. */
const DECISIVE: ReadonlySet<string | null> = new Set([
  'm.room.create',
  'm.room.power_levels',
  'm.room.join_rules',
  'm.room.history_visibility',
  'm.room.encryption',
  'm.room.server_acl',
]);
/** State other than memberships that is among the first: more than rooms in use have. */
const MOST_STATE = 500;
/** All of the first together, so that an answer cannot make everything first. */
const MOST_FIRST = 2000;
/** Members of the answering server, where none is needed otherwise: one is enough, if it verifies. */
const MOST_ANSWERING = 3;

/** What is known of an event in a list before it is verified. */
export interface ListedEvent {
  readonly range: ByteRange;
  readonly type: string | null;
  readonly stateKey: string | null;
  readonly sender: string | null;
  readonly at: number | null;
  readonly signatures: readonly (readonly [server: string, keyId: string])[];
}

interface Reading {
  readonly rules: RoomVersionRules;
  readonly ownServer: string;
  readonly answering: string;
  readonly parse: (range: ByteRange) => Json;
}

/** Places in the two lists. */
export interface FirstEvents {
  readonly state: ReadonlySet<number>;
  readonly authChain: ReadonlySet<number>;
}

/**
 * What a client needs before anything else: all state but memberships, the memberships of our own users and of
 * those who sent that state or the recent events, some of the answering server, and what authorises all of these,
 * as far as it is in the lists.
 */
export function neededFirst(
  lists: { readonly state: readonly ListedEvent[]; readonly authChain: readonly ListedEvent[] },
  recent: readonly JsonObject[],
  { rules, ownServer, answering, parse }: Reading,
): FirstEvents {
  const first = { state: new Set<number>(), authChain: new Set<number>() };
  const members = membersByUser(lists.state);
  const chain = placesById(lists.authChain, rules, parse);
  const waiting: JsonObject[] = [...recent];
  const take = (list: 'state' | 'authChain', place: number | undefined) => {
    if (place === undefined || first[list].has(place)) return;
    if (first.state.size + first.authChain.size >= MOST_FIRST) return;
    first[list].add(place);
    const event = parse((lists[list][place] as ListedEvent).range);
    if (isObject(event)) waiting.push(event);
  };
  for (const place of nonMembers(lists.state)) take('state', place);
  for (const [user, places] of members) {
    if (serverNameOf(user) === ownServer) for (const place of places) take('state', place);
  }
  for (const [place, { type }] of lists.authChain.entries())
    if (type === 'm.room.create') take('authChain', place);
  const takeWhatTheyNeed = () => {
    for (let event = waiting.pop(); event !== undefined; event = waiting.pop()) {
      for (const user of usersOf(event)) for (const place of members.get(user) ?? []) take('state', place);
      for (const id of authEventIds(event, rules)) take('authChain', chain.get(id));
    }
  };
  takeWhatTheyNeed();
  const joins = joinsOf(answering, members, (place) => parse((lists.state[place] as ListedEvent).range));
  if (!joins.some((place) => first.state.has(place))) {
    for (const place of joins.slice(0, MOST_ANSWERING)) take('state', place);
    takeWhatTheyNeed();
  }
  return first;
}

function nonMembers(state: readonly ListedEvent[]): number[] {
  const others = [...state.entries()].filter(([, { type }]) => type !== null && type !== 'm.room.member');
  const decisive = others.filter(([, { type, stateKey }]) => stateKey === '' && DECISIVE.has(type));
  const ordinary = others.filter(([, { type, stateKey }]) => !(stateKey === '' && DECISIVE.has(type)));
  return [...decisive, ...ordinary.slice(0, MOST_STATE)].map(([place]) => place);
}

function membersByUser(state: readonly ListedEvent[]): Map<string, number[]> {
  const members = new Map<string, number[]>();
  for (const [place, { type, stateKey }] of state.entries()) {
    if (type !== 'm.room.member' || stateKey === null) continue;
    const places = members.get(stateKey);
    if (places === undefined) members.set(stateKey, [place]);
    else places.push(place);
  }
  return members;
}

function joinsOf(
  server: string,
  members: ReadonlyMap<string, readonly number[]>,
  parsed: (place: number) => Json,
): number[] {
  const joins: number[] = [];
  for (const [user, places] of members) {
    if (serverNameOf(user) !== server) continue;
    for (const place of places) {
      const event = parsed(place);
      if (!isObject(event) || !isObject(event.content) || event.content.membership !== 'join') continue;
      joins.push(place);
    }
  }
  return joins;
}

/** Who has to do with the event: its sender, whose membership it is, and who let that user in. */
function usersOf(event: JsonObject): string[] {
  const content = isObject(event.content) ? event.content : {};
  return [event.sender, event.state_key, content.join_authorised_via_users_server].filter(
    (user) => typeof user === 'string',
  );
}

function placesById(
  events: readonly ListedEvent[],
  rules: RoomVersionRules,
  parse: (range: ByteRange) => Json,
): Map<string, number> {
  const places = new Map<string, number>();
  for (const [place, { range }] of events.entries()) {
    const event = parse(range);
    if (!isObject(event)) continue;
    try {
      places.set(eventIdOf(event, rules), place);
    } catch {
      // What cannot be hashed authorises nothing, and is refused when it is verified.
    }
  }
  return places;
}
