import { LRUCache } from 'lru-cache';
import type { Homeserver, RoomSnapshot } from '../homeserver/homeserver.ts';
import type { JsonObject } from '../matrix/json.ts';
import type { Pdu } from '../matrix/pdu.ts';
import { redact } from '../matrix/redaction.ts';
import { roomVersion } from '../matrix/room-versions.ts';
import { NextFlight } from './next-flight.ts';

/** PDUs held in all: at about 2 KiB each as objects, some 200 MiB at worst. */
const MOST_PDUS = 100_000;
/** Nobody asks for an old extremity again, except where the room is quiet. */
const KEPT_MS = 600_000;
/** Recent events that a first answer carries. */
const MESSAGES = 50;

/** What `/peek` answers of a room: its state with the auth chain, an extremity, recent events. */
export interface PeekSnapshot {
  readonly roomVersion: string;
  readonly state: Pdu[];
  readonly authChain: Pdu[];
  readonly latest: JsonObject;
  /** World-readable ones, oldest first. */
  readonly messages: JsonObject[];
}

/** Snapshots of rooms, so that a hundred servers that peek a room cost one. */
export class Snapshots {
  readonly #homeserver: Homeserver;
  readonly #cache = new LRUCache<string, PeekSnapshot>({
    maxSize: MOST_PDUS,
    sizeCalculation: (snapshot) => snapshot.state.length + snapshot.authChain.length + MESSAGES + 1,
    ttl: KEPT_MS,
  });
  readonly #extremities = new NextFlight<string>();
  readonly #reading = new Map<string, Promise<PeekSnapshot>>();

  constructor(homeserver: Homeserver) {
    this.#homeserver = homeserver;
  }

  /** The room as it is now or a little later. Rejects with `NotReadable` and `HomeserverDown`. */
  async take(roomId: string): Promise<PeekSnapshot> {
    // The state at an event never changes, so what was read for these extremities holds for the next who asks.
    const key = await this.#extremities.run(roomId, async () => {
      const { eventIds } = await this.#homeserver.extremities(roomId);
      return JSON.stringify([roomId, ...eventIds.toSorted()]);
    });
    const cached = this.#cache.get(key);
    if (cached !== undefined) return cached;
    const reading =
      this.#reading.get(key) ?? this.#read(roomId, key).finally(() => this.#reading.delete(key));
    this.#reading.set(key, reading);
    return reading;
  }

  async #read(roomId: string, key: string): Promise<PeekSnapshot> {
    const [snapshot, history] = await Promise.all([
      this.#homeserver.snapshot(roomId),
      this.#homeserver.history(roomId, null, MESSAGES),
    ]);
    const taken: PeekSnapshot = {
      roomVersion: snapshot.roomVersion,
      state: snapshot.state,
      authChain: snapshot.authChain,
      latest: await this.#latest(roomId, snapshot),
      messages: history.events
        .slice(0, MESSAGES)
        .map((event) => event.pdu)
        .reverse(),
    };
    this.#cache.set(key, taken);
    return taken;
  }

  /** An extremity of a branch where the room was not open goes out redacted. */
  async #latest(roomId: string, snapshot: RoomSnapshot): Promise<JsonObject> {
    const visible = await this.#homeserver.visibleEvent(roomId, snapshot.latestId);
    if (visible !== null) return snapshot.latest;
    const rules = roomVersion(snapshot.roomVersion);
    if (rules === undefined) throw new Error(`room version ${snapshot.roomVersion} is not known`);
    return redact(snapshot.latest, rules);
  }
}
