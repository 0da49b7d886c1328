import type { Append, LogEntry, RoomLog, RoomLogStore } from '../store.ts';
import type { RedisConnection } from './connection.ts';
import { decodeEntry, encodeEntry, stateField } from './event-codec.ts';
import type { Indexes } from './indexes.ts';
import { roomKeys } from './keys.ts';
import type { RedisNotices } from './redis-notices.ts';
import { asHash, asList, asText, asTexts, mapBounded } from './replies.ts';
import type { RoomIndex } from './room-index.ts';
import { scripts } from './scripts.ts';

type Outcome = 'absent' | 'closed' | 'exists' | 'opened' | 'appended';

export class RedisRoomLogs implements RoomLogStore {
  readonly #redis: RedisConnection;
  readonly #indexes: Indexes;
  readonly #rooms: RoomIndex;
  readonly #notices: RedisNotices;

  constructor(redis: RedisConnection, indexes: Indexes, rooms: RoomIndex, notices: RedisNotices) {
    this.#redis = redis;
    this.#indexes = indexes;
    this.#rooms = rooms;
    this.#notices = notices;
  }

  async open(
    log: Pick<RoomLog, 'roomId' | 'roomVersion' | 'feed' | 'openedAt'> & { readonly firstPosition: number },
    first: Append = { entries: [] },
  ): Promise<RoomLog> {
    const { roomId, firstPosition } = log;
    const opening = [
      ...['roomVersion', log.roomVersion, 'feed', log.feed, 'openedAt', log.openedAt],
      ...['head', firstPosition - 1, 'tail', firstPosition, 'needsCatchUp', 0],
    ];
    const { fields } = await this.#indexes.adding([this.#rooms.entry(roomId)], () =>
      this.#append(roomId, opening, first),
    );
    return toLog(roomId, fields);
  }

  async get(roomId: string): Promise<RoomLog | null> {
    const fields = asHash(await this.#redis.call('HGETALL', roomKeys(roomId).log));
    return fields.size === 0 ? null : toLog(roomId, fields);
  }

  async all(): Promise<RoomLog[]> {
    const roomIds = await this.#indexes.members(this.#rooms);
    const logs = await mapBounded(roomIds, (roomId) => this.get(roomId));
    return logs.filter((log) => log !== null);
  }

  async append(roomId: string, append: Append): Promise<LogEntry[]> {
    return (await this.#append(roomId, [], append)).appended;
  }

  async read(roomId: string, after: number, limit: number): Promise<LogEntry[]> {
    const { log, entries } = roomKeys(roomId);
    const bounds = [whole(after), whole(limit)];
    return toEntries(await this.#redis.run(scripts.logReadAfter, [log, entries], bounds));
  }

  async readLast(roomId: string, upTo: number, limit: number): Promise<LogEntry[]> {
    const { log, entries } = roomKeys(roomId);
    const bounds = [whole(upTo), whole(limit)];
    return toEntries(await this.#redis.run(scripts.logReadLast, [log, entries], bounds));
  }

  async bytes(roomId: string, first: number, last: number): Promise<number> {
    const { log, entries } = roomKeys(roomId);
    return Number(await this.#redis.run(scripts.logBytes, [log, entries], [whole(first), whole(last)]));
  }

  async positions(roomId: string, eventIds: readonly string[]): Promise<Map<string, number>> {
    const found = new Map<string, number>();
    if (eventIds.length === 0) return found;
    const scores = asList(await this.#redis.call('ZMSCORE', roomKeys(roomId).ids, ...eventIds));
    for (const [index, eventId] of eventIds.entries()) {
      const score = scores[index];
      if (typeof score === 'string') found.set(eventId, Number(score));
    }
    return found;
  }

  async setFeed(
    roomId: string,
    change: Partial<Pick<RoomLog, 'feed' | 'feedToken' | 'needsCatchUp' | 'asleep'>>,
  ): Promise<void> {
    const set: string[] = [];
    if (change.feed !== undefined) set.push('feed', change.feed);
    if (change.needsCatchUp !== undefined) set.push('needsCatchUp', change.needsCatchUp ? '1' : '0');
    if (typeof change.feedToken === 'string') set.push('feedToken', change.feedToken);
    if (change.asleep) set.push('asleep', JSON.stringify(change.asleep));
    const cleared = change.feedToken === null ? ['feedToken'] : [];
    if (change.asleep === null) cleared.push('asleep');
    const values = ['roomVersion', '', set.length, ...set, ...cleared];
    await this.#redis.run(scripts.hashChange, [roomKeys(roomId).log], values);
  }

  async prune(roomId: string, position: number): Promise<void> {
    const { log, entries, ids } = roomKeys(roomId);
    await this.#redis.run(scripts.logPrune, [log, entries, ids], [whole(position)]);
  }

  async drop(roomId: string): Promise<void> {
    await this.#indexes.removing([this.#rooms.entry(roomId)]);
    const { log, entries, ids, state, stateEvents, auth } = roomKeys(roomId);
    await this.#redis.call('UNLINK', log, entries, ids, state, stateEvents, auth);
  }

  async #append(
    roomId: string,
    opening: readonly (string | number)[],
    append: Append,
  ): Promise<{ appended: LogEntry[]; fields: Map<string, string> }> {
    const { log, entries, ids, state, stateEvents, auth } = roomKeys(roomId);
    const amend = (append.amend ?? []).flatMap(({ eventId, json }) => [eventId, json]);
    const values = [
      ...[opening.length, ...opening, ...flag(append.feedToken), ...flag(append.close?.reason)],
      ...[append.afterGap ? '1' : '0', catchUp(append.needsCatchUp), amend.length, ...amend],
    ];
    for (const entry of append.entries) {
      const replaces = append.intoReplica && entry.applied && entry.stateKey !== null;
      const field = replaces ? stateField(entry.type, entry.stateKey) : '';
      values.push(entry.eventId, encodeEntry(entry), field);
    }
    const keys = [log, entries, ids, state, stateEvents, auth];
    const [outcome, positions, fields] = asList(await this.#redis.run(scripts.logAppend, keys, values));
    const appended: LogEntry[] = [];
    for (const [index, position] of asList(positions).entries()) {
      const entry = append.entries[index];
      if (entry !== undefined && Number(position) > 0)
        appended.push({ ...entry, position: Number(position) });
    }
    const done = (['opened', 'appended'] as Outcome[]).includes(outcome as Outcome);
    const isGapAlone = append.afterGap === true && append.entries.length === 0;
    if (done && (appended.length > 0 || isGapAlone || append.close !== undefined)) {
      this.#notices.emit({ kind: 'log', roomId });
    }
    return { appended, fields: asHash(fields) };
  }
}

function flag(value: string | undefined): [given: string, value: string] {
  return value === undefined ? ['0', ''] : ['1', value];
}

function catchUp(value: boolean | undefined): '' | '0' | '1' {
  if (value === undefined) return '';
  return value ? '1' : '0';
}

/** Lua's numbers are doubles; beyond the largest safe integer nothing is counted exactly. */
function whole(value: number): number {
  return Math.max(0, Math.min(Math.trunc(value), Number.MAX_SAFE_INTEGER));
}

function toLog(roomId: string, fields: Map<string, string>): RoomLog {
  const closedAt = fields.get('closedAt');
  return {
    roomId,
    roomVersion: asText(fields.get('roomVersion')),
    feed: asText(fields.get('feed')) as RoomLog['feed'],
    head: Number(fields.get('head')),
    tail: Number(fields.get('tail')),
    feedToken: fields.get('feedToken') ?? null,
    needsCatchUp: fields.get('needsCatchUp') === '1',
    closed:
      closedAt === undefined ? null : { at: Number(closedAt), reason: fields.get('closedReason') ?? '' },
    asleep: JSON.parse(fields.get('asleep') ?? 'null') as RoomLog['asleep'],
    openedAt: Number(fields.get('openedAt')),
  };
}

function toEntries(reply: unknown): LogEntry[] {
  const texts = asTexts(reply);
  const entries: LogEntry[] = [];
  for (let i = 0; i + 1 < texts.length; i += 2) {
    entries.push(decodeEntry(Number(texts[i]), texts[i + 1] as string));
  }
  return entries;
}
