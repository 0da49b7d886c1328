import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { emptiedStoreTests } from '../support/emptied-store.ts';
import { type HouseOptions, PeekingHouse } from '../support/peeking-house.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';
import { allKeys, flush, openWithGrace } from './store/redis-under-test.ts';

/** What a step of a test asks a Redis on loopback has long been answered by then. */
const SETTLED_MS = 60;
/** How long the store keeps leftovers of its indexes here. */
const GRACE_MS = 50;

describe('On Redis', () => {
  let server: RedisServer;
  beforeAll(async () => {
    server = await startRedis();
  });
  afterAll(() => server?.stop());

  const open = async (options: HouseOptions = {}) => {
    await flush([server]);
    const store = await openWithGrace(server.url, GRACE_MS);
    return PeekingHouse.open({ ...options, store, settled: () => sleep(SETTLED_MS) });
  };

  emptiedStoreTests(open, async () => {
    const store = await openWithGrace(server.url, GRACE_MS);
    await sleep(3 * GRACE_MS);
    await store.reconcile();
    await store.close();
    expect(await allKeys([server])).toEqual(['mpp:schema']);
  });
});
