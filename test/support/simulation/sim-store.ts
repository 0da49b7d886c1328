import { copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import type { Clock } from '../../../src/platform/clock.ts';
import { openStore } from '../../../src/store/open-store.ts';
import type { Store } from '../../../src/store/store.ts';

const logger = pino({ level: 'silent' });

/** What outlives the lives of one proxy. */
export interface SimStore {
  /** Opens it as a process does at its start. */
  open(clock: Clock): Promise<Store>;
  /** The process that had it open was killed: what it had not committed is gone. */
  crashed(): Promise<void>;
  /** Removes everything. */
  remove(): Promise<void>;
}

/** A disk that forgets nothing and costs no time: what is written there survives the process. */
const MEMORY_DISK = '/dev/shm';
const FILES = ['peeks.sqlite', 'peeks.sqlite-wal'];

/**
 * SQLite in real files. After a crash the next life begins with the files as they lay on the disk at that
 * moment, write-ahead log included: nobody has closed the database.
 */
export function sqliteFiles(): SimStore {
  const folder = mkdtempSync(join(existsSync(MEMORY_DISK) ? MEMORY_DISK : tmpdir(), 'peek-simulation-'));
  let lives = 0;
  let opened: Store | null = null;
  const folderOf = (life: number) => join(folder, String(life));
  return {
    async open(clock) {
      const dataDir = folderOf(lives);
      opened = await openStore({ redisUrl: null, dataDir, clock, logger });
      return opened;
    },
    async crashed() {
      const [before, after] = [folderOf(lives), folderOf(lives + 1)];
      mkdirSync(after);
      for (const file of FILES) {
        if (existsSync(join(before, file))) copyFileSync(join(before, file), join(after, file));
      }
      lives++;
      await opened?.close();
      rmSync(before, { recursive: true, force: true });
    },
    async remove() {
      await opened?.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** A database of a Redis that somebody else starts and ends. What had been sent to it at the kill may be done yet. */
export function redisDatabase(redisUrl: string): SimStore {
  let opened: Store | null = null;
  return {
    async open(clock) {
      opened = await openStore({ redisUrl, dataDir: '', clock, logger });
      return opened;
    },
    async crashed() {
      await opened?.close();
    },
    async remove() {
      await opened?.close();
    },
  };
}
