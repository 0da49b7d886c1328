import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { StoreDownError } from '../../../src/store/store.ts';
import { type RedisCluster, startRedisCluster } from '../../support/redis-cluster.ts';
import { storeConformance } from './conformance.ts';
import { allKeys, flush, open, redisUnderTest } from './redis-under-test.ts';
import { devicePeek, inboundPeek } from './samples.ts';
import { answersAgain, sharingTests } from './sharing.ts';

storeConformance('Redis Cluster', async () => {
  const cluster = await startRedisCluster();
  return redisUnderTest(cluster.url, cluster.nodes, cluster.stop);
});

describe('several processes on one Redis Cluster', () => {
  let cluster: RedisCluster;
  beforeAll(async () => {
    cluster = await startRedisCluster();
  });
  afterAll(() => cluster?.stop());
  sharingTests(() => cluster);

  test('the keys are spread over the nodes', async () => {
    await flush(cluster.nodes);
    const store = await open(cluster.url);
    try {
      for (let n = 0; n < 30; n++) {
        await store.devicePeeks.add(devicePeek({ userId: `@${n}:x` }), 5);
        await store.inboundPeeks.put(inboundPeek({ server: `${n}.example` }), 1, 5);
      }
      expect(await store.devicePeeks.all()).toHaveLength(30);
      expect(await store.inboundPeeks.all()).toHaveLength(30);
    } finally {
      await store.close();
    }
    for (const node of cluster.nodes) expect((await allKeys([node])).length).toBeGreaterThan(5);
  });
});

describe('a Redis Cluster that loses a node', () => {
  test('is down within seconds, and works again when the node is back', async () => {
    const cluster = await startRedisCluster();
    const store = await open(cluster.url);
    try {
      const lost = cluster.nodes[1];
      await lost?.kill();
      await sleep(100);
      const began = Date.now();
      // Of different lengths, as the slots of names that differ in a digit lie side by side.
      const devices = Array.from({ length: 12 }, (_, n) => `@${'u'.repeat(7 * n)}:x`);
      const reads = await Promise.allSettled(devices.map((userId) => store.devicePeeks.ofDevice(userId, '')));
      expect(Date.now() - began).toBeLessThan(6000);
      const failed = reads.filter((read) => read.status === 'rejected');
      expect(failed.length).toBeGreaterThan(0);
      for (const read of failed) expect(read.reason).toBeInstanceOf(StoreDownError);
      await lost?.restart();
      await answersAgain(store, 20_000);
      const writeAll = async () => {
        for (const userId of devices) await store.devicePeeks.add(devicePeek({ userId }), 5);
      };
      await expect.poll(() => writeAll().then(() => 'works', String), { timeout: 20_000 }).toBe('works');
      expect(await store.devicePeeks.all()).toHaveLength(12);
    } finally {
      await store.close();
      await cluster.stop();
    }
  });
});
