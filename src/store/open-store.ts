import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Clock } from '../platform/clock.ts';
import type { Logger } from '../platform/log.ts';
import { Database } from './sqlite/database.ts';
import { SqliteStore } from './sqlite/sqlite-store.ts';
import type { Store } from './store.ts';

export interface StoreOptions {
  /** null: SQLite in `dataDir`. */
  readonly redisUrl: string | null;
  /** A directory, made if it is not there, or `:memory:` (nothing outlives the process). */
  readonly dataDir: string;
  readonly clock: Clock;
  readonly logger: Logger;
}

const SQLITE_FILE = 'peeks.sqlite';

/** Opens the store that the settings ask for. */
export async function openStore({ redisUrl, dataDir, clock, logger }: StoreOptions): Promise<Store> {
  if (redisUrl !== null) throw new Error('PEEK_REDIS_URL is not served by this build');
  return new SqliteStore(new Database(sqlitePath(dataDir)), clock, logger);
}

function sqlitePath(dataDir: string): string {
  if (dataDir === ':memory:') return dataDir;
  mkdirSync(dataDir, { recursive: true, mode: 0o700 });
  return join(dataDir, SQLITE_FILE);
}
