import type { Notices } from '../notices.ts';
import type { Cursor, InboundPeek, InboundPeekStore } from '../store.ts';
import type { Database } from './database.ts';

interface PeekRow {
  server: string;
  room_id: string;
  peek_id: string;
  created_at: number;
  renewed_at: number;
  expires_at: number;
}

interface CursorRow {
  server: string;
  room_id: string;
  position: number;
  stop_at: number | null;
}

interface Advance {
  readonly server: string;
  readonly roomId: string;
  readonly position: number;
  readonly resolve: (ended: boolean) => void;
  readonly reject: (error: unknown) => void;
}

type Named = Pick<InboundPeek, 'roomId' | 'peekId'>;

const BY_PEEK = 'server = ? AND room_id = ? AND peek_id = ?';
const BY_ROOM = 'server = ? AND room_id = ?';

export class SqliteInboundPeeks implements InboundPeekStore {
  readonly #db: Database;
  readonly #notices: Notices;
  #advances: Advance[] = [];

  constructor(db: Database, notices: Notices) {
    this.#db = db;
    this.#notices = notices;
  }

  async put(peek: InboundPeek, position: number, limit: number): Promise<'created' | 'renewed' | 'full'> {
    const { server, roomId, peekId } = peek;
    const outcome = this.#db.write(() => {
      const renewed = this.#db.run(
        `UPDATE inbound_peeks SET renewed_at = ?, expires_at = ? WHERE ${BY_PEEK}`,
        peek.renewedAt,
        peek.expiresAt,
        server,
        roomId,
        peekId,
      );
      if (renewed === 0) {
        if (this.#count('server = ?', server) >= limit) return 'full';
        this.#db.run(
          'INSERT INTO inbound_peeks VALUES (?, ?, ?, ?, ?, ?)',
          server,
          roomId,
          peekId,
          peek.createdAt,
          peek.renewedAt,
          peek.expiresAt,
        );
      }
      this.#db.run(
        `INSERT INTO cursors (server, room_id, position) VALUES (?, ?, ?)
         ON CONFLICT DO UPDATE SET stop_at = NULL`,
        server,
        roomId,
        position,
      );
      this.#db.run(`DELETE FROM announcements WHERE ${BY_PEEK}`, server, roomId, peekId);
      return renewed === 0 ? 'created' : 'renewed';
    });
    if (outcome !== 'full') this.#notices.emit({ kind: 'inbound', server, roomId });
    return outcome;
  }

  async get(server: string, roomId: string, peekId: string): Promise<InboundPeek | null> {
    return (await this.#peeks(BY_PEEK, server, roomId, peekId))[0] ?? null;
  }

  ofRoom(roomId: string): Promise<InboundPeek[]> {
    return this.#peeks('room_id = ?', roomId);
  }

  ofServer(server: string): Promise<InboundPeek[]> {
    return this.#peeks('server = ?', server);
  }

  all(): Promise<InboundPeek[]> {
    return this.#peeks('true');
  }

  async due(now: number, limit: number): Promise<InboundPeek[]> {
    const sql = 'SELECT * FROM inbound_peeks WHERE expires_at <= ? LIMIT ?';
    return this.#db.read(() => this.#db.all<PeekRow>(sql, now, limit)).map(toPeek);
  }

  async countByServer(): Promise<Map<string, number>> {
    const sql = 'SELECT server, count(*) AS held FROM inbound_peeks GROUP BY server';
    const rows = this.#db.read(() => this.#db.all<{ server: string; held: number }>(sql));
    return new Map(rows.map(({ server, held }) => [server, held]));
  }

  async remove(server: string, roomId: string, peekId: string, owedUpTo?: number): Promise<boolean> {
    const removed = this.#db.write(() => {
      const sql = `DELETE FROM inbound_peeks WHERE ${BY_PEEK}`;
      if (this.#db.run(sql, server, roomId, peekId) === 0) return false;
      if (this.#count(BY_ROOM, server, roomId) > 0) return true;
      if (owedUpTo === undefined) {
        this.#db.run(`DELETE FROM cursors WHERE ${BY_ROOM}`, server, roomId);
      } else {
        this.#db.run(`UPDATE cursors SET stop_at = ? WHERE ${BY_ROOM}`, owedUpTo, server, roomId);
        this.#dropFinished(server, roomId);
      }
      return true;
    });
    if (removed) this.#notices.emit({ kind: 'inbound', server, roomId });
    return removed;
  }

  cursors(): Promise<Cursor[]> {
    return this.#cursors('true');
  }

  cursorsOf(server: string): Promise<Cursor[]> {
    return this.#cursors('server = ?', server);
  }

  async hasCursors(roomId: string): Promise<boolean> {
    const sql = 'SELECT 1 FROM cursors WHERE room_id = ? LIMIT 1';
    return this.#db.read(() => this.#db.get(sql, roomId)) !== undefined;
  }

  async cursor(server: string, roomId: string): Promise<Cursor | null> {
    return (await this.#cursors(BY_ROOM, server, roomId))[0] ?? null;
  }

  /** Those of many servers, to whom one event went out, are written down together. One that is lost is sent again. */
  advance(server: string, roomId: string, position: number): Promise<boolean> {
    return new Promise((resolve, reject) => {
      this.#advances.push({ server, roomId, position, resolve, reject });
      if (this.#advances.length === 1) setImmediate(() => this.#writeAdvances());
    });
  }

  #writeAdvances(): void {
    const advances = this.#advances;
    this.#advances = [];
    try {
      const sql = `UPDATE cursors SET position = max(position, ?) WHERE ${BY_ROOM}`;
      const ended = this.#db.writeUnsynced(() =>
        advances.map(({ server, roomId, position }) => {
          this.#db.run(sql, position, server, roomId);
          return this.#dropFinished(server, roomId);
        }),
      );
      for (const [i, { resolve }] of advances.entries()) resolve(ended[i] === true);
    } catch (error) {
      for (const { reject } of advances) reject(error);
    }
  }

  async announceLater(server: string, expired: readonly Named[], now: number): Promise<void> {
    this.#db.write(() => {
      for (const { roomId, peekId } of expired) {
        this.#db.run('INSERT OR IGNORE INTO announcements VALUES (?, ?, ?, ?)', server, roomId, peekId, now);
      }
    });
  }

  async dropAnnouncements(notedAt: number): Promise<void> {
    this.#db.write(() => this.#db.run('DELETE FROM announcements WHERE noted_at <= ?', notedAt));
  }

  async toAnnounce(server: string): Promise<{ roomId: string; peekId: string }[]> {
    const sql = 'SELECT room_id, peek_id FROM announcements WHERE server = ?';
    const rows = this.#db.read(() => this.#db.all<Pick<PeekRow, 'room_id' | 'peek_id'>>(sql, server));
    return rows.map((row) => ({ roomId: row.room_id, peekId: row.peek_id }));
  }

  async announced(server: string, expired: readonly Named[]): Promise<void> {
    this.#db.write(() => {
      for (const { roomId, peekId } of expired) {
        this.#db.run(`DELETE FROM announcements WHERE ${BY_PEEK}`, server, roomId, peekId);
      }
    });
  }

  async servers(): Promise<string[]> {
    const sql = 'SELECT server FROM cursors UNION SELECT server FROM announcements';
    return this.#db.read(() => this.#db.all<{ server: string }>(sql)).map((row) => row.server);
  }

  async #peeks(where: string, ...values: string[]): Promise<InboundPeek[]> {
    const sql = `SELECT * FROM inbound_peeks WHERE ${where}`;
    return this.#db.read(() => this.#db.all<PeekRow>(sql, ...values)).map(toPeek);
  }

  async #cursors(where: string, ...values: string[]): Promise<Cursor[]> {
    const sql = `SELECT * FROM cursors WHERE ${where}`;
    return this.#db.read(() => this.#db.all<CursorRow>(sql, ...values)).map(toCursor);
  }

  #count(where: string, ...values: string[]): number {
    const sql = `SELECT count(*) AS held FROM inbound_peeks WHERE ${where}`;
    return this.#db.get<{ held: number }>(sql, ...values)?.held ?? 0;
  }

  /** Returns whether it was at its end. */
  #dropFinished(server: string, roomId: string): boolean {
    const sql = `DELETE FROM cursors WHERE ${BY_ROOM} AND position >= stop_at`;
    return this.#db.run(sql, server, roomId) > 0;
  }
}

function toPeek(row: PeekRow): InboundPeek {
  return {
    server: row.server,
    roomId: row.room_id,
    peekId: row.peek_id,
    createdAt: row.created_at,
    renewedAt: row.renewed_at,
    expiresAt: row.expires_at,
  };
}

function toCursor(row: CursorRow): Cursor {
  return { server: row.server, roomId: row.room_id, position: row.position, stopAt: row.stop_at };
}
