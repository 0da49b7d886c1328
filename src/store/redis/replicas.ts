import type { ReplicaStore, StoredEvent } from '../store.ts';
import type { RedisConnection } from './connection.ts';
import { decodeEvent, encodeEvent, stateField } from './event-codec.ts';
import type { Indexes } from './indexes.ts';
import { roomKeys } from './keys.ts';
import { asHash, asList, asText, asTexts } from './replies.ts';
import type { RoomIndex } from './room-index.ts';
import { scripts } from './scripts.ts';

/** Fields that one step of a scan looks at. */
const SLICE = 250;

export class RedisReplicas implements ReplicaStore {
  readonly #redis: RedisConnection;
  readonly #indexes: Indexes;
  readonly #rooms: RoomIndex;

  constructor(redis: RedisConnection, indexes: Indexes, rooms: RoomIndex) {
    this.#redis = redis;
    this.#indexes = indexes;
    this.#rooms = rooms;
  }

  replace(roomId: string, state: readonly StoredEvent[], authChain: readonly StoredEvent[]): Promise<void> {
    return this.#write('replace', roomId, state, authChain);
  }

  add(roomId: string, state: readonly StoredEvent[], authChain: readonly StoredEvent[]): Promise<void> {
    return this.#write('add', roomId, state, authChain);
  }

  async state(roomId: string): Promise<StoredEvent[]> {
    return asTexts(await this.#redis.call('HVALS', roomKeys(roomId).stateEvents)).map(decodeEvent);
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
    mode: 'add' | 'replace',
    roomId: string,
    state: readonly StoredEvent[],
    authChain: readonly StoredEvent[],
  ): Promise<void> {
    const keyed = state.flatMap((event) =>
      event.stateKey === null
        ? []
        : [stateField(event.type, event.stateKey), event.eventId, encodeEvent(event)],
    );
    const chain = authChain.flatMap((event) => [event.eventId, encodeEvent(event)]);
    const { state: stateKey, stateEvents, auth } = roomKeys(roomId);
    await this.#indexes.adding([this.#rooms.entry(roomId)], () =>
      this.#redis.run(
        scripts.replicaWrite,
        [stateKey, stateEvents, auth],
        [mode, keyed.length / 3, ...keyed, ...chain],
      ),
    );
  }
}
