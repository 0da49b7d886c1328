import { randomUUID } from 'node:crypto';
import type { ReplicaStore, StoredEvent } from '../store.ts';
import type { RedisConnection } from './connection.ts';
import { decodeEvent, encodeEvent, stateField } from './event-codec.ts';
import type { Indexes } from './indexes.ts';
import { roomKeys } from './keys.ts';
import { asHash, asList, asText, asTexts } from './replies.ts';
import type { RoomIndex } from './room-index.ts';
import { scripts } from './scripts.ts';

/** Events that are read or written by one command. */
const SLICE = 250;
/** Times that a large state is read again because it has changed meanwhile, before it is read by one command. */
const READINGS = 3;
/** What was staged by a process that did not come to the end of it goes then. */
const STAGED_FOR_MS = 10 * 60_000;

export class RedisReplicas implements ReplicaStore {
  readonly #redis: RedisConnection;
  readonly #indexes: Indexes;
  readonly #rooms: RoomIndex;

  constructor(redis: RedisConnection, indexes: Indexes, rooms: RoomIndex) {
    this.#redis = redis;
    this.#indexes = indexes;
    this.#rooms = rooms;
  }

  async replace(
    roomId: string,
    state: readonly StoredEvent[],
    authChain: readonly StoredEvent[],
  ): Promise<void> {
    if (Math.max(state.length, authChain.length) <= SLICE) {
      return this.#write(roomId, 'replace', state, authChain);
    }
    const { state: stateKey, stateEvents, auth, staged } = roomKeys(roomId);
    const stagedKeys = staged(randomUUID());
    for (let at = 0; at < Math.max(state.length, authChain.length); at += SLICE) {
      const slice = [state, authChain].map((events) => events.slice(at, at + SLICE));
      const values = toValues(slice[0] ?? [], slice[1] ?? []);
      const mode = at === 0 ? 'stage' : 'stage on';
      await this.#redis.run(scripts.replicaWrite, stagedKeys, [mode, STAGED_FOR_MS, ...values]);
    }
    await this.#indexes.adding([this.#rooms.entry(roomId)], () =>
      this.#redis.run(scripts.replicaSwitch, [stateKey, stateEvents, auth, ...stagedKeys], []),
    );
  }

  add(roomId: string, state: readonly StoredEvent[], authChain: readonly StoredEvent[]): Promise<void> {
    return this.#write(roomId, 'add', state, authChain);
  }

  /** All event IDs as they are at one moment, then their events by slices: whole as long as none has gone meanwhile. */
  async state(roomId: string): Promise<StoredEvent[]> {
    const { state, stateEvents } = roomKeys(roomId);
    for (let reading = 0; reading < READINGS; reading++) {
      const found = await this.#eventsOf(stateEvents, asTexts(await this.#redis.call('HVALS', state)));
      if (found !== null) return found;
    }
    return asTexts(await this.#redis.call('HVALS', stateEvents)).map(decodeEvent);
  }

  /** Null when one of them is not there. */
  async #eventsOf(key: string, eventIds: readonly string[]): Promise<StoredEvent[] | null> {
    const found: StoredEvent[] = [];
    for (let at = 0; at < eventIds.length; at += SLICE) {
      const values = asList(await this.#redis.call('HMGET', key, ...eventIds.slice(at, at + SLICE)));
      if (!values.every((value) => typeof value === 'string')) return null;
      for (const value of values) found.push(decodeEvent(value));
    }
    return found;
  }

  async *stateOfType(roomId: string, type: string): AsyncGenerator<StoredEvent[]> {
    const { stateEvents } = roomKeys(roomId);
    // A scan may give a field again.
    const given = new Set<string>();
    let cursor = '0';
    do {
      const [next, found] = asList(await this.#redis.call('HSCAN', stateEvents, cursor, 'COUNT', SLICE));
      cursor = asText(next);
      const slice: StoredEvent[] = [];
      for (const [eventId, encoded] of asHash(found)) {
        if (given.has(eventId)) continue;
        given.add(eventId);
        const event = decodeEvent(encoded);
        if (event.type === type) slice.push(event);
      }
      if (slice.length > 0) yield slice;
    } while (cursor !== '0');
  }

  async stateOf(
    roomId: string,
    keys: readonly (readonly [type: string, stateKey: string])[],
  ): Promise<StoredEvent[]> {
    if (keys.length === 0) return [];
    const { state, stateEvents } = roomKeys(roomId);
    const fields = keys.map(([type, stateKey]) => stateField(type, stateKey));
    const found = await this.#redis.run(scripts.replicaStateOf, [state, stateEvents], fields);
    return asTexts(found).map(decodeEvent);
  }

  async event(roomId: string, eventId: string): Promise<StoredEvent | null> {
    const { ids, entries, stateEvents, auth } = roomKeys(roomId);
    const found = await this.#redis.run(scripts.roomEvent, [ids, entries, stateEvents, auth], [eventId]);
    return typeof found === 'string' ? decodeEvent(found) : null;
  }

  async drop(roomId: string): Promise<void> {
    await this.#indexes.removing([this.#rooms.entry(roomId)]);
    const { state, stateEvents, auth } = roomKeys(roomId);
    await this.#redis.call('UNLINK', state, stateEvents, auth);
  }

  async #write(
    roomId: string,
    mode: 'add' | 'replace',
    state: readonly StoredEvent[],
    authChain: readonly StoredEvent[],
  ): Promise<void> {
    const { state: stateKey, stateEvents, auth } = roomKeys(roomId);
    const values = [mode, 0, ...toValues(state, authChain)];
    await this.#indexes.adding([this.#rooms.entry(roomId)], () =>
      this.#redis.run(scripts.replicaWrite, [stateKey, stateEvents, auth], values),
    );
  }
}

/** As `replica-write.lua` takes them. */
function toValues(
  state: readonly StoredEvent[],
  authChain: readonly StoredEvent[],
): readonly (string | number)[] {
  const keyed = state.flatMap((event) =>
    event.stateKey === null
      ? []
      : [stateField(event.type, event.stateKey), event.eventId, encodeEvent(event)],
  );
  const chain = authChain.flatMap((event) => [event.eventId, encodeEvent(event)]);
  return [keyed.length / 3, ...keyed, ...chain];
}
