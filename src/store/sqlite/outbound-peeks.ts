import type { Notices } from '../notices.ts';
import type { OutboundPeek, OutboundPeekStore } from '../store.ts';
import type { Database } from './database.ts';

interface PeekRow {
  room_id: string;
  server: string;
  peek_id: string;
  candidates: string;
  renewal_interval_ms: number;
  renew_at: number;
  heard_at: number;
  phase: OutboundPeek['phase'];
}

export class SqliteOutboundPeeks implements OutboundPeekStore {
  readonly #db: Database;
  readonly #notices: Notices;

  constructor(db: Database, notices: Notices) {
    this.#db = db;
    this.#notices = notices;
  }

  async put(peek: OutboundPeek): Promise<void> {
    this.#db.write(() => this.#save(peek));
    this.#notices.emit({ kind: 'outbound', roomId: peek.roomId });
  }

  async get(roomId: string): Promise<OutboundPeek | null> {
    return this.#db.read(() => this.#peek(roomId));
  }

  async all(): Promise<OutboundPeek[]> {
    return this.#db.read(() => this.#db.all<PeekRow>('SELECT * FROM outbound_peeks')).map(toPeek);
  }

  async update(
    roomId: string,
    peekId: string,
    change: Partial<Omit<OutboundPeek, 'roomId'>>,
  ): Promise<boolean> {
    const done = this.#db.write(() => {
      const peek = this.#peek(roomId);
      if (peek === null || peek.peekId !== peekId) return false;
      this.#save({ ...peek, ...change });
      return true;
    });
    if (done) this.#notices.emit({ kind: 'outbound', roomId });
    return done;
  }

  async remove(roomId: string, peekId: string): Promise<void> {
    const sql = 'DELETE FROM outbound_peeks WHERE room_id = ? AND peek_id = ?';
    const removed = this.#db.write(() => this.#db.run(sql, roomId, peekId));
    if (removed > 0) this.#notices.emit({ kind: 'outbound', roomId });
  }

  #peek(roomId: string): OutboundPeek | null {
    const row = this.#db.get<PeekRow>('SELECT * FROM outbound_peeks WHERE room_id = ?', roomId);
    return row === undefined ? null : toPeek(row);
  }

  #save(peek: OutboundPeek): void {
    this.#db.run(
      `INSERT OR REPLACE INTO outbound_peeks
         (room_id, server, peek_id, candidates, renewal_interval_ms, renew_at, heard_at, phase)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
      peek.roomId,
      peek.server,
      peek.peekId,
      JSON.stringify(peek.candidates),
      peek.renewalIntervalMs,
      peek.renewAt,
      peek.heardAt,
      peek.phase,
    );
  }
}

function toPeek(row: PeekRow): OutboundPeek {
  return {
    roomId: row.room_id,
    server: row.server,
    peekId: row.peek_id,
    candidates: JSON.parse(row.candidates) as string[],
    renewalIntervalMs: row.renewal_interval_ms,
    renewAt: row.renew_at,
    heardAt: row.heard_at,
    phase: row.phase,
  };
}
