import { LRUCache } from 'lru-cache';
import type { Homeserver, RoomSnapshot } from '../homeserver/homeserver.ts';
import { domainOf } from '../matrix/ids.ts';
import type { JsonObject } from '../matrix/json.ts';
import type { Pdu } from '../matrix/pdu.ts';
import { redact } from '../matrix/redaction.ts';
import { roomVersion } from '../matrix/room-versions.ts';
import { Gate, GateLeftError } from '../platform/gate.ts';
import type { RoomLogStore } from '../store/store.ts';
import { newestSince } from './newest-since.ts';
import { NextFlight } from './next-flight.ts';

/** Bytes kept in all: the three or four largest public rooms, or thousands of small ones. */
const MOST_BYTES = 128 * 1024 * 1024;
const KEPT_MS = 600_000;
/** Recent events that a first answer carries. */
const MESSAGES = 50;
/** Rooms read from the homeserver at a time: each answer of it is held whole until it has been gone through. */
const READ_AT_ONCE = 2;

/** Of these, for the servers of one domain: who asks for many large rooms waits for himself. */
const READ_FOR_ONE_DOMAIN = 1;

/** What `/peek` answers of a room: its state with the auth chain, an extremity, recent events. */
export interface PeekSnapshot {
  /** The members of the answer that are the same for all, in JSON, with the closing brace. */
  readonly chunks: readonly Uint8Array[];
  readonly bytes: number;
  /** Of its state, what decides whether it may be peeked. */
  readonly visibility: Pdu | null;
  readonly encryption: Pdu | null;
}

interface Taken extends PeekSnapshot {
  /** The extremities that it is of. */
  readonly key: string;
  readonly room: Pick<RoomSnapshot, 'roomVersion' | 'state' | 'authChain'>;
  /** If there was one alone. */
  readonly extremity: string | null;
}

/** A room being read, or waiting for that. */
class Reading {
  readonly taken: Promise<Taken>;
  readonly arrived: (taken: Taken) => void;
  readonly failed: (reason: unknown) => void;
  readonly begun = new AbortController();
  /** The domains in whose lines it waits. */
  readonly askers = new Set<string>();

  constructor() {
    const { promise, resolve, reject } = Promise.withResolvers<Taken>();
    this.taken = promise;
    this.arrived = resolve;
    this.failed = reject;
  }
}

/**
 * Snapshots of rooms, so that a hundred servers that peek a room cost one. It is kept for as long as the room's
 * extremities stay the same; where only messages have come since, their state is taken over.
 */
export class Snapshots {
  readonly #homeserver: Homeserver;
  readonly #logs: RoomLogStore;
  readonly #cache = new LRUCache<string, Taken>({
    maxSize: MOST_BYTES,
    sizeCalculation: (taken) => taken.bytes,
    ttl: KEPT_MS,
  });
  readonly #extremities = new NextFlight<string[]>();
  readonly #reading = new Map<string, Reading>();
  readonly #gate = new Gate(READ_AT_ONCE, Number.POSITIVE_INFINITY, { running: READ_FOR_ONE_DOMAIN });

  constructor(homeserver: Homeserver, logs: RoomLogStore) {
    this.#homeserver = homeserver;
    this.#logs = logs;
  }

  /** The room as it is now or a little later, for this server. Rejects with `NotReadable` and `HomeserverDown`. */
  async take(roomId: string, server: string): Promise<PeekSnapshot> {
    // The state at an event never changes, so what was read for these extremities holds for the next who asks.
    const eventIds = await this.#extremities.run(roomId, async () =>
      (await this.#homeserver.extremities(roomId)).eventIds.toSorted(),
    );
    const key = JSON.stringify([roomId, ...eventIds]);
    const cached = this.#cache.get(roomId);
    if (cached?.key === key) return cached;
    const reading = this.#reading.get(key) ?? new Reading();
    this.#reading.set(key, reading);
    this.#queue(reading, domainOf(server), async () => {
      try {
        const taken = (await this.#moved(roomId, key, eventIds, cached)) ?? (await this.#read(roomId, key));
        this.#cache.set(roomId, taken);
        return taken;
      } finally {
        this.#reading.delete(key);
      }
    });
    return reading.taken;
  }

  /** The room is read when it is the turn of the first of those who ask for it; the others leave their lines. */
  #queue(reading: Reading, domain: string, read: () => Promise<Taken>): void {
    if (reading.begun.signal.aborted || reading.askers.has(domain)) return;
    reading.askers.add(domain);
    const inTurn = async () => {
      if (reading.begun.signal.aborted) return;
      reading.begun.abort();
      await read().then(reading.arrived, reading.failed);
    };
    this.#gate.run(inTurn, reading.begun.signal, domain).catch((error: unknown) => {
      if (!(error instanceof GateLeftError)) reading.failed(error);
    });
  }

  /** The snapshot before with a newer extremity; null where the room's state may have changed. */
  async #moved(
    roomId: string,
    key: string,
    eventIds: readonly string[],
    before?: Taken,
  ): Promise<Taken | null> {
    const [to] = eventIds;
    const from = before?.extremity ?? null;
    if (before === undefined || from === null || to === undefined || eventIds.length !== 1) return null;
    const newest = await newestSince(this.#logs, roomId, { from, to }, MESSAGES);
    if (newest === null) return null;
    return taken(key, to, { ...before, ...before.room }, newest.latest, newest.messages);
  }

  async #read(roomId: string, key: string): Promise<Taken> {
    const [snapshot, history] = await Promise.all([
      this.#homeserver.snapshot(roomId),
      this.#homeserver.history(roomId, null, MESSAGES),
    ]);
    const messages = history.events
      .slice(0, MESSAGES)
      .map((event) => JSON.stringify(event.pdu))
      .reverse();
    const alone = key === JSON.stringify([roomId, snapshot.latestId]);
    const latest = JSON.stringify(await this.#latest(roomId, snapshot));
    return taken(key, alone ? snapshot.latestId : null, snapshot, latest, messages);
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

function taken(
  key: string,
  extremity: string | null,
  snapshot: Pick<RoomSnapshot, 'roomVersion' | 'state' | 'authChain' | 'visibility' | 'encryption'>,
  latest: string,
  messages: readonly string[],
): Taken {
  const { roomVersion, state, authChain, visibility, encryption } = snapshot;
  const chunks = [
    Buffer.from(`"room_version":${JSON.stringify(roomVersion)},"state":[`),
    ...state.chunks,
    Buffer.from('],"auth_chain":['),
    ...authChain.chunks,
    Buffer.from(`],"latest_event":${latest},"messages":[${messages.join(',')}]}`),
  ];
  const bytes = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
  return { key, extremity, room: { roomVersion, state, authChain }, chunks, bytes, visibility, encryption };
}
