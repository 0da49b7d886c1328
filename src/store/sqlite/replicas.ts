import { setImmediate } from 'node:timers/promises';
import { type ReplicaStore, StoreDownError, type StoredEvent } from '../store.ts';
import type { Database } from './database.ts';
import {
  addToReplica,
  currentReplica,
  deleteSome,
  leaveReplica,
  type NewRows,
  newReplica,
  ownReplica,
  switchReplica,
} from './replica-rows.ts';

interface EventRow {
  event_id: string;
  json: string;
  type: string;
  state_key: string | null;
}

/** Rows that are read, written or deleted between two turns of the event loop: some milliseconds. */
const SLICE = 250;
const COLUMNS = 'event_id, json, type, state_key';

/**
 * Each replica has a number of its own; which one a room has is one row. So a large one is written beside the one
 * that is read and takes its place in one step, and what is left is deleted a little at a time, after a crash too.
 */
export class SqliteReplicas implements ReplicaStore {
  readonly #db: Database;
  /** Replicas being read in pages or written in slices, and by how many: they are not deleted meanwhile. */
  readonly #inUse = new Map<number, number>();
  #isCleaning = false;
  #closed = false;

  constructor(db: Database) {
    this.#db = db;
    // What a process left that did not come to the end of it.
    this.clean();
  }

  async replace(
    roomId: string,
    state: readonly StoredEvent[],
    authChain: readonly StoredEvent[],
  ): Promise<void> {
    const slices = slicesOf(state, authChain);
    const last = slices.pop() ?? { state: [], authChain: [] };
    const write = (replica: number) => {
      addToReplica(this.#db, replica, last);
      switchReplica(this.#db, roomId, replica);
    };
    if (slices.length === 0) this.#db.write(() => write(newReplica(this.#db, roomId)));
    else {
      const replica = this.#db.writeUnsynced(() => newReplica(this.#db, roomId));
      await this.#using(replica, async () => {
        for (const slice of slices) {
          this.#db.writeUnsynced(() => addToReplica(this.#db, replica, slice));
          await setImmediate();
        }
        // The disk is waited for here, and with this for all that came before it.
        this.#db.write(() => write(replica));
      });
    }
    this.clean();
  }

  async add(roomId: string, state: readonly StoredEvent[], authChain: readonly StoredEvent[]): Promise<void> {
    if (state.length + authChain.length === 0) return;
    this.#db.write(() => addToReplica(this.#db, ownReplica(this.#db, roomId), { state, authChain }));
  }

  async state(roomId: string): Promise<StoredEvent[]> {
    const replica = this.#db.read(() => currentReplica(this.#db, roomId));
    if (replica === null) return [];
    const select = (comparison: string) =>
      `SELECT ${COLUMNS} FROM replica_state WHERE replica = ? AND (type, state_key) ${comparison} (?, ?)
       ORDER BY type, state_key LIMIT ${SLICE}`;
    const found: StoredEvent[] = [];
    return this.#using(replica, async () => {
      for (;;) {
        const last = found.at(-1);
        const sql = select(last === undefined ? '>=' : '>');
        const from = [last?.type ?? '', last?.stateKey ?? ''];
        const page = this.#db.read(() => this.#db.all<EventRow>(sql, replica, ...from));
        for (const row of page) found.push(toEvent(row));
        if (page.length < SLICE) return found;
        await setImmediate();
      }
    });
  }

  async *stateOfType(roomId: string, type: string): AsyncGenerator<StoredEvent[]> {
    const select = (comparison: string) =>
      `SELECT ${COLUMNS} FROM replica_state WHERE replica = ? AND type = ? AND state_key ${comparison} ?
       ORDER BY state_key LIMIT ${SLICE}`;
    const read = (sql: string, from: string) =>
      this.#db.read(() => {
        const replica = currentReplica(this.#db, roomId);
        return replica === null ? [] : this.#db.all<EventRow>(sql, replica, type, from).map(toEvent);
      });
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
    const sql = `SELECT ${COLUMNS} FROM replica_state WHERE replica = ? AND type = ? AND state_key = ?`;
    return this.#db.read(() => {
      const replica = currentReplica(this.#db, roomId);
      if (replica === null) return [];
      const rows = keys.map(([type, stateKey]) => this.#db.get<EventRow>(sql, replica, type, stateKey));
      return rows.filter((row) => row !== undefined).map(toEvent);
    });
  }

  async event(roomId: string, eventId: string): Promise<StoredEvent | null> {
    return this.#db.read(() => {
      const logged = `SELECT ${COLUMNS} FROM log_entries WHERE room_id = ? AND event_id = ?`;
      let row = this.#db.get<EventRow>(logged, roomId, eventId);
      const replica = currentReplica(this.#db, roomId);
      for (const table of replica === null ? [] : ['replica_state', 'replica_auth']) {
        const sql = `SELECT ${COLUMNS} FROM ${table} WHERE replica = ? AND event_id = ?`;
        row ??= this.#db.get<EventRow>(sql, replica, eventId);
      }
      return row === undefined ? null : toEvent(row);
    });
  }

  async drop(roomId: string): Promise<void> {
    this.#db.write(() => leaveReplica(this.#db, roomId));
    this.clean();
  }

  /** Begins to delete what was left: a few rows at once, more of them with turns between. What fails is left for the next time. */
  clean(): void {
    if (this.#isCleaning) return;
    this.#isCleaning = true;
    this.#clean().catch((error: unknown) => {
      if (!(error instanceof StoreDownError)) throw error;
    });
  }

  async #clean(): Promise<void> {
    try {
      while (!this.#closed) {
        const more = this.#db.writeUnsynced(() => deleteSome(this.#db, SLICE, this.#inUse));
        if (!more) return;
        await setImmediate();
      }
    } finally {
      this.#isCleaning = false;
    }
  }

  close(): void {
    this.#closed = true;
  }

  async #using<T>(replica: number, work: () => Promise<T>): Promise<T> {
    this.#inUse.set(replica, (this.#inUse.get(replica) ?? 0) + 1);
    try {
      return await work();
    } finally {
      const users = (this.#inUse.get(replica) ?? 1) - 1;
      if (users > 0) this.#inUse.set(replica, users);
      else this.#inUse.delete(replica);
      // It may have been left meanwhile.
      this.clean();
    }
  }
}

function slicesOf(state: readonly StoredEvent[], authChain: readonly StoredEvent[]): NewRows[] {
  const slices: NewRows[] = [];
  for (let at = 0; at < Math.max(state.length, authChain.length); at += SLICE) {
    slices.push({ state: state.slice(at, at + SLICE), authChain: authChain.slice(at, at + SLICE) });
  }
  return slices;
}

function toEvent(row: EventRow): StoredEvent {
  return { eventId: row.event_id, json: row.json, type: row.type, stateKey: row.state_key };
}
