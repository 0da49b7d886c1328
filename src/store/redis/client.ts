import { Cluster, Redis, type RedisOptions } from 'ioredis';
import type { RedisTarget } from './redis-url.ts';

export type RedisClient = Redis | Cluster;

/** An answer that takes longer counts as none; a store that hangs must not hold up more than this. */
const COMMAND_TIMEOUT_MS = 4000;
const CONNECT_TIMEOUT_MS = 3000;
const RETRY_STEP_MS = 100;
const RETRY_MAX_MS = 2000;
/** How often a command of a cluster is sent on to another node before it fails. */
const MAX_REDIRECTIONS = 5;

const retryAfter = (times: number) => Math.min(times * RETRY_STEP_MS, RETRY_MAX_MS);

/**
 * A client that fails at once while Redis is away, and never sends a command a second time by itself: whether the
 * first one took effect cannot be known.
 */
export function createClient(target: RedisTarget, purpose: 'commands' | 'notices'): RedisClient {
  const shared = {
    protocol: 2,
    connectTimeout: CONNECT_TIMEOUT_MS,
    commandTimeout: COMMAND_TIMEOUT_MS,
    maxRetriesPerRequest: 0,
    autoResendUnfulfilledCommands: false,
    // Who subscribes does so at each `ready`; ioredis forgets to catch what becomes of its own attempt.
    autoResubscribe: false,
    connectionName: `matrix-peek-proxy-${purpose}`,
    // A failed-over master turned replica says READONLY: look for the new one.
    reconnectOnError: (error: Error) => error.message.startsWith('READONLY'),
    // A half-open connection is dropped, so that the next command fails at once or finds a new one.
    ...(purpose === 'commands' ? { socketTimeout: COMMAND_TIMEOUT_MS } : {}),
    ...(target.username === null ? {} : { username: target.username }),
    ...(target.password === null ? {} : { password: target.password }),
    ...(target.tls ? { tls: {} } : {}),
  } satisfies RedisOptions;

  if (target.kind === 'cluster') {
    return new Cluster([...target.hosts], {
      redisOptions: shared,
      enableOfflineQueue: false,
      maxRedirections: MAX_REDIRECTIONS,
      slotsRefreshTimeout: CONNECT_TIMEOUT_MS,
      clusterRetryStrategy: retryAfter,
    });
  }
  const own = { ...shared, db: target.db, enableOfflineQueue: false, retryStrategy: retryAfter };
  if (target.kind === 'sentinel' && target.master !== null) {
    return new Redis({
      ...own,
      sentinels: [...target.hosts],
      name: target.master,
      sentinelRetryStrategy: retryAfter,
      enableTLSForSentinelMode: target.tls,
    });
  }
  const [first] = target.hosts;
  return new Redis({ ...own, ...first });
}
