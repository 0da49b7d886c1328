import type { Notices } from '../notices.ts';
import type { Append, LogEntry, NewLogEntry, RoomLog, RoomLogStore } from '../store.ts';
import type { Database } from './database.ts';
import { type EntryRow, type LogRow, toEntry, toLog } from './log-rows.ts';
import { addToReplica, currentReplica, leaveReplica, ownReplica, REPLICA_TABLES } from './replica-rows.ts';

export class SqliteRoomLogs implements RoomLogStore {
  readonly #db: Database;
  readonly #notices: Notices;
  readonly #replicaLeft: () => void;

  /** `replicaLeft`: a replica is to be deleted. */
  constructor(db: Database, notices: Notices, replicaLeft: () => void) {
    this.#db = db;
    this.#replicaLeft = replicaLeft;
    this.#notices = notices;
  }

  async open(
    log: Pick<RoomLog, 'roomId' | 'roomVersion' | 'feed' | 'openedAt'> & { readonly firstPosition: number },
    first: Append = { entries: [] },
  ): Promise<RoomLog> {
    const { opened, changed } = this.#db.write(() => {
      const existing = this.#row(log.roomId);
      if (existing !== undefined) return { opened: existing, changed: false };
      this.#db.run(
        `INSERT INTO room_logs (room_id, room_version, feed, head, tail, needs_catch_up, opened_at)
         VALUES (?, ?, ?, ?, ?, 0, ?)`,
        log.roomId,
        log.roomVersion,
        log.feed,
        log.firstPosition - 1,
        log.firstPosition,
        log.openedAt,
      );
      const changed = this.#append(log.roomId, first).changed;
      return { opened: this.#row(log.roomId) as LogRow, changed };
    });
    if (changed) this.#notices.emit({ kind: 'log', roomId: log.roomId });
    return toLog(opened);
  }

  async get(roomId: string): Promise<RoomLog | null> {
    const row = this.#db.read(() => this.#row(roomId));
    return row === undefined ? null : toLog(row);
  }

  async all(): Promise<RoomLog[]> {
    return this.#db.read(() => this.#db.all<LogRow>('SELECT * FROM room_logs')).map(toLog);
  }

  async append(roomId: string, append: Append): Promise<LogEntry[]> {
    const { appended, changed } = this.#db.write(() => this.#append(roomId, append));
    if (changed) this.#notices.emit({ kind: 'log', roomId });
    return appended;
  }

  async read(roomId: string, after: number, limit: number): Promise<LogEntry[]> {
    const sql = 'SELECT * FROM log_entries WHERE room_id = ? AND position > ? ORDER BY position LIMIT ?';
    return this.#db.read(() => this.#db.all<EntryRow>(sql, roomId, after, rows(limit)).map(toEntry));
  }

  async readLast(roomId: string, upTo: number, limit: number): Promise<LogEntry[]> {
    const sql =
      'SELECT * FROM log_entries WHERE room_id = ? AND position <= ? ORDER BY position DESC LIMIT ?';
    return this.#db.read(() => this.#db.all<EntryRow>(sql, roomId, upTo, rows(limit)).map(toEntry)).reverse();
  }

  async bytes(roomId: string, first: number, last: number): Promise<number> {
    const sql = `SELECT total(octet_length(json)) AS bytes FROM log_entries
                 WHERE room_id = ? AND position BETWEEN ? AND ?`;
    return this.#db.read(() => this.#db.get<{ bytes: number }>(sql, roomId, first, last)?.bytes ?? 0);
  }

  async positions(roomId: string, eventIds: readonly string[]): Promise<Map<string, number>> {
    return this.#db.read(() => {
      const found = new Map<string, number>();
      for (const eventId of eventIds) {
        const position = this.#positionOf(roomId, eventId);
        if (position !== undefined) found.set(eventId, position);
      }
      return found;
    });
  }

  async setFeed(
    roomId: string,
    change: Partial<Pick<RoomLog, 'feed' | 'feedToken' | 'needsCatchUp' | 'asleep'>>,
  ): Promise<void> {
    this.#db.write(() => {
      const row = this.#row(roomId);
      if (row === undefined) return;
      const next = { ...toLog(row), ...change };
      this.#db.run(
        'UPDATE room_logs SET feed = ?, feed_token = ?, needs_catch_up = ?, asleep = ? WHERE room_id = ?',
        next.feed,
        next.feedToken,
        next.needsCatchUp ? 1 : 0,
        next.asleep === null ? null : JSON.stringify(next.asleep),
        roomId,
      );
    });
  }

  async prune(roomId: string, position: number): Promise<void> {
    this.#db.write(() => this.#prune(roomId, position));
  }

  async drop(roomId: string): Promise<void> {
    this.#db.write(() => {
      this.#db.run('DELETE FROM room_logs WHERE room_id = ?', roomId);
      leaveReplica(this.#db, roomId);
    });
    this.#replicaLeft();
  }

  #append(roomId: string, append: Append): { appended: LogEntry[]; changed: boolean } {
    const log = this.#row(roomId);
    if (log === undefined || log.closed_at !== null) return { appended: [], changed: false };
    const appended: LogEntry[] = [];
    const isGapAlone = append.afterGap === true && append.entries.length === 0;
    let head = log.head + (isGapAlone ? 1 : 0);
    for (const entry of append.entries) {
      if (this.#positionOf(roomId, entry.eventId) !== undefined) continue;
      head += append.afterGap && appended.length === 0 ? 2 : 1;
      this.#insert(roomId, head, entry);
      if (append.intoReplica && entry.applied && entry.stateKey !== null) {
        addToReplica(this.#db, ownReplica(this.#db, roomId), { state: [entry], authChain: [] });
      }
      appended.push({ ...entry, position: head });
    }
    this.#db.run(
      `UPDATE room_logs SET head = ?, feed_token = ?, needs_catch_up = ?, closed_at = ?, closed_reason = ?
       WHERE room_id = ?`,
      head,
      append.feedToken ?? log.feed_token,
      Number(append.needsCatchUp ?? log.needs_catch_up),
      append.close ? head : null,
      append.close?.reason ?? null,
      roomId,
    );
    for (const { eventId, json } of append.amend ?? []) this.#amend(roomId, eventId, json);
    return { appended, changed: appended.length > 0 || isGapAlone || append.close !== undefined };
  }

  #insert(roomId: string, position: number, entry: NewLogEntry): void {
    this.#db.run(
      `INSERT INTO log_entries
         (room_id, position, event_id, json, type, state_key, replaces, applied, shown, received_at)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      roomId,
      position,
      entry.eventId,
      entry.json,
      entry.type,
      entry.stateKey,
      entry.replaces,
      entry.applied ? 1 : 0,
      entry.shown ? 1 : 0,
      entry.receivedAt,
    );
  }

  #prune(roomId: string, position: number): void {
    this.#db.run('DELETE FROM log_entries WHERE room_id = ? AND position < ?', roomId, position);
    const sql = 'UPDATE room_logs SET tail = max(tail, min(head + 1, ?)) WHERE room_id = ?';
    this.#db.run(sql, position, roomId);
  }

  #amend(roomId: string, eventId: string, json: string): void {
    const logged = 'UPDATE log_entries SET json = ? WHERE room_id = ? AND event_id = ?';
    this.#db.run(logged, json, roomId, eventId);
    const replica = currentReplica(this.#db, roomId);
    for (const table of replica === null ? [] : REPLICA_TABLES) {
      this.#db.run(`UPDATE ${table} SET json = ? WHERE replica = ? AND event_id = ?`, json, replica, eventId);
    }
  }

  #row(roomId: string): LogRow | undefined {
    return this.#db.get<LogRow>('SELECT * FROM room_logs WHERE room_id = ?', roomId);
  }

  #positionOf(roomId: string, eventId: string): number | undefined {
    const sql = 'SELECT position FROM log_entries WHERE room_id = ? AND event_id = ?';
    return this.#db.get<{ position: number }>(sql, roomId, eventId)?.position;
  }
}

/** A LIMIT of SQLite: an integer, where a negative one would mean no limit. */
function rows(limit: number): number {
  return Math.max(0, Math.min(Math.trunc(limit), Number.MAX_SAFE_INTEGER));
}
