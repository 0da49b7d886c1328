import { eventIdOf } from '../matrix/event-id.ts';
import { JsonError, type JsonObject } from '../matrix/json.ts';
import { authEventIds, type Pdu, PduError, stateKeyOf } from '../matrix/pdu.ts';
import type { RoomVersionRules } from '../matrix/room-versions.ts';
import { inStretches } from './event-lists.ts';
import { type Homeserver, HomeserverDown, type RoomSnapshot } from './homeserver.ts';
import { rulesOf } from './room-rules.ts';

/** A room whose extremities move faster than its state is read: the last reading stands. */
const MOST_READINGS = 4;
/** Up to so many events are fetched one by one rather than with one more whole state. */
const FEW = 20;

export type SnapshotSource = Pick<Homeserver, 'extremities' | 'stateBefore' | 'event' | 'currentState'>;

/**
 * The room as a peeking server needs it. With one forward extremity, the state is the one before it, and itself
 * if it is state. With several, only the homeserver's own answer to a client is their resolved state: the IDs
 * are taken from there, and the extremities are read again afterwards, lest the two be of different moments.
 */
export async function takeSnapshot(source: SnapshotSource, roomId: string): Promise<RoomSnapshot> {
  for (let reading = 1; ; reading++) {
    const { roomVersion, eventIds } = await source.extremities(roomId);
    const room = new SnapshotReading(source, roomId, rulesOf(roomVersion));
    const [only] = eventIds;
    if (eventIds.length === 1 && only !== undefined) return room.atOne(only);
    const snapshot = await room.resolved(eventIds);
    if (reading === MOST_READINGS) return snapshot;
    const again = (await source.extremities(roomId)).eventIds;
    if (again.length === eventIds.length && again.every((id) => eventIds.includes(id))) return snapshot;
  }
}

class SnapshotReading {
  readonly #source: SnapshotSource;
  readonly #roomId: string;
  readonly #rules: RoomVersionRules;
  /** All events that came along, by ID. */
  readonly #pool = new Map<string, Pdu>();

  constructor(source: SnapshotSource, roomId: string, rules: RoomVersionRules) {
    this.#source = source;
    this.#roomId = roomId;
    this.#rules = rules;
  }

  async atOne(latestId: string): Promise<RoomSnapshot> {
    const before = await this.#stateBefore(latestId);
    const latest = await this.#latest(latestId);
    const state = new Map(before);
    if (stateKeyOf(latest) !== null) state.set(placeOf(latest), latestId);
    return this.#snapshot([...state.values()], latest, latestId);
  }

  async resolved(extremities: readonly string[]): Promise<RoomSnapshot> {
    const current = await this.#source.currentState(this.#roomId);
    const stateIds = current.map(idOfClientEvent).filter((id) => id !== null);
    for (const extremity of extremities) {
      const missing = stateIds.filter((id) => !this.#pool.has(id));
      if (this.#pool.size > 0 && missing.length <= FEW) break;
      await this.#stateBefore(extremity);
    }
    await this.#fetch(stateIds);
    const latest = await Promise.all(
      extremities.map(async (id) => ({ id, event: await this.#source.event(id) })),
    );
    const [deepest] = latest.toSorted((a, b) => (b.event?.depth ?? -1) - (a.event?.depth ?? -1));
    if (deepest === undefined || deepest.event === null) throw extremityLost();
    return this.#snapshot(stateIds, deepest.event, deepest.id);
  }

  /** State before an event: event IDs by type and state key. All that came with it goes into the pool. */
  async #stateBefore(eventId: string): Promise<Map<string, string>> {
    const { state, authChain } = await this.#source.stateBefore(this.#roomId, eventId);
    const ids = new Map<string, string>();
    await inStretches(state, (pdu) => {
      const id = this.#keep(pdu);
      if (id !== null) ids.set(placeOf(pdu), id);
    });
    await inStretches(authChain, (pdu) => void this.#keep(pdu));
    return ids;
  }

  async #latest(eventId: string): Promise<Pdu> {
    const latest = await this.#source.event(eventId);
    if (latest === null) throw extremityLost();
    this.#pool.set(eventId, latest);
    return latest;
  }

  async #snapshot(stateIds: readonly string[], latest: Pdu, latestId: string): Promise<RoomSnapshot> {
    const state = stateIds.map((id) => this.#pool.get(id)).filter((pdu) => pdu !== undefined);
    const authChain = await this.#authChain([...state, latest]);
    return { roomVersion: this.#rules.id, state, authChain, latest, latestId };
  }

  /** All that the events rest on, back to the create event, which from version 12 on none of them names. */
  async #authChain(events: readonly Pdu[]): Promise<Pdu[]> {
    const chain = new Map<string, Pdu>();
    let layer = events;
    while (layer.length > 0) {
      const ids = new Set<string>();
      await inStretches(layer, (pdu) => {
        for (const id of authEventIds(pdu, this.#rules)) if (!chain.has(id)) ids.add(id);
      });
      await this.#fetch([...ids]);
      const next: Pdu[] = [];
      for (const id of ids) {
        const pdu = this.#pool.get(id);
        if (pdu === undefined) continue;
        chain.set(id, pdu);
        next.push(pdu);
      }
      layer = next;
    }
    for (const [id, pdu] of this.#pool) {
      if (pdu.type === 'm.room.create' && stateKeyOf(pdu) === '') chain.set(id, pdu);
    }
    return [...chain.values()];
  }

  /** Brings into the pool what is not there; what the homeserver does not have stays out. */
  async #fetch(eventIds: readonly string[]): Promise<void> {
    const missing = eventIds.filter((id) => !this.#pool.has(id));
    await Promise.all(
      missing.map(async (id) => {
        const pdu = await this.#source.event(id);
        if (pdu !== null) this.#pool.set(id, pdu);
      }),
    );
  }

  /** The event's ID; null where it has none (one old event that cannot be hashed costs itself alone). */
  #keep(pdu: Pdu): string | null {
    try {
      const id = eventIdOf(pdu, this.#rules);
      this.#pool.set(id, pdu);
      return id;
    } catch (error) {
      if (error instanceof JsonError || error instanceof PduError) return null;
      throw error;
    }
  }
}

function placeOf(pdu: Pdu): string {
  return JSON.stringify([pdu.type, pdu.state_key]);
}

function idOfClientEvent(event: JsonObject): string | null {
  return typeof event.event_id === 'string' ? event.event_id : null;
}

function extremityLost(): HomeserverDown {
  return new HomeserverDown('the homeserver does not give an event that it named as the newest');
}
