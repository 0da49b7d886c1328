import type { Homeserver } from '../homeserver/homeserver.ts';
import { toClientEvent } from '../matrix/client-event.ts';
import type { JsonObject } from '../matrix/json.ts';
import type { Clock } from '../platform/clock.ts';
import { eachInTurns } from '../platform/turns.ts';
import type { LogEntry, RoomLog, Store, StoredEvent } from '../store/store.ts';
import { pduOf, stateSlot } from './log-entries.ts';
import { PresentStates, type StateChange } from './present-state.ts';

/** Which state is wanted; all of it unless told. */
export type Wanted = (type: string, stateKey: string) => boolean;

/** An event of a room's state, and its ID. */
export interface StateEvent {
  readonly eventId: string;
  /**
   * A PDU; or an event as a homeserver shows it to clients, whose `unsigned` is partly for whom it was read (the
   * reader) and is to be taken from with care.
   */
  readonly event: JsonObject;
}

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
  readonly #present: PresentStates;

  constructor(store: Store, homeserver: Homeserver, clock: Clock) {
    this.#store = store;
    this.#homeserver = homeserver;
    this.#present = new PresentStates(store, homeserver, clock);
  }

  /** State events in client format, without `room_id`. Rejects with `NotReadable`, `HomeserverDown`, `StoreDownError`. */
  async read(log: RoomLog, position: number, now: number, wanted?: Wanted): Promise<JsonObject[]> {
    const shown: JsonObject[] = [];
    await eachInTurns(await this.events(log, position, wanted), ({ eventId, event }) => {
      shown.push(toClientEvent(event, eventId, { now }));
    });
    return shown;
  }

  /** The same, as it is held: of a remote room PDUs, of a resident one events as the homeserver shows them. */
  async events(log: RoomLog, position: number, wanted: Wanted = () => true): Promise<StateEvent[]> {
    const { state, changes } =
      log.feed === 'resident'
        ? await this.#residentState(log, position, wanted)
        : await this.#replicaState(log, position, wanted);
    for (const [slot, { type, stateKey, before }] of firstChanges(changes)) {
      state.delete(slot);
      if (before === null || !wanted(type, stateKey)) continue;
      const event = await this.earlier(log, before);
      if (event !== null) state.set(slot, event);
    }
    return [...state.values()];
  }

  async #residentState(log: RoomLog, position: number, wanted: Wanted) {
    let present = await this.#present.of(log, position);
    // Only now: what is logged meanwhile must not be missed here.
    let later = await readAll(this.#store, log.roomId, position);
    if (later.some((entry) => entry.type === 'm.room.redaction' && entry.position > present.head)) {
      this.#present.forget(log.roomId);
      present = await this.#present.of(log, position);
      later = await readAll(this.#store, log.roomId, position);
    }
    const state = new Map<string, StateEvent>();
    await eachInTurns(present.events, ([slot, event]) => {
      if (wanted(String(event.type), String(event.state_key))) state.set(slot, asShown(event));
    });
    return { state, changes: [...later, ...present.notYetLogged] };
  }

  async #replicaState(log: RoomLog, position: number, wanted: Wanted) {
    const state = new Map<string, StateEvent>();
    await eachInTurns(await this.#store.replicas.state(log.roomId), (stored) => {
      const stateKey = stored.stateKey ?? '';
      if (!wanted(stored.type, stateKey)) return;
      state.set(stateSlot(stored.type, stateKey), { eventId: stored.eventId, event: pduOf(stored) });
    });
    return { state, changes: await readAll(this.#store, log.roomId, position) };
  }

  /** A state event that has been replaced since; null where a non-member may not see it (any more). */
  async earlier(log: RoomLog, eventId: string): Promise<StateEvent | null> {
    if (log.feed === 'resident') {
      const event = await this.#homeserver.visibleEvent(log.roomId, eventId);
      return event === null ? null : asShown(event);
    }
    const stored = await this.#store.replicas.event(log.roomId, eventId);
    if (stored === null || !(await this.#wasReadable(log.roomId, stored))) return null;
    return { eventId, event: pduOf(stored) };
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

function firstChanges(events: readonly StateChange[]): Map<string, Undone> {
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

function asShown(event: JsonObject): StateEvent {
  return { eventId: String(event.event_id), event };
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
