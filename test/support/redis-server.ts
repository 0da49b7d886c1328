import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { accessSync, constants, mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const PROJECT = resolve(import.meta.dirname, '../..');
const READY_WITHIN_MS = 10_000;

/** Under a lock, as several test files may ask at once; `RUNLEVEL=1` keeps the package from starting a service. */
const INSTALL = `
  command -v redis-server >/dev/null && exit 0
  apt-get update -qq &&
  RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends redis-server
`;

/** Where `redis-server` is: on the PATH, in `.work/`, or installed as Debian's package. Throws when it cannot be had. */
export function redisServerPath(): string {
  const found = find();
  if (found !== null) return found;
  try {
    execFileSync('flock', [join(tmpdir(), 'matrix-peek-proxy-redis-install.lock'), 'sh', '-c', INSTALL], {
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: 180_000,
    });
  } catch (error) {
    throw new Error(
      'redis-server is neither on the PATH nor in .work/redis/, and apt-get could not install it. ' +
        'Install the package "redis-server" (Redis 6.2 or newer).',
      { cause: error },
    );
  }
  const installed = find();
  if (installed === null) throw new Error('the package redis-server is installed, but has no redis-server');
  return installed;
}

function find(): string | null {
  const folders = [
    ...(process.env.PATH ?? '').split(delimiter),
    join(PROJECT, '.work/redis'),
    join(PROJECT, '.work/redis/usr/bin'),
  ];
  for (const folder of folders) {
    if (folder === '') continue;
    const path = join(folder, 'redis-server');
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // The next one.
    }
  }
  return null;
}

export interface RedisServer {
  readonly url: string;
  readonly port: number;
  readonly pid: number;
  /** Ends it in order and removes its files. Repeating it does no harm. */
  stop(): Promise<void>;
  /** SIGKILL; its files stay. */
  kill(): Promise<void>;
  /** Starts it again on the same port and files. */
  restart(): Promise<void>;
}

export interface RedisServerOptions {
  /** `appendonly yes`, synced at every write: what was acknowledged survives a SIGKILL of Redis. */
  readonly appendonly?: boolean;
  /** Further arguments, e.g. `['--maxmemory', '4mb']`. */
  readonly args?: readonly string[];
}

/** Starts a Redis of the test's own on a free port of the loopback. */
export async function startRedis(options: RedisServerOptions = {}): Promise<RedisServer> {
  const path = redisServerPath();
  const dir = mkdtempSync(join(tmpdir(), 'peek-redis-'));
  const port = await freePort();
  const args = [
    ...['--bind', '127.0.0.1', '--port', String(port), '--dir', dir, '--save', '', '--daemonize', 'no'],
    ...(options.appendonly ? ['--appendonly', 'yes', '--appendfsync', 'always'] : []),
    ...(options.args ?? []),
  ];
  let child: ChildProcess | null = null;

  const end = async (signal: NodeJS.Signals) => {
    const running = child;
    child = null;
    if (running === null || running.exitCode !== null || running.signalCode !== null) return;
    const exited = new Promise((done) => running.once('exit', done));
    running.kill(signal);
    await exited;
  };
  const start = async () => {
    child = spawn(path, args, { stdio: 'ignore' });
    child.once('error', () => {});
    try {
      await answers(port, child);
    } catch (error) {
      await end('SIGKILL');
      throw error;
    }
  };

  try {
    await start();
  } catch (error) {
    rmSync(dir, { recursive: true, force: true });
    throw error;
  }
  return {
    url: `redis://127.0.0.1:${port}`,
    port,
    get pid() {
      return child?.pid ?? -1;
    },
    stop: async () => {
      await end('SIGTERM');
      rmSync(dir, { recursive: true, force: true });
    },
    kill: () => end('SIGKILL'),
    restart: start,
  };
}

/** Waits until a Redis (or Sentinel) answers; rejects when it ends before. */
export async function answers(port: number, child: ChildProcess): Promise<void> {
  const deadline = Date.now() + READY_WITHIN_MS;
  while (Date.now() < deadline) {
    if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) {
      throw new Error(`redis-server ended at once (code ${child.exitCode})`);
    }
    // A server that asks for a password is up too; one that loads its files says LOADING.
    if (/^(\+PONG|-NOAUTH)/.test(await pinged(port))) return;
    await sleep(20);
  }
  throw new Error(`redis-server did not answer on port ${port} within ${READY_WITHIN_MS} ms`);
}

function pinged(port: number): Promise<string> {
  return new Promise((done) => {
    const socket = connect({ host: '127.0.0.1', port });
    const end = (text: string) => {
      socket.destroy();
      done(text);
    };
    socket.setTimeout(1000, () => end(''));
    socket.once('error', () => end(''));
    socket.once('data', (data) => end(data.toString('latin1')));
    socket.write('PING\r\n');
  });
}

/** A port of the loopback that was free a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((done, fail) => {
    server.once('error', fail);
    server.listen(0, '127.0.0.1', done);
  });
  const address = server.address();
  await new Promise((done) => server.close(done));
  if (address === null || typeof address === 'string') throw new Error('no free port');
  return address.port;
}
