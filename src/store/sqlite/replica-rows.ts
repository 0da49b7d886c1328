import type { StoredEvent } from '../store.ts';
import type { Database } from './database.ts';

/** Events that go into a replica. */
export interface NewRows {
  readonly state: readonly StoredEvent[];
  readonly authChain: readonly StoredEvent[];
}

/** The tables with the rows of replicas. */
export const REPLICA_TABLES = ['replica_state', 'replica_auth'] as const;

/** The number of the replica that a room has, null if it has none. */
export function currentReplica(db: Database, roomId: string): number | null {
  const sql = 'SELECT replica FROM replicas WHERE room_id = ? AND current = 1';
  return db.get<{ replica: number }>(sql, roomId)?.replica ?? null;
}

/** A replica that is nobody's yet. Part of a transaction of the caller, as all that follows. */
export function newReplica(db: Database, roomId: string): number {
  const sql = 'INSERT INTO replicas (room_id, current) VALUES (?, 0) RETURNING replica';
  return (db.get<{ replica: number }>(sql, roomId) as { replica: number }).replica;
}

/** The room's replica from now on; the one that it had is left. */
export function switchReplica(db: Database, roomId: string, replica: number): void {
  leaveReplica(db, roomId);
  db.run('UPDATE replicas SET current = 1 WHERE replica = ?', replica);
}

/** The room has no replica any more. Its rows stay until `deleteSome` comes to them. */
export function leaveReplica(db: Database, roomId: string): void {
  db.run('UPDATE replicas SET current = 0 WHERE room_id = ? AND current = 1', roomId);
}

/** The room's replica, made if it has none. */
export function ownReplica(db: Database, roomId: string): number {
  const held = currentReplica(db, roomId);
  if (held !== null) return held;
  const replica = newReplica(db, roomId);
  switchReplica(db, roomId, replica);
  return replica;
}

export function addToReplica(db: Database, replica: number, { state, authChain }: NewRows): void {
  for (const event of state) {
    if (event.stateKey === null) continue;
    db.run(
      'INSERT OR REPLACE INTO replica_state (replica, type, state_key, event_id, json) VALUES (?, ?, ?, ?, ?)',
      replica,
      event.type,
      event.stateKey,
      event.eventId,
      event.json,
    );
  }
  for (const event of authChain) {
    db.run(
      'INSERT OR REPLACE INTO replica_auth (replica, event_id, json, type, state_key) VALUES (?, ?, ?, ?, ?)',
      replica,
      event.eventId,
      event.json,
      event.type,
      event.stateKey,
    );
  }
}

/** Deletes up to `limit` rows of replicas that were left, except those in use. False when there is nothing more. */
export function deleteSome(db: Database, limit: number, inUse: ReadonlyMap<number, unknown>): boolean {
  const left = db.all<{ replica: number }>('SELECT replica FROM replicas WHERE current = 0');
  let budget = limit;
  for (const { replica } of left) {
    if (inUse.has(replica)) continue;
    for (const table of REPLICA_TABLES) {
      const some = `SELECT rowid FROM ${table} WHERE replica = ? LIMIT ?`;
      budget -= db.run(`DELETE FROM ${table} WHERE rowid IN (${some})`, replica, budget);
    }
    if (budget <= 0) return true;
    db.run('DELETE FROM replicas WHERE replica = ?', replica);
  }
  return false;
}
