import { mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type MatrixClient, register } from './client.ts';
import { freePort } from './ports.ts';
import { type ProxyOptions, type RunningProxy, startProxy, writeRegistration } from './proxy.ts';
import { type RunningSynapse, type SynapseOptions, startSynapse } from './synapse.ts';
import { ensureSigningKey } from './synapse-config.ts';
import { workDirectory } from './work.ts';

export interface SiteOptions {
  /** Names its directory. */
  readonly name: string;
  /** Default: SQLite. */
  readonly redisUrl?: string;
  readonly proxyEnv?: Readonly<Record<string, string | undefined>>;
  readonly synapse?: Partial<SynapseOptions>;
  /** Default true: the proxy may read its homeserver's rooms. */
  readonly reader?: boolean;
}

/** A Synapse with the proxy in front of it, reached by others through the proxy alone. */
export interface Site {
  /** `localhost:PORT`; the proxy owns the port, with TLS. */
  readonly serverName: string;
  /** The proxy's address for clients. */
  readonly url: string;
  readonly synapse: RunningSynapse;
  readonly proxy: RunningProxy;
  /** What its proxy was started with; a replica is `startProxy({ ...proxyOptions, tls: false })`. */
  readonly proxyOptions: ProxyOptions;
  /** A new account, that talks to the proxy. */
  register(name: string): Promise<MatrixClient>;
  stop(): Promise<void>;
}

/** Two sites that federate over verified TLS. */
export interface Pair {
  readonly a: Site;
  readonly b: Site;
  stop(): Promise<void>;
}

export interface PairOptions {
  /** `redis` needs the URL of one database for each site: replicas share one, homeservers never do. */
  readonly store: 'sqlite' | { readonly redisUrls: { readonly a: string; readonly b: string } };
  readonly a?: Partial<SiteOptions>;
  readonly b?: Partial<SiteOptions>;
}

/** Starts both sites side by side, a few seconds. When one fails, the other is ended too. */
export async function startPair(options: PairOptions): Promise<Pair> {
  const redis = options.store === 'sqlite' ? undefined : options.store.redisUrls;
  const results = await Promise.allSettled([
    startSite({ name: 'a', ...(redis && { redisUrl: redis.a }), ...options.a }),
    startSite({ name: 'b', ...(redis && { redisUrl: redis.b }), ...options.b }),
  ]);
  const [a, b] = results.map((result) => (result.status === 'fulfilled' ? result.value : undefined));
  if (a && b) return { a, b, stop: async () => void (await Promise.all([a.stop(), b.stop()])) };
  await Promise.all([a?.stop(), b?.stop()]);
  throw results.find((result) => result.status === 'rejected')?.reason;
}

/** Starts one site: key, registration, homeserver, proxy, in this order. */
export async function startSite(options: SiteOptions): Promise<Site> {
  const [tlsPort, httpPort] = [await freePort(), await freePort()];
  const serverName = `localhost:${tlsPort}`;
  const dir = await runDirectory(`${options.name}-${tlsPort}`);
  const base: ProxyOptions = {
    homeserverUrl: `http://127.0.0.1:${httpPort}`,
    serverName,
    signingKeyPath: await ensureSigningKey(dir),
    dir,
    ...(options.redisUrl !== undefined && { redisUrl: options.redisUrl }),
    ...(options.proxyEnv && { env: options.proxyEnv }),
  };
  const registration = options.reader === false ? {} : { registrationPath: await writeRegistration(base) };
  const proxyOptions = { ...base, ...registration };
  const synapse = await startSynapse({ serverName, dir, httpPort, ...registration, ...options.synapse });
  const proxy = await startProxy(proxyOptions).catch(async (error: unknown) => {
    await synapse.kill();
    throw error;
  });
  return {
    serverName,
    url: proxy.url,
    synapse,
    proxy,
    proxyOptions,
    register: (name) => register(proxy.url, name),
    async stop() {
      await proxy.stop();
      await synapse.stop();
    },
  };
}

/** A homeserver without the proxy, which other homeservers reach over TLS. */
export async function startBareSynapse(
  name: string,
  options: Partial<SynapseOptions> = {},
): Promise<RunningSynapse> {
  const [tlsPort, httpPort] = [await freePort(), await freePort()];
  const dir = await runDirectory(`${name}-${tlsPort}`);
  return startSynapse({ serverName: `localhost:${tlsPort}`, dir, httpPort, tls: true, ...options });
}

/** `.work/runs/PID-NAME`; what runs that have ended left is removed first, what this one leaves can be read. */
async function runDirectory(name: string): Promise<string> {
  const runs = workDirectory('runs');
  for (const entry of await readdir(runs)) {
    if (!isAlive(Number.parseInt(entry, 10))) await rm(join(runs, entry), { recursive: true, force: true });
  }
  const directory = join(runs, `${process.pid}-${name}`);
  await mkdir(directory, { recursive: true });
  return directory;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
