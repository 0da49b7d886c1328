import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Answer, send } from '../support/http.ts';
import { freePort } from '../support/ports.ts';
import { type RunningProcess, startProcess } from '../support/processes.ts';
import { node, repositoryRoot } from '../support/work.ts';
import { buildImage, type Image, parseDockerfile } from './dockerfile.ts';

/** Two `npm ci` and a compilation, beside other tests. */
const BUILD_MS = 420_000;
const START_MS = 30_000;

let folder: string;
let image: Image;
let settings: Record<string, string>;
let opsUrl: string;

beforeAll(async () => {
  // Not below the checkout: its node_modules would lend what the image lacks.
  folder = await mkdtemp(join(tmpdir(), 'peek-image-'));
  image = await buildImage(repositoryRoot, folder, buildEnvironment());
  const key = join(folder, 'signing.key');
  await writeFile(key, `ed25519 a_1 ${randomBytes(32).toString('base64').replace(/=+$/, '')}\n`);
  const opsPort = await freePort();
  opsUrl = `http://127.0.0.1:${opsPort}`;
  settings = {
    PEEK_HOMESERVER_URL: `http://127.0.0.1:${await freePort()}`,
    PEEK_SERVER_NAME: 'example.org',
    PEEK_SIGNING_KEY_PATH: key,
    PEEK_LISTEN: `127.0.0.1:${await freePort()}`,
    PEEK_OPS_LISTEN: `127.0.0.1:${opsPort}`,
  };
}, BUILD_MS);

afterAll(async () => {
  if (folder) await rm(folder, { recursive: true, force: true });
});

describe('the image that the Dockerfile describes', () => {
  it('is made of official Node images, of the version that package.json asks for', async () => {
    const { engines } = await packageJson();
    const bases = parseDockerfile(await readFile(join(repositoryRoot, 'Dockerfile'), 'utf8')).map(
      (stage) => stage.base,
    );
    const oldest = /^>=(\d+)$/.exec(engines.node)?.[1];
    for (const base of bases) expect(base).toMatch(new RegExp(`^node:${oldest}\\b`));
  });

  it('runs as nobody special, keeps its data in a volume and asks for its own health', () => {
    expect(image.user).toBe('node');
    expect(image.volumes).toEqual([image.env.PEEK_DATA_DIR]);
    expect(image.exposed).toEqual(['8090']);
    expect(image.healthcheck).toEqual([...image.entrypoint, 'healthcheck']);
  });

  it('holds the build with its assets, production packages, and nothing else', async () => {
    expect((await readdir(image.workdir)).sort()).toEqual([
      'LICENSE',
      'dist',
      'node_modules',
      'package.json',
    ]);
    const scripts = (path: string) => readdir(join(path, 'store', 'redis', 'lua'));
    expect(await scripts(join(image.workdir, 'dist'))).toEqual(await scripts(join(repositoryRoot, 'src')));
    const { dependencies, devDependencies } = await packageJson();
    const installed = new Set(await readdir(join(image.workdir, 'node_modules')));
    for (const name of Object.keys(dependencies)) expect(installed).toContain(name);
    for (const name of Object.keys(devDependencies)) {
      expect(installed).not.toContain(name.startsWith('@') ? name.split('/')[0] : name);
    }
  });

  it('finds the file of its worker threads: one starts and answers', async () => {
    const script = `
      const { createVerifyWorkers } = await import('./dist/rooms/verify-workers.js');
      const { systemClock } = await import('./dist/platform/clock.js');
      const workers = createVerifyWorkers(1, systemClock);
      const body = Buffer.from('{"state":[{}],"auth_chain":[]}');
      const { outline } = await workers.run({ kind: 'outline', body, maxValues: 100, maxEvents: 10 });
      console.log(outline.rest.state.length / 2);
      await workers.close();`;
    expect(await run(['node', '--input-type=module', '--eval', script])).toEqual({ code: 0, stdout: '1\n' });
  });

  it('what package.json publishes is there', async () => {
    const { files, bin } = await packageJson();
    for (const path of files.filter((name) => name !== 'dist')) await stat(join(repositoryRoot, path));
    for (const path of Object.values(bin)) await stat(join(image.workdir, path));
  });
});

describe('started as the image starts it, with PEEK_ variables alone', () => {
  let proxy: RunningProcess;
  let before: string[];

  beforeAll(async () => {
    before = await contents(image.workdir);
    const registration = join(folder, 'registration.yaml');
    const { stdout, code } = await run([...image.entrypoint, 'registration']);
    expect(code).toBe(0);
    await writeFile(registration, stdout);
    settings.PEEK_REGISTRATION_PATH = registration;
    const [program, args] = split([...image.entrypoint, ...image.command]);
    proxy = startProcess(program, args, { cwd: image.workdir, env: environment(), log: join(folder, 'log') });
    await untilListening();
  });

  afterAll(async () => {
    await proxy?.kill();
  });

  it('against a homeserver that is down: /ready and /health answer, and say why not', async () => {
    const [ready, health] = [await send(opsUrl, 'GET', '/ready'), await send(opsUrl, 'GET', '/health')];
    expect([ready.status, ready.body]).toEqual([503, { ready: false }]);
    expect([health.status, health.body.status]).toEqual([503, 'red']);
    expect(health.body.store).toEqual({ kind: 'sqlite', up: true });
    expect(health.body.homeserver).toMatchObject({ peeking: false, problem: expect.any(String) });
    const metrics = await send(opsUrl, 'GET', '/metrics');
    expect(metrics.text).toMatch(/^peek_proxy_homeserver_up 0$/m);
  });

  it('what it would pass through is answered with 502 and an errcode', async () => {
    const answer = await send(`http://${settings.PEEK_LISTEN}`, 'GET', '/_matrix/client/v3/login');
    expect([answer.status, answer.body.errcode]).toEqual([502, 'M_UNKNOWN']);
  });

  it('healthcheck: 1 while health is red, 1 where nobody answers, 0 where it is well', async () => {
    expect(await run(image.healthcheck)).toMatchObject({ code: 1, stdout: '503\n' });
    const port = await freePort();
    const elsewhere = { PEEK_OPS_LISTEN: `127.0.0.1:${port}` };
    expect(await run(image.healthcheck, elsewhere)).toMatchObject({ code: 1, stdout: '' });
    const well = createServer((req, res) => res.writeHead(req.url === '/health' ? 200 : 404).end());
    await new Promise<void>((resolve) => well.listen(port, '127.0.0.1', resolve));
    try {
      expect(await run(image.healthcheck, elsewhere)).toMatchObject({ code: 0, stdout: '200\n' });
    } finally {
      well.close();
    }
  });

  it('SIGTERM ends it with exit code 0, and it has written nothing but its data', async () => {
    process.kill(proxy.pid, 'SIGTERM');
    const slow = sleep(10_000, 'still running', { ref: false });
    expect(await Promise.race([proxy.exited, slow])).toBe(0);
    expect(await contents(image.workdir)).toEqual(before);
    expect(await readdir(dataDirectory())).toContain('peeks.sqlite');
  });
});

interface PackageJson {
  readonly engines: { readonly node: string };
  readonly bin: Readonly<Record<string, string>>;
  readonly files: readonly string[];
  readonly dependencies: Readonly<Record<string, string>>;
  readonly devDependencies: Readonly<Record<string, string>>;
}

async function packageJson(): Promise<PackageJson> {
  return JSON.parse(await readFile(join(repositoryRoot, 'package.json'), 'utf8')) as PackageJson;
}

/**
 * For npm: our Node first, and nothing of the npm that runs this test, which would have it work in the checkout.
 * What is in npm's cache need not be fetched.
 */
function buildEnvironment(): NodeJS.ProcessEnv {
  const ours =
    /^(?:npm_(?!config_)|npm_config_(?:local_prefix|prefix|global_prefix)$|INIT_CWD$|NODE_|VITEST|PEEK_)/i;
  const inherited = Object.entries(process.env).filter(([name]) => !ours.test(name));
  return {
    ...Object.fromEntries(inherited),
    PATH: `${dirname(node)}${delimiter}${process.env.PATH ?? ''}`,
    npm_config_prefer_offline: 'true',
  };
}

function dataDirectory(): string {
  return join(image.root, image.env.PEEK_DATA_DIR ?? '');
}

function environment(more: Readonly<Record<string, string>> = {}): NodeJS.ProcessEnv {
  const inImage = Object.entries(image.env).map(([name, value]) => {
    return [name, image.volumes.includes(value) ? join(image.root, value) : value];
  });
  return { ...Object.fromEntries(inImage), ...settings, ...more };
}

/** `node` is the one that runs this test. */
function split([program = '', ...args]: readonly string[]): [string, string[]] {
  expect(program).toBe('node');
  return [node, args];
}

function run(
  command: readonly string[],
  more?: Readonly<Record<string, string>>,
): Promise<{ code: number; stdout: string }> {
  const [program, args] = split(command);
  return new Promise((resolve) => {
    const child = execFile(
      program,
      args,
      { cwd: image.workdir, env: environment(more) },
      (_error, stdout) => {
        resolve({ code: child.exitCode ?? -1, stdout });
      },
    );
  });
}

async function untilListening(): Promise<Answer> {
  const deadline = Date.now() + START_MS;
  for (;;) {
    try {
      return await send(opsUrl, 'GET', '/ready');
    } catch (error) {
      if (Date.now() > deadline) throw error;
      await sleep(50);
    }
  }
}

/** Every file with its size and time. */
async function contents(directory: string): Promise<string[]> {
  const names = await readdir(directory, { recursive: true });
  const described = names.map(async (name) => {
    const { size, mtimeMs } = await stat(join(directory, name)).catch(() => ({ size: -1, mtimeMs: -1 }));
    return `${name} ${size} ${mtimeMs}`;
  });
  return (await Promise.all(described)).sort();
}
