import type { OutboundPeek, OutboundPeekStore } from '../store.ts';
import type { RedisConnection } from './connection.ts';
import type { Index, IndexEntry, Indexes } from './indexes.ts';
import { indexKey, roomKeys } from './keys.ts';
import type { RedisNotices } from './redis-notices.ts';
import { asHash, asText, mapBounded } from './replies.ts';
import { scripts } from './scripts.ts';

const FIELDS = [
  'server',
  'candidates',
  'renewalIntervalMs',
  'renewAt',
  'heardAt',
  'begunAt',
  'how',
  'phase',
] as const satisfies readonly (keyof OutboundPeek)[];

/** All peeks of a room are one hash, whose fields are named `field/peek ID`. */
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

  async put(
    peek: OutboundPeek,
    over?: { readonly peekId: string; readonly becomes: 'ending' | 'forgotten' },
  ): Promise<boolean> {
    const { roomId, peekId } = peek;
    const written = toFields(peekId, peek);
    const done = await this.#indexes.adding([this.#entry(roomId)], async () => {
      if (over === undefined) {
        await this.#redis.call('HSET', roomKeys(roomId).outbound, ...written);
        return true;
      }
      const other = over.peekId !== peekId;
      const ends = other && over.becomes === 'ending' ? [field('phase', over.peekId), 'ending'] : [];
      const goes = other && over.becomes === 'forgotten' ? fieldsOf(over.peekId) : [];
      return this.#change(roomId, [field('phase', over.peekId), 'live'], [...written, ...ends], goes);
    });
    if (done) this.#notices.emit({ kind: 'outbound', roomId });
    return done;
  }

  async ofRoom(roomId: string): Promise<OutboundPeek[]> {
    const peeks = new Map<string, Map<string, string>>();
    for (const [name, value] of asHash(await this.#redis.call('HGETALL', roomKeys(roomId).outbound))) {
      const slash = name.indexOf('/');
      const peekId = name.slice(slash + 1);
      const fields = peeks.get(peekId) ?? new Map<string, string>();
      peeks.set(peekId, fields.set(name.slice(0, slash), value));
    }
    return [...peeks].map(([peekId, fields]) => toPeek(roomId, peekId, fields)).toSorted(byAge);
  }

  async all(): Promise<OutboundPeek[]> {
    const roomIds = await this.#indexes.members(this.#rooms);
    return (await mapBounded(roomIds, (roomId) => this.ofRoom(roomId))).flat().toSorted(byAge);
  }

  async update(
    roomId: string,
    peekId: string,
    change: Partial<Omit<OutboundPeek, 'roomId' | 'peekId'>>,
  ): Promise<boolean> {
    const done = await this.#change(roomId, [field('phase', peekId), ''], toFields(peekId, change), []);
    if (done) this.#notices.emit({ kind: 'outbound', roomId });
    return done;
  }

  async remove(roomId: string, peekId: string): Promise<void> {
    await this.#indexes.removing([this.#entry(roomId)]);
    const removed = await this.#change(roomId, [field('phase', peekId), ''], [], fieldsOf(peekId));
    if (removed) this.#notices.emit({ kind: 'outbound', roomId });
  }

  /** If the room has this field with this value (`''`: any). */
  async #change(
    roomId: string,
    [name, value]: readonly [field: string, value: string],
    set: readonly string[],
    unset: readonly string[],
  ): Promise<boolean> {
    const values = [name, value, set.length, ...set, ...unset];
    return Number(await this.#redis.run(scripts.hashChange, [roomKeys(roomId).outbound], values)) === 1;
  }

  #entry(roomId: string): IndexEntry {
    return { index: this.#rooms, scope: '', member: roomId };
  }
}

function byAge(a: OutboundPeek, b: OutboundPeek): number {
  return a.begunAt - b.begunAt || (a.peekId < b.peekId ? -1 : 1);
}

function field(name: (typeof FIELDS)[number], peekId: string): string {
  return `${name}/${peekId}`;
}

function fieldsOf(peekId: string): string[] {
  return FIELDS.map((name) => field(name, peekId));
}

function toFields(peekId: string, peek: Partial<OutboundPeek>): string[] {
  return FIELDS.flatMap((name) => {
    const value = peek[name];
    if (value === undefined) return [];
    return [field(name, peekId), name === 'candidates' ? JSON.stringify(value) : String(value)];
  });
}

function toPeek(roomId: string, peekId: string, fields: Map<string, string>): OutboundPeek {
  return {
    roomId,
    peekId,
    server: asText(fields.get('server')),
    candidates: JSON.parse(asText(fields.get('candidates'))) as string[],
    renewalIntervalMs: Number(fields.get('renewalIntervalMs')),
    renewAt: Number(fields.get('renewAt')),
    heardAt: Number(fields.get('heardAt')),
    begunAt: Number(fields.get('begunAt')),
    how: asText(fields.get('how')) as OutboundPeek['how'],
    phase: fields.get('phase') === 'ending' ? 'ending' : 'live',
  };
}
