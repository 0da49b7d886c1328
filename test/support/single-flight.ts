import { DatabaseSync } from 'node:sqlite';
import { setTimeout as sleep } from 'node:timers/promises';

const POLL_MS = 250;

/**
 * Runs `work` in one process at a time; the others wait, and run it in turn unless `done` by then.
 * The lock is an exclusive SQLite transaction on the file `lock`: the kernel lets go of it when its
 * owner dies, so a crash leaves nothing to clean up.
 */
export async function singleFlight(
  lock: string,
  done: () => Promise<boolean>,
  work: () => Promise<void>,
): Promise<void> {
  if (await done()) return;
  const database = new DatabaseSync(lock);
  try {
    database.exec('PRAGMA busy_timeout = 0');
    while (!tryLock(database)) await sleep(POLL_MS);
    if (!(await done())) await work();
  } finally {
    database.close();
  }
}

function tryLock(database: DatabaseSync): boolean {
  try {
    database.exec('BEGIN EXCLUSIVE');
    return true;
  } catch (error) {
    if (error instanceof Error && /locked/.test(error.message)) return false;
    throw error;
  }
}
