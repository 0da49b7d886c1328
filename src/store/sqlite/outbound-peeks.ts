import type { Notices } from '../notices.ts';
import type { OutboundPeek, OutboundPeekStore } from '../store.ts';
import type { Database } from './database.ts';

interface PeekRow {
  room_id: string;
  peek_id: string;
  server: string;
  candidates: string;
  renewal_interval_ms: number;
  renew_at: number;
  heard_at: number;
  begun_at: number;
  how: OutboundPeek['how'];
  phase: OutboundPeek['phase'];
}

export class SqliteOutboundPeeks implements OutboundPeekStore {
  readonly #db: Database;
  readonly #notices: Notices;

  constructor(db: Database, notices: Notices) {
    this.#db = db;
    this.#notices = notices;
  }

  async put(
    peek: OutboundPeek,
    over?: { readonly peekId: string; readonly becomes: 'ending' | 'forgotten' },
  ): Promise<boolean> {
    const { roomId } = peek;
    const done = this.#db.write(() => {
      if (over !== undefined) {
        const old = this.#peek(roomId, over.peekId);
        if (old?.phase !== 'live') return false;
        if (over.becomes === 'forgotten') this.#delete(roomId, over.peekId);
        else this.#save({ ...old, phase: 'ending' });
      }
      this.#save(peek);
      return true;
    });
    if (done) this.#notices.emit({ kind: 'outbound', roomId });
    return done;
  }

  async ofRoom(roomId: string): Promise<OutboundPeek[]> {
    const sql = 'SELECT * FROM outbound_peeks WHERE room_id = ? ORDER BY begun_at, peek_id';
    return this.#db.read(() => this.#db.all<PeekRow>(sql, roomId)).map(toPeek);
  }

  async all(): Promise<OutboundPeek[]> {
    const sql = 'SELECT * FROM outbound_peeks ORDER BY begun_at, peek_id';
    return this.#db.read(() => this.#db.all<PeekRow>(sql)).map(toPeek);
  }

  async update(
    roomId: string,
    peekId: string,
    change: Partial<Omit<OutboundPeek, 'roomId' | 'peekId'>>,
  ): Promise<boolean> {
    const done = this.#db.write(() => {
      const peek = this.#peek(roomId, peekId);
      if (peek === null) return false;
      this.#save({ ...peek, ...change });
      return true;
    });
    if (done) this.#notices.emit({ kind: 'outbound', roomId });
    return done;
  }

  async remove(roomId: string, peekId: string): Promise<void> {
    const removed = this.#db.write(() => this.#delete(roomId, peekId));
    if (removed > 0) this.#notices.emit({ kind: 'outbound', roomId });
  }

  #peek(roomId: string, peekId: string): OutboundPeek | null {
    const sql = 'SELECT * FROM outbound_peeks WHERE room_id = ? AND peek_id = ?';
    const row = this.#db.get<PeekRow>(sql, roomId, peekId);
    return row === undefined ? null : toPeek(row);
  }

  #delete(roomId: string, peekId: string): number {
    return this.#db.run('DELETE FROM outbound_peeks WHERE room_id = ? AND peek_id = ?', roomId, peekId);
  }

  #save(peek: OutboundPeek): void {
    this.#db.run(
      `INSERT OR REPLACE INTO outbound_peeks
         (room_id, peek_id, server, candidates, renewal_interval_ms, renew_at, heard_at, begun_at, how, phase)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      peek.roomId,
      peek.peekId,
      peek.server,
      JSON.stringify(peek.candidates),
      peek.renewalIntervalMs,
      peek.renewAt,
      peek.heardAt,
      peek.begunAt,
      peek.how,
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
    begunAt: row.begun_at,
    how: row.how,
    phase: row.phase,
  };
}
