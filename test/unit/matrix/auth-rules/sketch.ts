import { eventIdOf } from '../../../../src/matrix/event-id.ts';
import type { Json, JsonObject } from '../../../../src/matrix/json.ts';
import { type Pdu, roomIdOf } from '../../../../src/matrix/pdu.ts';
import {
  type RoomVersionRules,
  roomVersion,
  SUPPORTED_ROOM_VERSIONS,
} from '../../../../src/matrix/room-versions.ts';

/** Made the room; has no level of their own in the sketches' power levels. */
export const ALICE = '@alice:home';
/** Level 100. */
export const ADMIN = '@admin:home';
/** Level 50. */
export const MOD = '@mod:home';
/** Joined, level 0, of another server. */
export const USER = '@user:away';
/** Not in the room. */
export const GUEST = '@guest:away';

/** A room as far as a case says how it differs from the usual one. */
export interface RoomSketch {
  /** Added to the create event's content. */
  readonly create?: JsonObject;
  /** The content of the power levels; null for none. */
  readonly levels?: JsonObject | null;
  /** The content of the join rules, or just the rule; null for none. */
  readonly joinRule?: string | JsonObject | null;
  /** Memberships besides those of the usual members, or instead of them. */
  readonly members?: Readonly<Record<string, string>>;
  /** More state: type, sender, state key, content. */
  readonly state?: readonly EventSketch[];
}

export interface EventSketch {
  readonly type: string;
  readonly sender: string;
  readonly stateKey: string | null;
  readonly content: JsonObject;
  /** What comes before it: the create event alone, nothing, or (unless said) something else. */
  readonly prev?: 'create' | 'nothing' | 'create and more';
  /** Members to add or, undefined, to leave out. */
  readonly more?: Readonly<Record<string, Json | undefined>>;
}

export interface AuthCase {
  readonly title: string;
  /** First and last room version it holds in: all unless said. */
  readonly versions?: readonly [number, number];
  readonly room?: RoomSketch;
  readonly event: EventSketch;
  /** A part of the reason why it is denied; allowed where there is none. */
  readonly denied?: string;
  /** Why Synapse says otherwise. */
  readonly synapseDiffers?: string;
}

export interface Scene {
  readonly rules: RoomVersionRules;
  readonly event: Pdu;
  readonly eventId: string;
  readonly state: readonly Pdu[];
}

export function message(sender: string, content: JsonObject = {}, type = 'm.room.message'): EventSketch {
  return { type, sender, stateKey: null, content };
}

export function state(type: string, sender: string, content: JsonObject, stateKey = ''): EventSketch {
  return { type, sender, stateKey, content };
}

export function member(
  sender: string,
  target: string,
  membership: string,
  content: JsonObject = {},
): EventSketch {
  return state('m.room.member', sender, { membership, ...content }, target);
}

/** The power levels that stand alone. */
export const LEVEL_FIELDS = [
  'users_default',
  'events_default',
  'state_default',
  'ban',
  'redact',
  'kick',
  'invite',
];

const USUAL_LEVELS: JsonObject = { users: { [ADMIN]: 100, [MOD]: 50 } };
const USUAL_MEMBERS = { [ALICE]: 'join', [ADMIN]: 'join', [MOD]: 'join', [USER]: 'join' };

export function rulesOf(version: string): RoomVersionRules {
  const rules = roomVersion(version);
  if (rules === undefined) throw new Error(`room version ${version} is not known`);
  return rules;
}

export function versionsOf({ versions = [1, 12] }: AuthCase): string[] {
  return SUPPORTED_ROOM_VERSIONS.filter((id) => Number(id) >= versions[0] && Number(id) <= versions[1]);
}

/** The case as events of that room version. */
export function sceneOf({ room = {}, event }: AuthCase, version: string): Scene {
  const rules = rulesOf(version);
  let count = 0;
  const build = (sketch: EventSketch, roomId: string | undefined, createId: string): Pdu => {
    const named = rules.eventIds === 'named';
    const reference = (id: string): Json => (named ? [id, { sha256: '' }] : id);
    const other = named ? '$other:home' : `$${'o'.repeat(43)}`;
    const prev = { create: [createId], nothing: [], 'create and more': [createId, other], other: [other] }[
      sketch.prev ?? (sketch.type === 'm.room.create' ? 'nothing' : 'other')
    ];
    const pdu: Record<string, Json | undefined> = {
      type: sketch.type,
      sender: sketch.sender,
      ...(sketch.stateKey === null ? {} : { state_key: sketch.stateKey }),
      content: sketch.content,
      depth: ++count,
      origin_server_ts: count,
      prev_events: prev.map(reference),
      auth_events: [],
      hashes: {},
      signatures: {},
      room_id: roomId,
      ...(named ? { event_id: `$event${count}:${sketch.sender.split(':')[1] ?? ''}` } : {}),
      ...sketch.more,
    };
    return Object.fromEntries(Object.entries(pdu).filter(([, value]) => value !== undefined)) as Pdu;
  };
  const creator = rules.auth.senderIsCreator ? {} : { creator: ALICE };
  const createSketch = state('m.room.create', ALICE, { room_version: version, ...creator, ...room.create });
  const create = build(createSketch, rules.hashRoomIds ? undefined : '!room:home', '');
  const [createId, roomId] = [eventIdOf(create, rules), roomIdOf(create, rules)];
  const sketches = [...stateSketches(room)];
  const ofCreate = event.type === 'm.room.create';
  const pdu = build(event, ofCreate && rules.hashRoomIds ? undefined : roomId, createId);
  return {
    rules,
    event: pdu,
    eventId: eventIdOf(pdu, rules),
    state: [create, ...sketches.map((sketch) => build(sketch, roomId, createId))],
  };
}

function* stateSketches(room: RoomSketch): Generator<EventSketch> {
  for (const [user, membership] of Object.entries({ ...USUAL_MEMBERS, ...room.members })) {
    yield member(user, user, membership);
  }
  const { levels = USUAL_LEVELS, joinRule = 'invite' } = room;
  if (levels !== null) yield state('m.room.power_levels', ALICE, levels);
  if (joinRule !== null) {
    yield state(
      'm.room.join_rules',
      ALICE,
      typeof joinRule === 'string' ? { join_rule: joinRule } : joinRule,
    );
  }
  yield* room.state ?? [];
}
