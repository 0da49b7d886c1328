import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterAll, expect, test } from 'vitest';
import { about } from '../../../src/app/start-error.ts';
import { openStore } from '../../../src/store/open-store.ts';
import { ManualClock } from '../../support/manual-clock.ts';

const folder = mkdtempSync(join(tmpdir(), 'peek-open-'));
afterAll(() => rmSync(folder, { recursive: true }));

function open(dataDir: string) {
  const options = { redisUrl: null, dataDir, clock: new ManualClock(), logger: pino({ level: 'silent' }) };
  return about('PEEK_DATA_DIR', () => openStore(options));
}

test('a data directory several levels deep is made, for its owner alone', async () => {
  const deep = join(folder, 'a', 'b', 'c');
  const store = await open(deep);
  expect(statSync(deep).mode & 0o777).toBe(0o700);
  await store.close();
});

test('a data directory that the system does not let be made ⇒ a start error that names the setting', async () => {
  await expect(open('/proc/x/y')).rejects.toThrow(/PEEK_DATA_DIR: ENOENT.*\/proc\/x'/);
});

test('a file in the place of the data directory, or above it ⇒ a start error that names the setting', async () => {
  const file = join(folder, 'file');
  writeFileSync(file, '');
  await expect(open(file)).rejects.toThrow(/PEEK_DATA_DIR: EEXIST/);
  await expect(open(join(file, 'below'))).rejects.toThrow(/PEEK_DATA_DIR: (EEXIST|ENOTDIR)/);
});
