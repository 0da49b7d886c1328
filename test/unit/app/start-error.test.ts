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
  expect(problems).toThrow(`PEEK_REGISTRATION_PATH (${files.PEEK_REGISTRATION_PATH}): the file is empty`);
  expect(problems).toThrow('PEEK_FEDERATION_CA_PATH');
});

test.each([
  ['no', () => join(folder, 'nowhere.yaml'), 'ENOENT'],
  ['an empty', () => written('registration.yaml', '\n'), 'the file is empty'],
])('%s registration file ⇒ the command that makes one', (_, make, reason) => {
  const key = written('signing.key', `ed25519 a_test ${'A'.repeat(42)}E\n`);
  const path = make();
  const problems = () => checkFiles(config({ PEEK_SIGNING_KEY_PATH: key, PEEK_REGISTRATION_PATH: path }));
  expect(problems).toThrow(reason);
  expect(problems).toThrow(`; make it with: node dist/main.js registration > ${path}`);
});

test('a registration file that is wrong is to be mended, not made anew', () => {
  const path = written('list.yaml', '- 1');
  const problems = () =>
    checkFiles(config({ PEEK_SIGNING_KEY_PATH: '/nonexistent', PEEK_REGISTRATION_PATH: path }));
  expect(problems).toThrow('not a YAML mapping');
  expect(problems).not.toThrow('make it with');
});

test('files that are well stop nothing', () => {
  const key = written('signing.key', `ed25519 a_test ${'A'.repeat(42)}E\n`);
  checkFiles(config({ PEEK_SIGNING_KEY_PATH: key }));
});

test('a step that fails names its setting', async () => {
  const failing = about('PEEK_LISTEN', () => Promise.reject(new Error('listen EADDRINUSE: 127.0.0.1:8090')));
  await expect(failing).rejects.toThrow(/PEEK_LISTEN: listen EADDRINUSE/);
});
