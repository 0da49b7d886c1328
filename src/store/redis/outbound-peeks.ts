import type { OutboundPeek, OutboundPeekStore } from '../store.ts';
import type { RedisConnection } from './connection.ts';
import type { Index, IndexEntry, Indexes } from './indexes.ts';
import { indexKey, roomKeys } from './keys.ts';
import type { RedisNotices } from './redis-notices.ts';
import { asHash, asText, mapBounded } from './replies.ts';
import { scripts } from './scripts.ts';

export class RedisOutboundPeeks implements OutboundPeekStore {
  readonly #redis: RedisConnection;
  readonly #indexes: Indexes;
  readonly #notices: RedisNotices;
  /** Rooms that have an outbound peek. */
  readonly #rooms: Index;

  constructor(redis: RedisConnection, indexes: Indexes, notices: RedisNotices) {
    this.#redis = redis;
    this.#indexes = indexes;
    this.#notices = notices;
    this.#rooms = indexes.register({
      name: 'outbound',
      key: () => indexKey('outbound'),
      holds: async (_scope, roomId) => Number(await redis.call('EXISTS', roomKeys(roomId).outbound)) > 0,
    });
  }

  async put(peek: OutboundPeek): Promise<void> {
    const { roomId } = peek;
    await this.#indexes.adding([this.#entry(roomId)], () =>
      this.#redis.call('HSET', roomKeys(roomId).outbound, ...toFields(peek)),
    );
    this.#notices.emit({ kind: 'outbound', roomId });
  }

  async get(roomId: string): Promise<OutboundPeek | null> {
    const fields = asHash(await this.#redis.call('HGETALL', roomKeys(roomId).outbound));
    return fields.size === 0 ? null : toPeek(roomId, fields);
  }

  async all(): Promise<OutboundPeek[]> {
    const roomIds = await this.#indexes.members(this.#rooms);
    const peeks = await mapBounded(roomIds, (roomId) => this.get(roomId));
    return peeks.filter((peek) => peek !== null);
  }

  async update(
    roomId: string,
    peekId: string,
    change: Partial<Omit<OutboundPeek, 'roomId'>>,
  ): Promise<boolean> {
    const set = toFields(change);
    const values = ['peekId', peekId, set.length, ...set];
    const done = Number(await this.#redis.run(scripts.hashChange, [roomKeys(roomId).outbound], values)) === 1;
    if (done) this.#notices.emit({ kind: 'outbound', roomId });
    return done;
  }

  async remove(roomId: string, peekId: string): Promise<void> {
    await this.#indexes.removing([this.#entry(roomId)]);
    const removed = await this.#redis.run(scripts.outboundRemove, [roomKeys(roomId).outbound], [peekId]);
    if (Number(removed) === 1) this.#notices.emit({ kind: 'outbound', roomId });
  }

  #entry(roomId: string): IndexEntry {
    return { index: this.#rooms, scope: '', member: roomId };
  }
}

function toFields(peek: Partial<OutboundPeek>): string[] {
  const { roomId: _, candidates, ...plain } = peek;
  const fields = Object.entries(plain).flatMap(([field, value]) => [field, String(value)]);
  if (candidates !== undefined) fields.push('candidates', JSON.stringify(candidates));
  return fields;
}

function toPeek(roomId: string, fields: Map<string, string>): OutboundPeek {
  return {
    roomId,
    server: asText(fields.get('server')),
    peekId: asText(fields.get('peekId')),
    candidates: JSON.parse(asText(fields.get('candidates'))) as string[],
    renewalIntervalMs: Number(fields.get('renewalIntervalMs')),
    renewAt: Number(fields.get('renewAt')),
    heardAt: Number(fields.get('heardAt')),
    phase: fields.get('phase') === 'ending' ? 'ending' : 'live',
  };
}
