import { execFile } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { testCertificates } from './certificates.ts';
import { type Json, send } from './http.ts';
import { freePort } from './ports.ts';
import { type RunningProcess, startProcess } from './processes.ts';
import { portOf } from './synapse-config.ts';
import { untilAnswers } from './wait.ts';
import { node, repositoryRoot } from './work.ts';

export interface ProxyOptions {
  readonly homeserverUrl: string;
  readonly serverName: string;
  readonly signingKeyPath: string;
  /** Without it, peeking into the homeserver's own rooms is off. */
  readonly registrationPath?: string;
  /** For its log and, without Redis, its data. */
  readonly dir: string;
  /** Keep what it holds in this Redis; default: SQLite in `dir`. */
  readonly redisUrl?: string;
  /** Own the server name's port with TLS. Default true; false for a further replica. */
  readonly tls?: boolean;
  /** Further settings, over all others; `undefined` takes one away. */
  readonly env?: Readonly<Record<string, string | undefined>>;
}

/** The proxy as users run it: a process of its own, configured by its environment. */
export interface RunningProxy {
  /** Clients and federation, plain HTTP. */
  readonly url: string;
  /** Health, readiness, metrics. */
  readonly opsUrl: string;
  readonly serverName: string;
  readonly log: string;
  readonly pid: number;
  health(): Promise<Json>;
  /** SIGTERM; gives the exit code. */
  stop(): Promise<number>;
  /** SIGKILL. */
  kill(): Promise<void>;
  /** Starts it again on the same ports and data, stopping it before where it runs. */
  restart(env?: Readonly<Record<string, string | undefined>>): Promise<void>;
}

const START_TIMEOUT_MS = 30_000;
const entry = join(repositoryRoot, 'src', 'main.ts');

/** Starts the proxy and resolves when it says that it is ready. */
export async function startProxy(options: ProxyOptions): Promise<RunningProxy> {
  await mkdir(options.dir, { recursive: true });
  const certificates = await testCertificates();
  const [port, opsPort] = [await freePort(), await freePort()];
  const opsUrl = `http://127.0.0.1:${opsPort}`;
  const log = join(options.dir, 'proxy.log');
  const settings = {
    ...baseSettings(options),
    PEEK_LISTEN: `127.0.0.1:${port}`,
    PEEK_OPS_LISTEN: `127.0.0.1:${opsPort}`,
    PEEK_REGISTRATION_PATH: options.registrationPath,
    PEEK_FEDERATION_CA_PATH: certificates.ca,
    PEEK_FEDERATION_ALLOW: '127.0.0.1/32,::1/128',
    ...(options.tls !== false && {
      PEEK_TLS_LISTEN: `127.0.0.1:${portOf(options.serverName)}`,
      PEEK_TLS_CERT_PATH: certificates.certificate,
      PEEK_TLS_KEY_PATH: certificates.key,
    }),
    ...(options.redisUrl === undefined
      ? { PEEK_DATA_DIR: join(options.dir, 'data') }
      : { PEEK_REDIS_URL: options.redisUrl }),
    ...options.env,
  };

  const start = async (env: Readonly<Record<string, string | undefined>> = {}): Promise<RunningProcess> => {
    const server = startProcess(node, [entry, 'serve'], {
      cwd: options.dir,
      env: environment({ ...settings, ...env }),
      log,
    });
    try {
      await untilAnswers(`${opsUrl}/ready`, server, log, START_TIMEOUT_MS);
    } catch (error) {
      await server.kill();
      throw error;
    }
    return server;
  };

  let server = await start();
  return {
    url: `http://127.0.0.1:${port}`,
    opsUrl,
    serverName: options.serverName,
    log,
    get pid() {
      return server.pid;
    },
    health: async () => (await send(opsUrl, 'GET', '/health')).body,
    stop: () => server.stop(),
    kill: () => server.kill(),
    async restart(env) {
      await server.stop();
      server = await start(env);
    },
  };
}

/** Writes the appservice registration that the proxy's own command prints, and gives its path. */
export async function writeRegistration(options: ProxyOptions): Promise<string> {
  await mkdir(options.dir, { recursive: true });
  const path = join(options.dir, 'registration.yaml');
  const env = environment(baseSettings(options));
  const { stdout } = await promisify(execFile)(node, [entry, 'registration'], { cwd: options.dir, env });
  await writeFile(path, stdout, { mode: 0o600 });
  return path;
}

function baseSettings(options: ProxyOptions): Record<string, string | undefined> {
  return {
    PEEK_HOMESERVER_URL: options.homeserverUrl,
    PEEK_SERVER_NAME: options.serverName,
    PEEK_SIGNING_KEY_PATH: options.signingKeyPath,
    PEEK_LOG_LEVEL: process.env.PEEK_TEST_LOG_LEVEL ?? 'info',
  };
}

/** Ours, without the settings of a proxy that the caller's shell may hold. */
function environment(settings: Readonly<Record<string, string | undefined>>): NodeJS.ProcessEnv {
  const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith('PEEK_'));
  return { ...Object.fromEntries(inherited), ...settings };
}
