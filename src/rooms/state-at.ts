import type { Homeserver } from '../homeserver/homeserver.ts';
import { toClientEvent } from '../matrix/client-event.ts';
import type { JsonObject } from '../matrix/json.ts';
import { takeTurns } from '../platform/turns.ts';
import type { LogEntry, RoomLog, Store, StoredEvent } from '../store/store.ts';
import { pduOf, stateSlot } from './log-entries.ts';

/** A slot of the room's state that changed after the asked position, and what it held there. */
interface Undone {
  readonly type: string;
  readonly stateKey: string;
  readonly before: string | null;
}

/**
 * The state of a room as it was just after a position of its log: the present state with everything later
 * undone. So the answer for one position is the same whenever it is asked, and no snapshot is stored.
 */
export class StateAt {
  readonly #store: Store;
  readonly #homeserver: Homeserver;

  constructor(store: Store, homeserver: Homeserver) {
    this.#store = store;
    this.#homeserver = homeserver;
  }

  /** State events in client format, without `room_id`. Rejects with `NotReadable`, `HomeserverDown`, `StoreDownError`. */
  async read(log: RoomLog, position: number, now: number): Promise<JsonObject[]> {
    const present =
      log.feed === 'resident' ? await this.#residentState(log, now) : await this.#replicaState(log, now);
    const later = await readAll(this.#store, log.roomId, position);
    const undone = firstChanges([...later, ...present.notYetLogged]);
    for (const [slot, change] of undone) {
      present.state.delete(slot);
      if (change.before === null) continue;
      const event = await this.#earlier(log, change.before, now);
      if (event !== null) present.state.set(slot, event);
    }
    return [...present.state.values()];
  }

  async #residentState(log: RoomLog, now: number) {
    const events = await this.#homeserver.currentState(log.roomId);
    const state = new Map<string, JsonObject>();
    for (const event of events) {
      state.set(stateSlot(String(event.type), String(event.state_key)), plainClientEvent(event, now));
    }
    // What the homeserver already counts as current but the feed has not brought yet must be undone too.
    const token = (await this.#store.logs.get(log.roomId))?.feedToken ?? log.feedToken;
    const lag = await this.#homeserver.follow(log.roomId, token, {
      timeoutMs: 0,
      signal: AbortSignal.timeout(10_000),
    });
    const notYetLogged = lag.events.map((event) => ({
      type: event.pdu.type,
      stateKey: typeof event.pdu.state_key === 'string' ? event.pdu.state_key : null,
      replaces: event.replaces,
      applied: true,
    }));
    return { state, notYetLogged };
  }

  async #replicaState(log: RoomLog, now: number) {
    const state = new Map<string, JsonObject>();
    const turn = takeTurns();
    for (const stored of await this.#store.replicas.state(log.roomId)) {
      await turn();
      const slot = stateSlot(stored.type, stored.stateKey ?? '');
      state.set(slot, toClientEvent(pduOf(stored), stored.eventId, { now }));
    }
    return { state, notYetLogged: [] as never[] };
  }

  /** A state event that has been replaced since: shown only where a non-member may still see it. */
  async #earlier(log: RoomLog, eventId: string, now: number): Promise<JsonObject | null> {
    if (log.feed === 'resident') {
      const event = await this.#homeserver.visibleEvent(log.roomId, eventId);
      return event === null ? null : plainClientEvent(event, now);
    }
    const stored = await this.#store.replicas.event(log.roomId, eventId);
    if (stored === null || !(await this.#wasReadable(log.roomId, stored))) return null;
    return toClientEvent(pduOf(stored), stored.eventId, { now });
  }

  /** Whether an event of a remote room was sent since the room is open, by depth; what the log shows was judged then. */
  async #wasReadable(roomId: string, event: StoredEvent): Promise<boolean> {
    const position = (await this.#store.logs.positions(roomId, [event.eventId])).get(event.eventId);
    if (position !== undefined) {
      const [entry] = await this.#store.logs.readLast(roomId, position, 1);
      return entry?.eventId === event.eventId && entry.shown;
    }
    const [opening] = await this.#store.replicas.stateOf(roomId, [['m.room.history_visibility', '']]);
    return opening !== undefined && Number(pduOf(event).depth) >= Number(pduOf(opening).depth);
  }
}

function firstChanges(
  events: readonly Pick<LogEntry, 'type' | 'stateKey' | 'replaces' | 'applied'>[],
): Map<string, Undone> {
  const changes = new Map<string, Undone>();
  for (const event of events) {
    if (event.stateKey === null || !event.applied) continue;
    const slot = stateSlot(event.type, event.stateKey);
    if (!changes.has(slot)) {
      changes.set(slot, { type: event.type, stateKey: event.stateKey, before: event.replaces });
    }
  }
  return changes;
}

/** What a homeserver's `/state` or `/event` answer has beside the event itself goes: it is the reader's, not the peeker's. */
function plainClientEvent(event: JsonObject, now: number): JsonObject {
  return toClientEvent(event, String(event.event_id), { now });
}

async function readAll(store: Store, roomId: string, after: number): Promise<LogEntry[]> {
  const page = 500;
  const entries: LogEntry[] = [];
  for (;;) {
    const next = await store.logs.read(roomId, entries.at(-1)?.position ?? after, page);
    entries.push(...next);
    if (next.length < page) return entries;
  }
}
