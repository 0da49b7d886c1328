import { LRUCache } from 'lru-cache';
import { isObject, type Json, type JsonObject } from '../matrix/json.ts';
import type { Clock } from '../platform/clock.ts';
import { SingleFlight } from '../platform/single-flight.ts';
import { isStatePartial, pduOf } from '../rooms/log-entries.ts';
import type { RoomLog, Store } from '../store/store.ts';

/** Members are not counted again sooner. */
const COUNT_LIFETIME_MS = 60_000;
const MOST_COUNTS = 1_000;
/** Children of a space that are told of at once; Synapse gives none either behind its fiftieth in one answer. */
const MOST_CHILDREN = 1_000;
/** The specification has it so: an order longer than this, or with other characters, counts as none. */
const ORDER = /^[\x20-\x7e]{1,50}$/;

const SUMMARISED = [
  'm.room.create',
  'm.room.name',
  'm.room.topic',
  'm.room.avatar',
  'm.room.canonical_alias',
  'm.room.join_rules',
  'm.room.history_visibility',
  'm.room.guest_access',
  'm.room.encryption',
] as const;

/** What a remotely peeked room's summary is made of (client-server API, "Room Summary" and "Spaces"). */
export class ReplicaSummaries {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #counts = new LRUCache<string, { joined: number; until: number }>({ max: MOST_COUNTS });
  readonly #counting = new SingleFlight<number>();

  constructor(deps: { readonly store: Store; readonly clock: Clock }) {
    this.#store = deps.store;
    this.#clock = deps.clock;
  }

  /** Null where there is no open log of a remote room, or it sleeps. Rejects with `StoreDownError`. */
  async of(roomId: string): Promise<JsonObject | null> {
    const log = await this.#readable(roomId);
    if (log === null) return null;
    const slots = SUMMARISED.map((type) => [type, ''] as const);
    const [events, joined] = await Promise.all([
      this.#store.replicas.stateOf(roomId, slots),
      this.#joinedMembers(roomId),
    ]);
    const contents = new Map(events.map((event) => [event.type, contentOf(pduOf(event))]));
    const of = (type: (typeof SUMMARISED)[number]) => contents.get(type) ?? {};
    const joinRules = of('m.room.join_rules');
    return withoutAbsent({
      room_id: roomId,
      room_version: log.roomVersion,
      room_type: text(of('m.room.create').type),
      name: text(of('m.room.name').name),
      topic: text(of('m.room.topic').topic),
      avatar_url: text(of('m.room.avatar').url),
      canonical_alias: text(of('m.room.canonical_alias').alias),
      join_rule: text(joinRules.join_rule),
      allowed_room_ids: allowedRooms(joinRules),
      num_joined_members: joined,
      world_readable: of('m.room.history_visibility').history_visibility === 'world_readable',
      guest_can_join: of('m.room.guest_access').guest_access === 'can_join',
      encryption: text(of('m.room.encryption').algorithm),
    });
  }

  /** The user's `membership` in a room that `of` gave a summary of. */
  async membership(roomId: string, userId: string): Promise<string> {
    const [member] = await this.#store.replicas.stateOf(roomId, [['m.room.member', userId]]);
    const membership = member === undefined ? null : contentOf(pduOf(member)).membership;
    return typeof membership === 'string' ? membership : 'leave';
  }

  /** The `m.space.child` events of such a room as a hierarchy has them: those with a `via`, in the space's order. */
  async childrenOf(roomId: string): Promise<JsonObject[]> {
    const children = new Map<string, JsonObject>();
    for await (const slice of this.#store.replicas.stateOfType(roomId, 'm.space.child')) {
      for (const event of slice) {
        const { type, state_key, content, sender, origin_server_ts } = pduOf(event);
        if (typeof state_key !== 'string' || !hasVia(content) || children.size >= MOST_CHILDREN) continue;
        children.set(state_key, {
          type: type ?? null,
          state_key,
          content: content ?? null,
          sender: sender ?? null,
          origin_server_ts: origin_server_ts ?? null,
        });
      }
    }
    return [...children.values()].sort(inOrder);
  }

  async #readable(roomId: string): Promise<RoomLog | null> {
    const log = await this.#store.logs.get(roomId);
    if (log === null || log.feed !== 'remote' || log.closed !== null) return null;
    // What sleeps may be of yesterday.
    return log.asleep === null ? log : null;
  }

  async #joinedMembers(roomId: string): Promise<number> {
    const known = this.#counts.get(roomId);
    if (known !== undefined && this.#clock.now() < known.until) return known.joined;
    return this.#counting.run(roomId, async () => {
      const joined = new Set<string | null>();
      for await (const slice of this.#store.replicas.stateOfType(roomId, 'm.room.member')) {
        for (const event of slice) {
          if (contentOf(pduOf(event)).membership === 'join') joined.add(event.stateKey);
        }
      }
      if (!(await isStatePartial(this.#store, roomId))) {
        const until = this.#clock.now() + COUNT_LIFETIME_MS;
        this.#counts.set(roomId, { joined: joined.size, until });
      }
      return joined.size;
    });
  }
}

function contentOf(pdu: JsonObject): JsonObject {
  return isObject(pdu.content) ? pdu.content : {};
}

function text(value: Json | undefined): string | null {
  return typeof value === 'string' ? value : null;
}

/** Rooms whose members may join; null where the rule names none. */
function allowedRooms({ join_rule: rule, allow }: JsonObject): string[] | null {
  if ((rule !== 'restricted' && rule !== 'knock_restricted') || !Array.isArray(allow)) return null;
  const rooms = allow.flatMap((one) =>
    isObject(one) && one.type === 'm.room_membership' && typeof one.room_id === 'string' ? [one.room_id] : [],
  );
  return rooms.length === 0 ? null : rooms;
}

function withoutAbsent(summary: JsonObject): JsonObject {
  return Object.fromEntries(Object.entries(summary).filter(([, value]) => value !== null));
}

function hasVia(content: Json | undefined): boolean {
  const via = isObject(content) ? content.via : null;
  return Array.isArray(via) && via.every((server) => typeof server === 'string');
}

/** By `order` where there is one, then by age, then by room ID. */
function inOrder(one: JsonObject, other: JsonObject): number {
  const [a, b] = [orderOf(one), orderOf(other)];
  if (a !== b) {
    if (a === null) return 1;
    if (b === null) return -1;
    return a < b ? -1 : 1;
  }
  const older = Number(one.origin_server_ts) - Number(other.origin_server_ts);
  return older || (String(one.state_key) < String(other.state_key) ? -1 : 1);
}

function orderOf({ content }: JsonObject): string | null {
  const order = isObject(content) ? content.order : null;
  return typeof order === 'string' && ORDER.test(order) ? order : null;
}
