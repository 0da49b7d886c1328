import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { checkFiles } from '../../../src/app/check-files.ts';
import { about } from '../../../src/app/start-error.ts';
import { loadConfig } from '../../../src/config/config.ts';

const folder = mkdtempSync(join(tmpdir(), 'peek-files-'));

function config(files: Record<string, string>) {
  return loadConfig({ PEEK_HOMESERVER_URL: 'http://127.0.0.1:1', PEEK_SERVER_NAME: 'a.test', ...files });
}

function written(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

test('files that cannot be used are all named at once, each with its setting', () => {
  const files = {
    PEEK_SIGNING_KEY_PATH: '/nonexistent',
    PEEK_REGISTRATION_PATH: written('empty.yaml', ''),
    PEEK_FEDERATION_CA_PATH: written('ca.pem', 'no certificate'),
  };
  const problems = () => checkFiles(config(files));
  expect(problems).toThrow('PEEK_SIGNING_KEY_PATH (/nonexistent): ENOENT');
  expect(problems).toThrow('PEEK_REGISTRATION_PATH');
  expect(problems).toThrow('PEEK_FEDERATION_CA_PATH');
});

test('files that are well stop nothing', () => {
  const key = written('signing.key', `ed25519 a_test ${'A'.repeat(42)}E\n`);
  checkFiles(config({ PEEK_SIGNING_KEY_PATH: key }));
});

test('a step that fails names its setting', async () => {
  const failing = about('PEEK_LISTEN', () => Promise.reject(new Error('listen EADDRINUSE: 127.0.0.1:8090')));
  await expect(failing).rejects.toThrow(/PEEK_LISTEN: listen EADDRINUSE/);
});
