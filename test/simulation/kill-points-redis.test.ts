import { expect, test } from 'vitest';
import { startRedis } from '../support/redis-server.ts';
import { manyWorlds } from '../support/simulation/many-worlds.ts';
import { redisDatabase } from '../support/simulation/sim-store.ts';
import { PEEKING } from '../support/simulation/world.ts';

const SEED = Number(process.env.PEEK_TEST_SEED ?? 5000);
const POINTS = 200;

test(`${POINTS} random kill points on Redis, of which it is killed and started at some: no acknowledged event is lost, none comes twice`, {
  timeout: 400_000,
}, async () => {
  const redis = await startRedis({ appendonly: true });
  try {
    const passed = await manyWorlds({
      seed: SEED,
      total: POINTS,
      store: (server) => redisDatabase(`${redis.url}/${server === PEEKING ? 1 : 0}`),
      otherFault: async () => {
        await redis.kill();
        await redis.restart();
      },
    });
    console.log(
      `seeds from ${SEED}: ${passed.worlds} worlds, ${passed.gaps} gaps, ${JSON.stringify([...passed.points])}`,
    );
    expect(passed.violations).toEqual([]);
    // See the test on SQLite.
    expect(passed.gaps).toBeLessThanOrEqual(POINTS / 50);
    expect(passed.seen).toBeGreaterThan(passed.events);
    expect(passed.points.get('restart of the store')).toBeGreaterThan(0);
  } finally {
    await redis.stop();
  }
});
