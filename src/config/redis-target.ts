import { kind, refuse } from './kinds.ts';
import { Secret } from './secret.ts';

/** Where Redis is and how to speak to it. */
export interface RedisTarget {
  readonly mode: 'single' | 'sentinel' | 'cluster';
  /** The server; the sentinels; or cluster nodes to begin with. At least one. */
  readonly nodes: readonly { readonly host: string; readonly port: number }[];
  readonly tls: boolean;
  readonly username: string | null;
  readonly password: Secret | null;
  /** 0 for a cluster. */
  readonly database: number;
  /** The name that the sentinels know the server by; null but for `sentinel`. */
  readonly master: string | null;
}

const FORM = /^redis(s?)(-sentinel|-cluster)?:\/\/(?:([^/@:]*)(?::([^/@]*))?@)?([^/@?#]+)(?:\/([^?#]*))?$/;
const DEFAULT_PORT = { single: 6379, sentinel: 26_379, cluster: 6379 } as const;

/**
 * `redis://[user:password@]host[:port][/database]`, `redis-sentinel://…host,host/master[/database]` or
 * `redis-cluster://…host,host`; with `rediss` in place of `redis` over TLS. User name and password are
 * percent-encoded.
 */
export const redisTarget = kind(
  'redis://, redis-sentinel:// or redis-cluster:// URL',
  (text): RedisTarget => {
    const match = FORM.exec(text);
    if (match === null) return refuse('must be a redis://, redis-sentinel:// or redis-cluster:// URL');
    const [, tls, form, username, password, hosts = '', path = ''] = match;
    const mode = form === '-sentinel' ? 'sentinel' : form === '-cluster' ? 'cluster' : 'single';
    const nodes = hosts.split(',').map((host) => node(host, DEFAULT_PORT[mode]));
    if (mode === 'single' && nodes.length > 1) {
      return refuse('names several hosts, which needs redis-sentinel:// or redis-cluster://');
    }
    const steps = path === '' ? [] : path.split('/');
    const master = mode === 'sentinel' ? steps.shift() : null;
    if (master === undefined || master === '') return refuse('must name the master after the sentinels');
    if (mode === 'cluster' && steps.length > 0)
      return refuse('must not name a database: a cluster has only one');
    const database = steps.length === 0 ? '0' : steps.join('/');
    if (!/^[0-9]{1,5}$/.test(database)) return refuse('has a database that is not a number');
    const secretPart = decoded(password);
    return {
      mode,
      nodes,
      tls: tls === 's',
      username: decoded(username),
      password: secretPart === null ? null : new Secret(secretPart),
      database: Number(database),
      master,
    };
  },
  true,
);

function node(text: string, defaultPort: number): { host: string; port: number } {
  const match = /^(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::([0-9]{1,5}))?$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  if (host === undefined) return refuse('has a host that cannot be read');
  const port = Number(match?.[3] ?? defaultPort);
  return port >= 1 && port <= 65_535 ? { host, port } : refuse('has a port that is not between 1 and 65535');
}

function decoded(text: string | undefined): string | null {
  if (text === undefined || text === '') return null;
  try {
    return decodeURIComponent(text);
  } catch {
    return refuse('has a user name or password that is not percent-encoded');
  }
}
