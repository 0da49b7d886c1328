import { mkdirSync, statSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import type { Clock } from '../platform/clock.ts';
import type { Logger } from '../platform/log.ts';
import { SchemaTooNewError } from './redis/connection.ts';
import { RedisStore } from './redis/redis-store.ts';
import { parseRedisUrl } from './redis/redis-url.ts';
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
const REDIS_START_MS = 5000;

/**
 * Opens the store that the settings ask for.
 *
 * A Redis that is away does not stop the start: the store rejects with `StoreDownError` until it answers. Throws
 * `RedisUrlError`, `SchemaTooNewError`, and for SQLite `StoreInUseError`, `StoreDownError` or the system's error
 * when the directory cannot be made.
 */
export async function openStore({ redisUrl, dataDir, clock, logger }: StoreOptions): Promise<Store> {
  if (redisUrl === null) return new SqliteStore(new Database(sqlitePath(dataDir)), clock, logger);
  const store = new RedisStore(parseRedisUrl(redisUrl), clock, logger);
  try {
    await store.ready(REDIS_START_MS);
    await warnOfEviction(store, logger);
  } catch (error) {
    if (error instanceof SchemaTooNewError) {
      await store.close();
      throw error;
    }
    logger.warn({ err: error }, 'Redis does not answer; peeking is off until it does');
  }
  return store;
}

function sqlitePath(dataDir: string): string {
  if (dataDir === ':memory:') return dataDir;
  makeFolder(resolve(dataDir));
  return join(dataDir, SQLITE_FILE);
}

/**
 * Makes a directory and those above it, level by level. The `recursive` of `mkdirSync` never returns where a
 * directory that is there answers ENOENT to a new one in it, as `/proc` does.
 */
function makeFolder(path: string): void {
  if (isFolder(path)) return;
  makeFolder(dirname(path));
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    // Another process may have been faster.
    if (!isFolder(path)) throw error;
  }
}

function isFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
}

async function warnOfEviction(store: RedisStore, logger: Logger): Promise<void> {
  // A managed Redis may refuse to tell.
  const [policy] = await store.evictionPolicies().catch(() => []);
  if (policy === undefined) return;
  logger.warn({ policy }, 'Redis may evict what is stored here: set its maxmemory-policy to noeviction');
}
