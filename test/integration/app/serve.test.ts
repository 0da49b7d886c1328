import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, onTestFinished, test, vi } from 'vitest';
import { freePort } from '../../support/ports.ts';
import { startProcess } from '../../support/processes.ts';
import { node, repositoryRoot } from '../../support/work.ts';

/** Half of the time that requests under way would be given. */
const SOON_MS = 1_500;

test('SIGTERM with nothing to answer: the process is gone at once, with 0', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'serve-'));
  onTestFinished(() => rm(dir, { recursive: true }));
  const [port, opsPort, deadPort] = [await freePort(), await freePort(), await freePort()];
  const key = join(dir, 'signing.key');
  await writeFile(key, `ed25519 a_test ${Buffer.alloc(32, 7).toString('base64').replace('=', '')}\n`);
  const log = join(dir, 'log');
  const proxy = startProcess(node, [join(repositoryRoot, 'src', 'main.ts'), 'serve'], {
    cwd: dir,
    log,
    env: {
      PATH: process.env.PATH,
      PEEK_HOMESERVER_URL: `http://127.0.0.1:${deadPort}`,
      PEEK_SERVER_NAME: 'here.test',
      PEEK_SIGNING_KEY_PATH: key,
      PEEK_LISTEN: `127.0.0.1:${port}`,
      PEEK_OPS_LISTEN: `127.0.0.1:${opsPort}`,
      PEEK_DATA_DIR: join(dir, 'data'),
    },
  });
  await vi.waitFor(async () => expect(await readFile(log, 'utf8')).toContain('listening'), 10_000);
  const before = performance.now();
  expect(await proxy.stop()).toBe(0);
  expect(performance.now() - before).toBeLessThan(SOON_MS);
  expect(await readFile(log, 'utf8')).toContain('ended');
});

test('malformed CIDR in config ⇒ refuse to start, naming the setting and the text', async () => {
  const main = join(repositoryRoot, 'src', 'main.ts');
  const env = {
    PATH: process.env.PATH,
    PEEK_HOMESERVER_URL: 'http://127.0.0.1:1',
    PEEK_SERVER_NAME: 'here.test',
    PEEK_SIGNING_KEY_PATH: '/nonexistent',
    PEEK_FEDERATION_ALLOW: '127.0.0.0/8,10.0.0.1/8',
  };
  const failed = await promisify(execFile)(node, [main, 'serve'], { env, timeout: 20_000 }).then(
    () => expect.fail('it started'),
    (error: { code: unknown; stderr: string; stdout: string }) => error,
  );
  expect(failed.code).toBe(1);
  expect(failed.stderr + failed.stdout).toMatch(/PEEK_FEDERATION_ALLOW.*10\.0\.0\.1\/8/);
});

test('a rejected promise that nobody waits for is logged with its stack, and the process goes on', async () => {
  const url = (path: string) => JSON.stringify(join(repositoryRoot, 'src', path));
  const program = `
    import { logForgottenRejections } from ${url('app/forgotten-rejections.ts')};
    import { createLogger } from ${url('platform/log.ts')};
    logForgottenRejections(process, createLogger('info'));
    function forgetful() { return Promise.reject(new Error('forgotten')); }
    forgetful();
    Promise.reject('no error at all');
    setTimeout(() => console.log('goes on'), 20);
  `;
  const { stdout } = await promisify(execFile)(node, ['--input-type=module', '--eval', program]);
  expect(stdout).toContain('goes on');
  const lines = stdout.split('\n').filter((line) => line.startsWith('{'));
  const logged = lines.map((line) => JSON.parse(line) as { level: unknown; err: { stack: string } });
  expect(logged.map(({ err }) => err.stack)).toEqual([
    expect.stringMatching(/forgotten[\s\S]*forgetful/),
    expect.stringContaining('no error at all'),
  ]);
});
