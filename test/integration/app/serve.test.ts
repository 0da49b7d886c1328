import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { promisify } from 'node:util';
import { expect, onTestFinished, test, vi } from 'vitest';
import { freePort } from '../../support/ports.ts';
import { startProcess } from '../../support/processes.ts';
import { node, repositoryRoot } from '../../support/work.ts';

/** Half of the time that requests under way would be given. */
const SOON_MS = 1_500;

/** The proxy as a process of its own, in front of `homeserverUrl`. */
async function serve(homeserverUrl: string) {
  const dir = await mkdtemp(join(tmpdir(), 'serve-'));
  onTestFinished(() => rm(dir, { recursive: true }));
  const [port, opsPort] = [await freePort(), await freePort()];
  const key = join(dir, 'signing.key');
  await writeFile(key, `ed25519 a_test ${Buffer.alloc(32, 7).toString('base64').replace('=', '')}\n`);
  const log = join(dir, 'log');
  const proxy = startProcess(node, [join(repositoryRoot, 'src', 'main.ts'), 'serve'], {
    cwd: dir,
    log,
    env: {
      PATH: process.env.PATH,
      PEEK_HOMESERVER_URL: homeserverUrl,
      PEEK_SERVER_NAME: 'here.test',
      PEEK_SIGNING_KEY_PATH: key,
      PEEK_LISTEN: `127.0.0.1:${port}`,
      PEEK_OPS_LISTEN: `127.0.0.1:${opsPort}`,
      PEEK_DATA_DIR: join(dir, 'data'),
    },
  });
  await vi.waitFor(async () => expect(await readFile(log, 'utf8')).toContain('listening'), 10_000);
  return { proxy, port, log };
}

test('SIGTERM with nothing to answer: the process is gone at once, with 0', async () => {
  const { proxy, log } = await serve(`http://127.0.0.1:${await freePort()}`);
  const before = performance.now();
  expect(await proxy.stop()).toBe(0);
  expect(performance.now() - before).toBeLessThan(SOON_MS);
  expect(await readFile(log, 'utf8')).toContain('ended');
});

test('SIGTERM with 1 000 polls: all answered ≤ 5 s, exit 0', async () => {
  const POLLS = 1000;
  const held = new Set<ServerResponse>();
  const homeserver = createServer((req, res) => {
    if (req.url?.startsWith('/_matrix/client/v3/sync')) held.add(res);
    else res.writeHead(404, { 'content-type': 'application/json' }).end('{"errcode":"M_UNRECOGNIZED"}');
  }).listen(0, '127.0.0.1');
  await once(homeserver, 'listening');
  onTestFinished(() => {
    homeserver.closeAllConnections();
    homeserver.close();
  });
  const { proxy, port } = await serve(`http://127.0.0.1:${(homeserver.address() as AddressInfo).port}`);
  const poll = async (n: number) => {
    const path = `/_matrix/client/v3/sync?since=s${n}&timeout=60000`;
    const asked = request({ host: '127.0.0.1', port, path, agent: false }).end();
    const [response] = (await once(asked, 'response')) as [IncomingMessage];
    return { status: response.statusCode, body: JSON.parse(await text(response)) as unknown };
  };
  const polls = Promise.all(Array.from({ length: POLLS }, (_, n) => poll(n)));
  await vi.waitFor(() => expect(held.size).toBe(POLLS), 30_000);
  const before = performance.now();
  const stopped = proxy.stop();
  const answers = await polls;
  expect(await stopped).toBe(0);
  expect(performance.now() - before).toBeLessThan(5_000);
  // A client that is told of no one-time keys would make and upload new ones.
  const keys = { device_one_time_keys_count: { signed_curve25519: 50 } };
  expect(answers).toEqual(
    Array.from({ length: POLLS }, (_, n) => ({ status: 200, body: { next_batch: `s${n}`, ...keys } })),
  );
}, 60_000);

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
