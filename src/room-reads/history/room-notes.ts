import { LRUCache } from 'lru-cache';
import { Redactions } from '../../client-view/redactions.ts';
import { type HeldEvent, Relations, relationOf } from '../../client-view/relations.ts';
import { pruned } from '../../feeds/remote/replica-redaction.ts';
import { isObject, type JsonObject } from '../../matrix/json.ts';
import { stateKeyOf } from '../../matrix/pdu.ts';
import { takeTurns } from '../../platform/turns.ts';
import { pduOf } from '../../rooms/log-entries.ts';
import { readableHead } from '../../rooms/timeline.ts';
import type { LogEntry, Store } from '../../store/store.ts';
import type { PastEvents } from './past-event.ts';
import type { PastRoom } from './past-room.ts';
import type { HistoryItem } from './room-history.ts';

const MOST_ROOMS = 100;
/** Events that speak of others, remembered of a room by their IDs, some 200 bytes each; the first ones give way. */
const MOST_NOTED = 5_000;
/** … and read for one event that is shown: a long thread. */
const MOST_CHILDREN = 500;
/** … and their text, characters in all: so many of 64 KiB would be 32 MB for each event of a page. */
const MOST_CHILDREN_CHARS = 4 * 1024 * 1024;
const READ_AT_ONCE = 20;
const PAGE = 500;
/** What every event that speaks of another has in its text. */
const SIGNS = ['m.relates_to', '"m.room.redaction"'] as const;

/** What is known of a room: which events relate to, or redact, which. */
interface Noted {
  readonly openedAt: number;
  /** How far the log was looked through. */
  upTo: number;
  /** Target → what speaks of it, with its place in the room (that of the log, or less than 0 for the past). */
  readonly children: Map<string, Map<string, number>>;
  count: number;
}

/**
 * Which events of a room speak of which: learnt from the log, and from what was read of the past. It holds IDs alone,
 * so that what was redacted meanwhile is found pruned.
 */
export class RoomNotes {
  readonly #store: Store;
  readonly #past: PastEvents;
  readonly #rooms = new LRUCache<string, Noted>({ max: MOST_ROOMS });

  constructor(store: Store, past: PastEvents) {
    this.#store = store;
    this.#past = past;
  }

  /** What was shown of the past. */
  note(room: PastRoom, { eventId, pdu }: HeldEvent): void {
    this.#noteOne(this.#notedOf(room), room, eventId, pdu, Number(pdu.depth) - Number.MAX_SAFE_INTEGER);
  }

  /** What the room's events say of these, and of what says it. */
  async about(
    room: PastRoom,
    events: readonly HeldEvent[],
  ): Promise<{ relations: Relations; redactions: Redactions }> {
    const noted = await this.#lookThrough(room);
    const found = new Map<string, { event: HeldEvent; at: number }>();
    let targets = events.map(({ eventId }) => eventId);
    for (let depth = 0; depth < 2; depth++) {
      const children = targets.flatMap((id) => [...(noted.children.get(id) ?? [])].slice(-MOST_CHILDREN));
      const fresh = children.filter(([id]) => !found.has(id));
      for (const { event, at } of await this.#held(room, fresh)) found.set(event.eventId, { event, at });
      targets = fresh.map(([id]) => id);
    }
    const pool = [...found.values()].toSorted((a, b) => a.at - b.at).map(({ event }) => event);
    return { relations: new Relations(pool), redactions: new Redactions(room.log.roomVersion, pool) };
  }

  /** An event of the past as it is now: pruned where the log has its redaction, and the server that gave it had not. */
  async current(room: PastRoom, item: HistoryItem): Promise<HistoryItem> {
    const noted = await this.#lookThrough(room);
    for (const [eventId] of noted.children.get(item.eventId) ?? []) {
      const redaction = await this.#store.replicas.event(room.roomId, eventId);
      if (redaction?.type !== 'm.room.redaction') continue;
      const { pdu } = item;
      const stored = {
        eventId: item.eventId,
        json: JSON.stringify(pdu),
        type: String(pdu.type),
        stateKey: stateKeyOf(pdu),
      };
      const state = async (type: string) => {
        const [event] = await this.#store.replicas.stateOf(room.roomId, [[type, '']]);
        return event ?? null;
      };
      const target = await pruned({ event: async () => stored, state }, pduOf(redaction), room.rules);
      if (target !== null) return { ...item, pdu: JSON.parse(target.json) as JsonObject };
    }
    return item;
  }

  async #held(
    { roomId }: PastRoom,
    children: readonly (readonly [string, number])[],
  ): Promise<{ event: HeldEvent; at: number }[]> {
    const one = async ([eventId, at]: readonly [string, number]) => {
      const past = at < 0 ? this.#past.get(roomId, eventId)?.event?.pdu : undefined;
      if (past !== undefined) return { chars: 0, held: { event: { eventId, pdu: past }, at } };
      const stored = await this.#store.replicas.event(roomId, eventId);
      if (stored === null) return null;
      return { chars: stored.json.length, held: { event: { eventId, pdu: pduOf(stored) }, at } };
    };
    const held: { event: HeldEvent; at: number }[] = [];
    const newestFirst = children.toReversed();
    for (let i = 0, chars = 0; i < newestFirst.length && chars < MOST_CHILDREN_CHARS; i += READ_AT_ONCE) {
      for (const read of await Promise.all(newestFirst.slice(i, i + READ_AT_ONCE).map(one))) {
        if (read === null) continue;
        chars += read.chars;
        held.push(read.held);
      }
    }
    return held;
  }

  #notedOf({ roomId, log }: PastRoom): Noted {
    const known = this.#rooms.get(roomId);
    if (known?.openedAt === log.openedAt) return known;
    const fresh: Noted = {
      openedAt: log.openedAt,
      upTo: 0,
      children: known?.children ?? new Map(),
      count: known?.count ?? 0,
    };
    this.#rooms.set(roomId, fresh);
    return fresh;
  }

  /** Looks through what the log has had since. */
  async #lookThrough(room: PastRoom): Promise<Noted> {
    const noted = this.#notedOf(room);
    const head = readableHead(room.log);
    const turn = takeTurns();
    while (noted.upTo < head) {
      const entries = await this.#store.logs.read(room.roomId, noted.upTo, PAGE);
      for (const entry of entries) {
        await turn();
        if (speaksOfAnother(entry)) this.#noteOne(noted, room, entry.eventId, pduOf(entry), entry.position);
      }
      noted.upTo = Math.max(noted.upTo, entries.at(-1)?.position ?? head);
    }
    return noted;
  }

  #noteOne(noted: Noted, { roomId, rules }: PastRoom, eventId: string, pdu: JsonObject, at: number): void {
    const content = isObject(pdu.content) ? pdu.content : {};
    const redacts = rules.redactsPlace === 'content' ? content.redacts : pdu.redacts;
    const target = pdu.type === 'm.room.redaction' ? redacts : relationOf(pdu)?.target;
    if (typeof target !== 'string') return;
    const children = noted.children.get(target) ?? new Map<string, number>();
    if (children.has(eventId)) return;
    // Whoever gives it again gives it pruned.
    if (pdu.type === 'm.room.redaction') this.#past.forget(roomId, target);
    noted.count++;
    noted.children.set(target, children.set(eventId, at));
    for (const [oldest, { size }] of noted.children) {
      if (noted.count <= MOST_NOTED) break;
      noted.children.delete(oldest);
      noted.count -= size;
    }
  }
}

function speaksOfAnother({ shown, json }: LogEntry): boolean {
  return shown && SIGNS.some((sign) => json.includes(sign));
}
