import { DatabaseSync, type SQLInputValue, type StatementSync } from 'node:sqlite';
import { StoreDownError } from '../store.ts';
import { migrate, SchemaTooNewError } from './schema.ts';

/** How long an opening process waits for the one before it to let go of the file. */
const LOCK_WAIT_MS = 1000;
/** Result codes of SQLite (https://sqlite.org/rescode.html), the low byte of an extended code. */
const SQLITE_BUSY = 5;
const SQLITE_CONSTRAINT = 19;
/** The write-ahead log is cut back to this after a large transaction. */
const WAL_BYTES_KEPT = 16 * 1024 * 1024;

/** Another process has the file. */
export class StoreInUseError extends Error {
  override readonly name = 'StoreInUseError';
}

/**
 * One SQLite file, held by this process alone.
 *
 * `locking_mode=EXCLUSIVE` keeps the operating system's lock on the file until it is closed; the lock goes with
 * the process, so that nothing has to be cleaned up after a SIGKILL. `synchronous=FULL` syncs the write-ahead log
 * at each commit: what was committed survives a loss of power as far as the disk is honest.
 */
export class Database {
  readonly #sqlite: DatabaseSync;
  readonly #statements = new Map<string, StatementSync>();

  /** @param path a file, or `:memory:`. Throws `StoreInUseError`, `SchemaTooNewError` or `StoreDownError`. */
  constructor(path: string) {
    let sqlite: DatabaseSync | undefined;
    try {
      sqlite = new DatabaseSync(path, { timeout: LOCK_WAIT_MS });
      sqlite.exec('PRAGMA locking_mode = EXCLUSIVE');
      sqlite.exec('PRAGMA journal_mode = WAL');
      sqlite.exec('PRAGMA synchronous = FULL');
      sqlite.exec(`PRAGMA journal_size_limit = ${WAL_BYTES_KEPT}`);
      sqlite.exec('PRAGMA foreign_keys = ON');
      migrate(sqlite);
    } catch (error) {
      sqlite?.close();
      if (error instanceof SchemaTooNewError) throw error;
      if (resultCode(error) === SQLITE_BUSY) {
        throw new StoreInUseError(
          `${path} is in use by another process. SQLite serves one process; set PEEK_REDIS_URL to run several.`,
          { cause: error },
        );
      }
      throw down(error);
    }
    this.#sqlite = sqlite;
  }

  /** Runs `work` in one transaction; everything it wrote is undone when it throws. */
  write<T>(work: () => T): T {
    try {
      this.#sqlite.exec('BEGIN IMMEDIATE');
      const result = work();
      this.#sqlite.exec('COMMIT');
      return result;
    } catch (error) {
      this.#rollBack();
      throw down(error);
    }
  }

  /**
   * As `write`, but the disk is not waited for: what was written survives this process, and after a loss of power may
   * be as it was before. For what is then done again and does no harm.
   */
  writeUnsynced<T>(work: () => T): T {
    try {
      this.#sqlite.exec('PRAGMA synchronous = NORMAL');
      return this.write(work);
    } catch (error) {
      throw down(error);
    } finally {
      if (this.#sqlite.isOpen) this.#sqlite.exec('PRAGMA synchronous = FULL');
    }
  }

  /** Runs `work`, which only reads. All of it sees one state, as nothing else runs meanwhile. */
  read<T>(work: () => T): T {
    try {
      return work();
    } catch (error) {
      throw down(error);
    }
  }

  get<Row>(sql: string, ...values: SQLInputValue[]): Row | undefined {
    return this.#statement(sql).get(...values) as Row | undefined;
  }

  all<Row>(sql: string, ...values: SQLInputValue[]): Row[] {
    return this.#statement(sql).all(...values) as Row[];
  }

  /** Returns how many rows it changed. */
  run(sql: string, ...values: SQLInputValue[]): number {
    return Number(this.#statement(sql).run(...values).changes);
  }

  close(): void {
    this.#statements.clear();
    if (this.#sqlite.isOpen) this.#sqlite.close();
  }

  #statement(sql: string): StatementSync {
    let statement = this.#statements.get(sql);
    if (statement === undefined) {
      statement = this.#sqlite.prepare(sql);
      this.#statements.set(sql, statement);
    }
    return statement;
  }

  #rollBack(): void {
    try {
      // SQLite has rolled back by itself after some errors, a full disk among them.
      if (this.#sqlite.isOpen && this.#sqlite.isTransaction) this.#sqlite.exec('ROLLBACK');
    } catch {
      // The error that led here says more.
    }
  }
}

function resultCode(error: unknown): number | null {
  if (!(error instanceof Error) || !('errcode' in error) || typeof error.errcode !== 'number') return null;
  return error.errcode & 0xff;
}

/** What the database reports becomes `StoreDownError`; a broken constraint or another exception is a bug and stays. */
function down(error: unknown): unknown {
  if (!(error instanceof Error) || error instanceof StoreDownError) return error;
  const code = resultCode(error);
  if (code === SQLITE_CONSTRAINT) return error;
  const closed = 'code' in error && error.code === 'ERR_INVALID_STATE';
  if (code === null && !closed) return error;
  return new StoreDownError(`SQLite: ${error.message}`, { cause: error });
}
