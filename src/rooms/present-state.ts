import { LRUCache } from 'lru-cache';
import type { Homeserver } from '../homeserver/homeserver.ts';
import type { JsonObject } from '../matrix/json.ts';
import type { Clock } from '../platform/clock.ts';
import { SingleFlight } from '../platform/single-flight.ts';
import type { RoomLog, Store } from '../store/store.ts';
import { stateSlot } from './log-entries.ts';

/** The resolved state of a resident room, as the homeserver gave it at one moment. */
export interface PresentState {
  /** By slot; in client format, as it came. */
  readonly events: ReadonlyMap<string, JsonObject>;
  /** State events that are in it already, and that the feed had not brought into the log. */
  readonly notYetLogged: readonly StateChange[];
  /** The log's head before it was read: it is of use for positions up to here. */
  readonly head: number;
}

/** An event that may have changed a slot. */
export interface StateChange {
  readonly type: string;
  readonly stateKey: string | null;
  readonly replaces: string | null;
  readonly applied: boolean;
}

/** A large room's state is some megabytes and takes the homeserver a while; a crowd comes within seconds. */
const KEPT_MS = 60_000;
const MOST_EVENTS_KEPT = 60_000;
const LAG_TIMEOUT_MS = 10_000;

/** Reads the present state of resident rooms, once for those who come together. */
export class PresentStates {
  readonly #store: Store;
  readonly #homeserver: Homeserver;
  readonly #clock: Clock;
  readonly #reading = new SingleFlight<PresentState>();
  readonly #kept = new LRUCache<string, PresentState & { readonly at: number }>({
    maxSize: MOST_EVENTS_KEPT,
    sizeCalculation: ({ events }) => events.size + 1,
  });

  constructor(store: Store, homeserver: Homeserver, clock: Clock) {
    this.#store = store;
    this.#homeserver = homeserver;
    this.#clock = clock;
  }

  /** One that tells of `position`. Rejects with `NotReadable`, `HomeserverDown` and `StoreDownError`. */
  async of(log: RoomLog, position: number): Promise<PresentState> {
    const kept = this.#kept.get(log.roomId);
    if (kept !== undefined && kept.head >= position && this.#clock.now() - kept.at < KEPT_MS) return kept;
    // Who joins a reading that began before this position was there has to have it read again.
    const shared = await this.#reading.run(log.roomId, () => this.#read(log));
    return shared.head >= position ? shared : this.#reading.run(log.roomId, () => this.#read(log));
  }

  /** An event of it has been redacted since. */
  forget(roomId: string): void {
    this.#kept.delete(roomId);
  }

  async #read(asked: RoomLog): Promise<PresentState> {
    const { roomId } = asked;
    const at = this.#clock.now();
    const { head } = (await this.#store.logs.get(roomId)) ?? asked;
    const events = new Map<string, JsonObject>();
    for (const event of await this.#homeserver.currentState(roomId)) {
      events.set(stateSlot(String(event.type), String(event.state_key)), event);
    }
    const present = { events, notYetLogged: await this.#lag(asked), head };
    this.#kept.set(roomId, { ...present, at });
    return present;
  }

  /** What the homeserver already counts as current but the feed has not brought yet. */
  async #lag(asked: RoomLog): Promise<StateChange[]> {
    const token = (await this.#store.logs.get(asked.roomId))?.feedToken ?? asked.feedToken;
    const lag = await this.#homeserver.follow(asked.roomId, token, {
      timeoutMs: 0,
      signal: AbortSignal.timeout(LAG_TIMEOUT_MS),
    });
    return lag.events.map(({ pdu, replaces }) => ({
      type: pdu.type,
      stateKey: typeof pdu.state_key === 'string' ? pdu.state_key : null,
      replaces,
      applied: true,
    }));
  }
}
