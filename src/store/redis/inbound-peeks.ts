import type { Cursor, InboundPeek, InboundPeekStore } from '../store.ts';
import type { RedisConnection } from './connection.ts';
import type { Index, IndexEntry, Indexes } from './indexes.ts';
import { encode, indexKey, roomKeys, serverKeys } from './keys.ts';
import type { RedisNotices } from './redis-notices.ts';
import { asHash, asTexts, mapBounded } from './replies.ts';
import { scripts } from './scripts.ts';

type Named = Pick<InboundPeek, 'roomId' | 'peekId'>;

export class RedisInboundPeeks implements InboundPeekStore {
  readonly #redis: RedisConnection;
  readonly #indexes: Indexes;
  readonly #notices: RedisNotices;
  /** Servers that have a peek, a cursor or something to be announced. */
  readonly #servers: Index;
  /** Each room's servers that peek into it. */
  readonly #peekers: Index;

  constructor(redis: RedisConnection, indexes: Indexes, notices: RedisNotices) {
    this.#redis = redis;
    this.#indexes = indexes;
    this.#notices = notices;
    this.#servers = indexes.register({
      name: 'servers',
      key: () => indexKey('servers'),
      holds: async (_scope, server) => {
        const { peeks, cursors, expired } = serverKeys(server);
        return Number(await redis.call('EXISTS', peeks, cursors, expired)) > 0;
      },
    });
    this.#peekers = indexes.register({
      name: 'peekers',
      key: (roomId) => roomKeys(roomId).peekers,
      holds: async (roomId, server) =>
        Number(await redis.call('HEXISTS', serverKeys(server).rooms, roomId)) > 0,
    });
  }

  async put(peek: InboundPeek, position: number, limit: number): Promise<'created' | 'renewed' | 'full'> {
    const { server, roomId, peekId } = peek;
    const { peeks, rooms, cursors, expired } = serverKeys(server);
    const values = [
      ...[peekField(roomId, peekId), roomId, peek.createdAt, peek.renewedAt, peek.expiresAt],
      ...[position, limit, toMember(peek)],
    ];
    const entries = [this.#serverEntry(server), this.#peekerEntry(server, roomId)];
    const outcome = await this.#indexes.adding(entries, () =>
      this.#redis.run(scripts.inboundPut, [peeks, rooms, cursors, expired], values),
    );
    if (outcome !== 'full') this.#notices.emit({ kind: 'inbound', server, roomId });
    return outcome as 'created' | 'renewed' | 'full';
  }

  async get(server: string, roomId: string, peekId: string): Promise<InboundPeek | null> {
    const field = peekField(roomId, peekId);
    const times = await this.#redis.call('HGET', serverKeys(server).peeks, field);
    return typeof times === 'string' ? toPeek(server, field, times) : null;
  }

  async ofRoom(roomId: string): Promise<InboundPeek[]> {
    const servers = await this.#indexes.members(this.#peekers, roomId);
    const found = await mapBounded(servers, async (server) => {
      const { peeks } = serverKeys(server);
      return toPeeks(server, await this.#redis.run(scripts.inboundOfRoom, [peeks], [peekField(roomId, '')]));
    });
    return found.flat();
  }

  async ofServer(server: string): Promise<InboundPeek[]> {
    return toPeeks(server, await this.#redis.call('HGETALL', serverKeys(server).peeks));
  }

  async all(): Promise<InboundPeek[]> {
    const servers = await this.#indexes.members(this.#servers);
    return (await mapBounded(servers, (server) => this.ofServer(server))).flat();
  }

  async due(now: number, limit: number): Promise<InboundPeek[]> {
    return (await this.all()).filter((peek) => peek.expiresAt <= now).slice(0, limit);
  }

  async countByServer(): Promise<Map<string, number>> {
    const servers = await this.#indexes.members(this.#servers);
    const counts = await mapBounded(servers, async (server) => {
      const held = Number(await this.#redis.call('HLEN', serverKeys(server).peeks));
      return [server, held] as const;
    });
    return new Map(counts);
  }

  async remove(server: string, roomId: string, peekId: string, owedUpTo?: number): Promise<boolean> {
    await this.#indexes.removing([this.#peekerEntry(server, roomId), this.#serverEntry(server)]);
    const { peeks, rooms, cursors } = serverKeys(server);
    const values = [peekField(roomId, peekId), roomId, owedUpTo ?? ''];
    const removed =
      Number(await this.#redis.run(scripts.inboundRemove, [peeks, rooms, cursors], values)) === 1;
    if (removed) this.#notices.emit({ kind: 'inbound', server, roomId });
    return removed;
  }

  async cursors(): Promise<Cursor[]> {
    const servers = await this.#indexes.members(this.#servers);
    return (await mapBounded(servers, (server) => this.cursorsOf(server))).flat();
  }

  async cursorsOf(server: string): Promise<Cursor[]> {
    const hash = asHash(await this.#redis.call('HGETALL', serverKeys(server).cursors));
    return [...hash].map(([roomId, text]) => toCursor(server, roomId, text));
  }

  async hasCursors(roomId: string): Promise<boolean> {
    // Who peeks it has one; where nobody does any more, some server may still be owed its last events.
    if ((await this.ofRoom(roomId)).length > 0) return true;
    return (await this.cursors()).some((cursor) => cursor.roomId === roomId);
  }

  async cursor(server: string, roomId: string): Promise<Cursor | null> {
    const text = await this.#redis.call('HGET', serverKeys(server).cursors, roomId);
    return typeof text === 'string' ? toCursor(server, roomId, text) : null;
  }

  async advance(server: string, roomId: string, position: number): Promise<boolean> {
    const { cursors } = serverKeys(server);
    const ends = await this.#redis.run(scripts.inboundAdvance, [cursors], [roomId, position, 0]);
    if (Number(ends) === 0) return false;
    await this.#indexes.removing([this.#serverEntry(server)]);
    await this.#redis.run(scripts.inboundAdvance, [cursors], [roomId, position, 1]);
    return true;
  }

  async announceLater(server: string, expired: readonly Named[], now: number): Promise<void> {
    if (expired.length === 0) return;
    const members = expired.flatMap((peek) => [now, toMember(peek)]);
    await this.#indexes.adding([this.#serverEntry(server)], () =>
      this.#redis.call('ZADD', serverKeys(server).expired, 'NX', ...members),
    );
  }

  async dropAnnouncements(notedAt: number): Promise<void> {
    const servers = await this.#indexes.members(this.#servers);
    await mapBounded(servers, async (server) => {
      const { expired } = serverKeys(server);
      if (Number(await this.#redis.call('ZCOUNT', expired, '-inf', notedAt)) === 0) return;
      await this.#indexes.removing([this.#serverEntry(server)]);
      await this.#redis.call('ZREMRANGEBYSCORE', expired, '-inf', notedAt);
    });
  }

  async toAnnounce(server: string): Promise<{ roomId: string; peekId: string }[]> {
    const members = asTexts(await this.#redis.call('ZRANGE', serverKeys(server).expired, 0, -1));
    return members.map((member) => {
      const [roomId = '', peekId = ''] = JSON.parse(member) as string[];
      return { roomId, peekId };
    });
  }

  async announced(server: string, expired: readonly Named[]): Promise<void> {
    if (expired.length === 0) return;
    await this.#indexes.removing([this.#serverEntry(server)]);
    await this.#redis.call('ZREM', serverKeys(server).expired, ...expired.map(toMember));
  }

  async servers(): Promise<string[]> {
    const servers = await this.#indexes.members(this.#servers);
    const held = await mapBounded(servers, async (server) => {
      const { cursors, expired } = serverKeys(server);
      return Number(await this.#redis.call('EXISTS', cursors, expired)) > 0;
    });
    return servers.filter((_, index) => held[index]);
  }

  #serverEntry(server: string): IndexEntry {
    return { index: this.#servers, scope: '', member: server };
  }

  #peekerEntry(server: string, roomId: string): IndexEntry {
    return { index: this.#peekers, scope: roomId, member: server };
  }
}

/** Begins with the room, and no room's beginning is another's: an encoded room ID has no slash. */
function peekField(roomId: string, peekId: string): string {
  return `${encode(roomId)}/${peekId}`;
}

function toMember({ roomId, peekId }: Named): string {
  return JSON.stringify([roomId, peekId]);
}

function toCursor(server: string, roomId: string, text: string): Cursor {
  const [position, stopAt] = text.split(' ').map(Number);
  return { server, roomId, position: position ?? 0, stopAt: stopAt ?? null };
}

function toPeeks(server: string, reply: unknown): InboundPeek[] {
  return [...asHash(reply)].map(([field, times]) => toPeek(server, field, times));
}

function toPeek(server: string, field: string, times: string): InboundPeek {
  const slash = field.indexOf('/');
  const [createdAt = 0, renewedAt = 0, expiresAt = 0] = times.split(' ').map(Number);
  return {
    server,
    roomId: decodeURIComponent(field.slice(0, slash)),
    peekId: field.slice(slash + 1),
    createdAt,
    renewedAt,
    expiresAt,
  };
}
