import { describe } from 'vitest';
import { type Pair, type Site, startPair, startSite } from '../support/federation.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';

export type StoreName = 'SQLite' | 'Redis';

/** A site and, where it keeps its peeks in Redis, that Redis. */
export interface StoredSite extends Site {
  readonly redis: RedisServer | null;
}

/** Two sites that federate; each has a store of its own. */
export interface StoredPair extends Pair {
  readonly redis: { readonly a: RedisServer; readonly b: RedisServer } | null;
}

export interface Starters {
  startPairOnStore(): Promise<StoredPair>;
  startSiteOnStore(): Promise<StoredSite>;
}

/** Tests peek far more often than the default allows one user. */
const PROXY_ENV = { PEEK_RATE_LIMIT: '10000/m' };
/** Guests may look in. */
const SYNAPSE = { settings: { allow_guest_access: true } };

/** Defines the suite once for each store; it starts its homeservers on that store. */
export function forEachStore(suite: (store: StoreName, starters: Starters) => void): void {
  onStore('SQLite', (starters) => suite('SQLite', starters));
  onStore('Redis', (starters) => suite('Redis', starters));
}

/** Defines the suite for one store alone. */
export function onStore(store: StoreName, suite: (starters: Starters) => void): void {
  const starters =
    store === 'SQLite'
      ? { startPairOnStore: startSqlitePair, startSiteOnStore: startSqliteSite }
      : { startPairOnStore: startRedisPair, startSiteOnStore: startRedisSite };
  describe(store, () => suite(starters));
}

async function startSqlitePair(): Promise<StoredPair> {
  const options = { proxyEnv: PROXY_ENV, synapse: SYNAPSE };
  return { ...(await startPair({ store: 'sqlite', a: options, b: options })), redis: null };
}

async function startSqliteSite(): Promise<StoredSite> {
  return { ...(await startSite({ name: 'a', proxyEnv: PROXY_ENV, synapse: SYNAPSE })), redis: null };
}

async function startRedisPair(): Promise<StoredPair> {
  const [a, b] = await Promise.all([startDurableRedis(), startDurableRedis()]);
  const options = { proxyEnv: PROXY_ENV, synapse: SYNAPSE };
  const endRedis = () => Promise.all([a.stop(), b.stop()]);
  try {
    const pair = await startPair({ store: { redisUrls: { a: a.url, b: b.url } }, a: options, b: options });
    return { ...pair, redis: { a, b }, stop: () => pair.stop().finally(endRedis) };
  } catch (error) {
    await endRedis();
    throw error;
  }
}

async function startRedisSite(): Promise<StoredSite> {
  const redis = await startDurableRedis();
  try {
    const site = await startSite({ name: 'a', redisUrl: redis.url, proxyEnv: PROXY_ENV, synapse: SYNAPSE });
    return { ...site, redis, stop: () => site.stop().finally(() => redis.stop()) };
  } catch (error) {
    await redis.stop();
    throw error;
  }
}

/** What it acknowledged is there again after it was killed, as it is with SQLite. */
function startDurableRedis(): Promise<RedisServer> {
  return startRedis({ appendonly: true });
}
