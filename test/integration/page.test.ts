import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { send } from '../support/http.ts';
import { type RunningProcess, startProcess } from '../support/processes.ts';
import { node, repositoryRoot, workDirectory } from '../support/work.ts';

const READY_WITHIN_MS = 60_000;

describe('npm run page', () => {
  const log = join(workDirectory('runs', `${process.pid}-page`), `${Date.now()}.log`);
  let command: RunningProcess;
  let address: URL;
  beforeAll(async () => {
    const fields = ['--homeserver', 'http://127.0.0.1:8090', '--room', '#lobby:other.example'];
    command = startProcess(node, ['scripts/run.js', 'scripts/page.ts', '--port', '0', ...fields], {
      cwd: repositoryRoot,
      log,
    });
    address = new URL(await printedAddress());
  });
  afterAll(() => command?.kill());

  async function printedAddress(): Promise<string> {
    const deadline = Date.now() + READY_WITHIN_MS;
    for (;;) {
      const [printed] = /http:\S+(?=, until Ctrl-C)/.exec(readFileSync(log, 'utf8')) ?? [];
      if (printed !== undefined) return printed;
      if (Date.now() > deadline || !command.running()) throw new Error(readFileSync(log, 'utf8'));
      await sleep(50);
    }
  }

  it('prints an address that fills in what was named, where the page is with all that it loads', async () => {
    expect(Object.fromEntries(address.searchParams)).toEqual({
      homeserver: 'http://127.0.0.1:8090',
      room: '#lobby:other.example',
    });
    const page = await send(address.origin, 'GET', `/${address.search}`);
    expect(page).toMatchObject({ status: 200, headers: { 'content-type': 'text/html; charset=utf-8' } });
    const parts = [...page.text.matchAll(/(?:src|href)="\.(\/assets\/[^"]+)"/g)].map(([, path = '']) => path);
    expect(parts.length).toBeGreaterThanOrEqual(2);
    for (const path of parts) expect((await send(address.origin, 'GET', path)).status).toBe(200);
  });

  it.each([
    '/nowhere.html',
    '/../../package.json',
    '/%2e%2e/%2e%2e/package.json',
    '/..%2f..%2fpackage.json',
    '/assets',
    '/%',
    '/__proto__',
  ])('%s ⇒ 404', async (path) => {
    expect((await send(address.origin, 'GET', path)).status).toBe(404);
  });

  it.each([
    [['--port', 'http'], '--port http is no port'],
    [['--room'], "Option '--room <value>' argument missing"],
    [['--rooms', '#lobby:other.example'], "Unknown option '--rooms'"],
    [['#lobby:other.example'], "Unexpected argument '#lobby:other.example'"],
  ])('%j ⇒ a sentence, the usage and exit code 2', async (args, sentence) => {
    const { code, output } = await run(args);
    const [said, usage] = output.split('\n\n');
    expect({ code, said, usage }).toEqual({
      code: 2,
      said: `${sentence}.`,
      usage: expect.stringMatching(/^Usage: npm run page/),
    });
  });

  it('--help ⇒ the usage and exit code 0', async () => {
    expect(await run(['--help'])).toEqual({ code: 0, output: expect.stringMatching(/^Usage: npm run page/) });
  });

  it('a port that is in use ⇒ a sentence and exit code 1', async () => {
    const { code, output } = await run(['--port', address.port]);
    expect([code, output]).toEqual([
      1,
      expect.stringMatching(/^The page cannot be served: .*EADDRINUSE.*\n$/),
    ]);
  });

  async function run(args: readonly string[]): Promise<{ code: number; output: string }> {
    const log = join(workDirectory('runs', `${process.pid}-page`), `${randomUUID()}.log`);
    const ended = startProcess(node, ['scripts/page.ts', ...args], { cwd: repositoryRoot, log });
    return { code: await ended.exited, output: readFileSync(log, 'utf8') };
  }
});
