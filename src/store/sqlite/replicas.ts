import type { ReplicaStore, StoredEvent } from '../store.ts';
import type { Database } from './database.ts';

interface EventRow {
  event_id: string;
  json: string;
  type: string;
  state_key: string | null;
}

const SLICE = 250;
const COLUMNS = 'event_id, json, type, state_key';

export class SqliteReplicas implements ReplicaStore {
  readonly #db: Database;

  constructor(db: Database) {
    this.#db = db;
  }

  async replace(
    roomId: string,
    state: readonly StoredEvent[],
    authChain: readonly StoredEvent[],
  ): Promise<void> {
    this.#db.write(() => {
      dropReplica(this.#db, roomId);
      this.#add(roomId, state, authChain);
    });
  }

  async add(roomId: string, state: readonly StoredEvent[], authChain: readonly StoredEvent[]): Promise<void> {
    this.#db.write(() => this.#add(roomId, state, authChain));
  }

  async state(roomId: string): Promise<StoredEvent[]> {
    return this.#db.read(() =>
      this.#db.all<EventRow>(`SELECT ${COLUMNS} FROM replica_state WHERE room_id = ?`, roomId).map(toEvent),
    );
  }

  async *stateOfType(roomId: string, type: string): AsyncGenerator<StoredEvent[]> {
    const select = (comparison: string) =>
      `SELECT ${COLUMNS} FROM replica_state WHERE room_id = ? AND type = ? AND state_key ${comparison} ?
       ORDER BY state_key LIMIT ${SLICE}`;
    const read = (sql: string, from: string) =>
      this.#db.read(() => this.#db.all<EventRow>(sql, roomId, type, from).map(toEvent));
    for (let slice = read(select('>='), ''); slice.length > 0; ) {
      yield slice;
      const last = slice.at(-1)?.stateKey ?? '';
      slice = slice.length < SLICE ? [] : read(select('>'), last);
    }
  }

  async stateOf(
    roomId: string,
    keys: readonly (readonly [type: string, stateKey: string])[],
  ): Promise<StoredEvent[]> {
    const sql = `SELECT ${COLUMNS} FROM replica_state WHERE room_id = ? AND type = ? AND state_key = ?`;
    return this.#db.read(() => {
      const rows = keys.map(([type, stateKey]) => this.#db.get<EventRow>(sql, roomId, type, stateKey));
      return rows.filter((row) => row !== undefined).map(toEvent);
    });
  }

  async event(roomId: string, eventId: string): Promise<StoredEvent | null> {
    return this.#db.read(() => {
      for (const table of ['log_entries', 'replica_state', 'replica_auth']) {
        const sql = `SELECT ${COLUMNS} FROM ${table} WHERE room_id = ? AND event_id = ?`;
        const row = this.#db.get<EventRow>(sql, roomId, eventId);
        if (row !== undefined) return toEvent(row);
      }
      return null;
    });
  }

  async drop(roomId: string): Promise<void> {
    this.#db.write(() => dropReplica(this.#db, roomId));
  }

  #add(roomId: string, state: readonly StoredEvent[], authChain: readonly StoredEvent[]): void {
    for (const event of state) replaceState(this.#db, roomId, event);
    for (const event of authChain) {
      this.#db.run(
        'INSERT OR REPLACE INTO replica_auth (room_id, event_id, json, type, state_key) VALUES (?, ?, ?, ?, ?)',
        roomId,
        event.eventId,
        event.json,
        event.type,
        event.stateKey,
      );
    }
  }
}

/** Makes a state event the current one of its key. Part of a transaction of the caller. */
export function replaceState(db: Database, roomId: string, event: StoredEvent): void {
  if (event.stateKey === null) return;
  db.run(
    'INSERT OR REPLACE INTO replica_state (room_id, type, state_key, event_id, json) VALUES (?, ?, ?, ?, ?)',
    roomId,
    event.type,
    event.stateKey,
    event.eventId,
    event.json,
  );
}

/** Part of a transaction of the caller. */
export function dropReplica(db: Database, roomId: string): void {
  db.run('DELETE FROM replica_state WHERE room_id = ?', roomId);
  db.run('DELETE FROM replica_auth WHERE room_id = ?', roomId);
}

function toEvent(row: EventRow): StoredEvent {
  return { eventId: row.event_id, json: row.json, type: row.type, stateKey: row.state_key };
}
