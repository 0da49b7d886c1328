/** Where Redis is, as `PEEK_REDIS_URL` says it. */
export interface RedisTarget {
  readonly kind: 'single' | 'sentinel' | 'cluster';
  readonly hosts: readonly { readonly host: string; readonly port: number }[];
  readonly tls: boolean;
  readonly username: string | null;
  readonly password: string | null;
  /** The database number; a cluster has only 0. */
  readonly db: number;
  /** Sentinel's name of the master; null otherwise. */
  readonly master: string | null;
}

/** The text is no Redis URL. The message does not repeat it, as it may hold a password. */
export class RedisUrlError extends Error {
  override readonly name = 'RedisUrlError';
}

const SHAPE = /^(rediss?)(?:\+(sentinel|cluster))?:\/\/(?:([^@]*)@)?([^/?#@]+)(?:\/([^/?#]*))?(?:\/(\d+))?$/;
const HOST = /^(\[[0-9A-Fa-f:.]+\]|[^[\]:]+)(?::(\d{1,5}))?$/;
const REDIS_PORT = 6379;
const SENTINEL_PORT = 26379;

/**
 * Reads `redis://host:port/db`, `redis+sentinel://host:port,host:port/master[/db]` and
 * `redis+cluster://host:port,host:port`; a plain `redis://` with several hosts is a cluster too. `rediss` is TLS;
 * `user:password@` before the hosts is percent-encoded. Throws `RedisUrlError`.
 */
export function parseRedisUrl(url: string): RedisTarget {
  const parts = SHAPE.exec(url);
  if (parts === null) throw new RedisUrlError('not a Redis URL: expected redis://host:port');
  const [, scheme, variant, login, hostList = '', first = '', second] = parts;
  const kind = variant === 'sentinel' ? 'sentinel' : variant || hostList.includes(',') ? 'cluster' : 'single';
  const defaultPort = kind === 'sentinel' ? SENTINEL_PORT : REDIS_PORT;
  const hosts = hostList.split(',').map((text) => parseHost(text, defaultPort));
  if (kind === 'sentinel' && first === '') {
    throw new RedisUrlError('a Sentinel URL ends in the name of the master: …/mymaster');
  }
  if (kind !== 'sentinel' && second !== undefined)
    throw new RedisUrlError('the Redis URL has too long a path');
  const db = parseDb(kind === 'sentinel' ? (second ?? '') : first);
  if (kind === 'cluster' && db !== 0) throw new RedisUrlError('a Redis Cluster has only database 0');
  return {
    kind,
    hosts,
    tls: scheme === 'rediss',
    ...parseLogin(login),
    db,
    master: kind === 'sentinel' ? decode(first) : null,
  };
}

function parseHost(text: string, defaultPort: number): { host: string; port: number } {
  const parts = HOST.exec(text.trim());
  const host = parts?.[1]?.replace(/^\[|\]$/g, '');
  const port = parts?.[2] === undefined ? defaultPort : Number(parts[2]);
  if (host === undefined || port < 1 || port > 65535) {
    throw new RedisUrlError('the Redis URL has a host that cannot be read: expected host:port,host:port');
  }
  return { host, port };
}

function parseDb(text: string): number {
  if (text === '') return 0;
  if (!/^\d{1,5}$/.test(text)) throw new RedisUrlError('the database in the Redis URL is not a number');
  return Number(text);
}

function parseLogin(login: string | undefined): Pick<RedisTarget, 'username' | 'password'> {
  if (login === undefined || login === '') return { username: null, password: null };
  const colon = login.indexOf(':');
  const username = decode(colon === -1 ? login : login.slice(0, colon));
  const password = colon === -1 ? '' : decode(login.slice(colon + 1));
  return { username: username || null, password: password || null };
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new RedisUrlError('the Redis URL has a percent sign that is not part of an encoding');
  }
}
