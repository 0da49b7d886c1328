import type { RedisConnection } from './connection.ts';
import type { Index, IndexEntry } from './indexes.ts';
import { indexKey, roomKeys } from './keys.ts';

/** The rooms that have a log or a replica. */
export class RoomIndex implements Index {
  readonly name = 'rooms';
  readonly #redis: RedisConnection;

  constructor(redis: RedisConnection) {
    this.#redis = redis;
  }

  key(): string {
    return indexKey(this.name);
  }

  async holds(_scope: string, roomId: string): Promise<boolean> {
    const { log, stateEvents, auth } = roomKeys(roomId);
    return Number(await this.#redis.call('EXISTS', log, stateEvents, auth)) > 0;
  }

  entry(roomId: string): IndexEntry {
    return { index: this, scope: '', member: roomId };
  }
}
