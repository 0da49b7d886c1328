import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { pino } from 'pino';
import { systemClock } from '../../../src/platform/clock.ts';
import { openStore } from '../../../src/store/open-store.ts';
import { RedisStore } from '../../../src/store/redis/redis-store.ts';
import { parseRedisUrl } from '../../../src/store/redis/redis-url.ts';
import type { Store } from '../../../src/store/store.ts';
import type { RedisServer } from '../../support/redis-server.ts';
import type { StoreUnderTest } from './conformance.ts';

const silent = pino({ level: 'silent' });

/** Runs `work` with a plain client of each server. */
export async function withClients<T>(
  servers: readonly RedisServer[],
  work: (client: Redis) => Promise<T>,
): Promise<T[]> {
  const clients = servers.map((server) => new Redis({ host: '127.0.0.1', port: server.port }));
  try {
    return await Promise.all(clients.map(work));
  } finally {
    for (const client of clients) client.disconnect();
  }
}

export async function flush(servers: readonly RedisServer[]): Promise<void> {
  await withClients(servers, (client) => client.flushall());
}

/** Every key of every server. */
export async function allKeys(servers: readonly RedisServer[]): Promise<string[]> {
  return (await withClients(servers, (client) => client.keys('*'))).flat().sort();
}

export function open(url: string): Promise<Store> {
  return openStore({ redisUrl: url, dataDir: '', clock: systemClock, logger: silent });
}

/** A store whose index leftovers need not be kept for longer than `graceMs`. */
export async function openWithGrace(url: string, graceMs: number): Promise<RedisStore> {
  const store = new RedisStore(parseRedisUrl(url), systemClock, silent, graceMs);
  await store.ready(5000);
  return store;
}

export function redisUnderTest(
  url: string,
  servers: readonly RedisServer[],
  stop: () => Promise<void>,
): StoreUnderTest {
  return {
    empty: async () => {
      await flush(servers);
      return open(url);
    },
    pass: (ms) => sleep(ms),
    end: stop,
  };
}
