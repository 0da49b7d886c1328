import { LRUCache } from 'lru-cache';
import type { Homeserver } from '../homeserver/homeserver.ts';
import { isObject, type JsonObject } from '../matrix/json.ts';
import { parseJson } from '../matrix/json-scan.ts';
import { type Pdu, prevEventIds, stateKeyOf } from '../matrix/pdu.ts';
import { roomVersion } from '../matrix/room-versions.ts';
import { pduOf } from '../rooms/log-entries.ts';
import type { LogEntry, RoomLogStore } from '../store/store.ts';
import { toTarget } from './read-request.ts';
import { ReplacedState } from './replaced-state.ts';

/** Event IDs remembered over all rooms as part of a state that peekers may read. */
const MOST_IDS = 500_000;
/** Questions to the homeserver at a time, for one answer. */
const AT_ONCE = 8;
/** What Synapse joins forward extremities with. */
const DUMMY = 'org.matrix.dummy_event';
/** An event has at most 20 `prev_events` (specification, "Size limits" and room versions). */
const MOST_JOINED = 20;
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
  readonly #replaced: ReplacedState;
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
    this.#replaced = new ReplacedState(logs);
  }

  /** Whether it was world-readable when it was sent. What devices are shown of a room's log was. */
  async wasVisible(roomId: string, eventId: string): Promise<boolean> {
    const entry = await this.#entry(roomId, eventId);
    if (entry?.shown === true) return true;
    if (entry?.type === DUMMY) return this.#joinsShown(roomId, entry);
    return (await this.#homeserver.visibleEvent(roomId, eventId)) !== null;
  }

  /**
   * The homeserver hides its own dummy events from all clients. One that joins nothing but visible events stands
   * where the room was open: what would have closed it is the end of the log.
   */
  async #joinsShown(roomId: string, dummy: LogEntry): Promise<boolean> {
    const rules = roomVersion((await this.#logs.get(roomId))?.roomVersion ?? '');
    if (rules === undefined) return false;
    const joined = prevEventIds(pduOf(dummy) as Pdu, rules).slice(0, MOST_JOINED + 1);
    if (joined.length > MOST_JOINED) return false;
    for (const eventId of joined) if (!(await this.#entry(roomId, eventId))?.shown) return false;
    return true;
  }

  async #entry(roomId: string, eventId: string): Promise<LogEntry | undefined> {
    const position = (await this.#logs.positions(roomId, [eventId])).get(eventId);
    if (position === undefined) return undefined;
    const [entry] = await this.#logs.readLast(roomId, position, 1);
    return entry?.eventId === eventId ? entry : undefined;
  }

  async goesOutWhole(roomId: string, eventId: string, pdu: JsonObject): Promise<boolean> {
    return this.#judge(roomId, eventId, pdu, () => this.#readPresentAuthChain(roomId));
  }

  /** The same of many events: those of an answer, for which the room's auth chain is looked up at most once. */
  async whichGoOutWhole(
    roomId: string,
    events: readonly { readonly eventId: string; readonly pdu: JsonObject }[],
  ): Promise<boolean[]> {
    let reading: Promise<void> | undefined;
    const readAuthChain = () => {
      reading ??= this.#readPresentAuthChain(roomId);
      return reading;
    };
    const whole: boolean[] = [];
    for (let start = 0; start < events.length; start += AT_ONCE) {
      const batch = events.slice(start, start + AT_ONCE);
      const judged = batch.map(({ eventId, pdu }) => this.#judge(roomId, eventId, pdu, readAuthChain));
      whole.push(...(await Promise.all(judged)));
    }
    return whole;
  }

  async #judge(
    roomId: string,
    eventId: string,
    pdu: JsonObject,
    readAuthChain: () => Promise<void>,
  ): Promise<boolean> {
    const isKnown = () => this.#known.get(roomId)?.has(eventId) === true;
    if (isKnown() || (await this.wasVisible(roomId, eventId))) return true;
    if (stateKeyOf(pdu) === null) return false;
    if (await this.#replaced.has(roomId, eventId)) return true;
    if (await this.#isCurrentState(roomId, eventId, pdu)) return true;
    if (!AUTH_TYPES.has(String(pdu.type))) return false;
    await readAuthChain();
    return isKnown();
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

  async #readPresentAuthChain(roomId: string): Promise<void> {
    const latest = (await this.#homeserver.extremities(roomId)).eventIds[0];
    if (latest === undefined || this.#read.get(roomId) === latest) return;
    if (!(await this.wasVisible(roomId, latest))) return;
    const target = toTarget({ kind: 'state_ids', roomId, eventId: latest });
    const answer = await this.#homeserver.selfRequest('GET', target);
    const body = answer.status === 200 ? parseJson(answer.body) : null;
    if (!isObject(body)) return;
    this.remember(roomId, body);
    this.#read.set(roomId, latest);
  }
}
