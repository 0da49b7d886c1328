import { LRUCache } from 'lru-cache';
import type { Homeserver } from '../homeserver/homeserver.ts';
import { isObject, type JsonObject } from '../matrix/json.ts';
import { parseJson } from '../matrix/json-scan.ts';
import { stateKeyOf } from '../matrix/pdu.ts';
import type { RoomLogStore } from '../store/store.ts';
import { toTarget } from './read-request.ts';

/** Event IDs remembered over all rooms as part of a state that peekers may read. */
const MOST_IDS = 500_000;
/** Types that stand in auth chains (specification, "Auth events selection"). */
const AUTH_TYPES: ReadonlySet<string> = new Set([
  'm.room.create',
  'm.room.join_rules',
  'm.room.member',
  'm.room.power_levels',
  'm.room.third_party_invite',
]);

/**
 * Which events of a room may go out whole to servers that peek it: those that were world-readable when they
 * were sent, and those in the state, or its auth chain, at such an event. Most of a room's state is older than
 * the day on which the room was opened.
 */
export class Disclosure {
  readonly #homeserver: Homeserver;
  readonly #logs: RoomLogStore;
  /** By room: the state and auth chain at extremities seen, and what was answered to state requests. */
  readonly #known = new LRUCache<string, Set<string>>({
    maxSize: MOST_IDS,
    sizeCalculation: (ids) => ids.size + 1,
    ttl: 3_600_000,
  });
  /** The last extremity of each room whose auth chain is among the known ones. */
  readonly #read = new LRUCache<string, string>({ max: 1000 });

  constructor(homeserver: Homeserver, logs: RoomLogStore) {
    this.#homeserver = homeserver;
    this.#logs = logs;
  }

  /** Whether it was world-readable when it was sent. What is in a room's log was, when it got there. */
  async wasVisible(roomId: string, eventId: string): Promise<boolean> {
    if ((await this.#logs.positions(roomId, [eventId])).has(eventId)) return true;
    return (await this.#homeserver.visibleEvent(roomId, eventId)) !== null;
  }

  async goesOutWhole(roomId: string, eventId: string, pdu: JsonObject): Promise<boolean> {
    if (this.#known.get(roomId)?.has(eventId) === true) return true;
    if (await this.wasVisible(roomId, eventId)) return true;
    if (await this.#isCurrentState(roomId, eventId, pdu)) return true;
    return AUTH_TYPES.has(String(pdu.type)) && (await this.#inPresentAuthChain(roomId, eventId));
  }

  async #isCurrentState(roomId: string, eventId: string, pdu: JsonObject): Promise<boolean> {
    const stateKey = stateKeyOf(pdu);
    if (stateKey === null || typeof pdu.type !== 'string') return false;
    const current = await this.#homeserver.stateEvent(roomId, pdu.type, stateKey);
    return current?.event_id === eventId;
  }

  /** Takes the answer of `state_ids` at a world-readable event: all that it names may be fetched. */
  remember(roomId: string, stateIds: JsonObject): void {
    const ids = new Set(this.#known.get(roomId));
    for (const list of [stateIds.pdu_ids, stateIds.auth_chain_ids]) {
      if (Array.isArray(list)) for (const id of list) if (typeof id === 'string') ids.add(id);
    }
    this.#known.set(roomId, ids);
  }

  async #inPresentAuthChain(roomId: string, eventId: string): Promise<boolean> {
    const latest = (await this.#homeserver.extremities(roomId)).eventIds[0];
    if (latest === undefined) return false;
    if (this.#read.get(roomId) !== latest && (await this.wasVisible(roomId, latest))) {
      const target = toTarget({ kind: 'state_ids', roomId, eventId: latest });
      const answer = await this.#homeserver.selfRequest('GET', target);
      const body = answer.status === 200 ? parseJson(answer.body) : null;
      if (isObject(body)) {
        this.remember(roomId, body);
        this.#read.set(roomId, latest);
      }
    }
    return this.#known.get(roomId)?.has(eventId) === true;
  }
}
