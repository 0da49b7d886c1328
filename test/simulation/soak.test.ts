import { readdirSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, test } from 'vitest';
import { allKeys } from '../integration/store/redis-under-test.ts';
import { startRedis } from '../support/redis-server.ts';
import type { SimDevice } from '../support/simulation/sim-device.ts';
import { redisDatabase, sqliteFiles } from '../support/simulation/sim-store.ts';
import { RESIDENT, World } from '../support/simulation/world.ts';

const MINUTE = 60_000;
const HOURS = 24;
/** Peeks come and go once in this time, long enough to be renewed twice. */
const CYCLE_HOURS = 2;
/** What the first cycles set up for good: connections, caches, compiled code. */
const WARM_UP_CYCLES = 3;

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

async function used(world: World, keys: () => Promise<string[]>) {
  collectGarbage();
  const sizes = await Promise.all(world.proxies.map(({ store }) => store.size()));
  const { heapUsed, rss } = process.memoryUsage();
  return {
    records: sizes.reduce((sum, size) => sum + size, 0),
    keys: (await keys()).length,
    descriptors: readdirSync('/proc/self/fd').length,
    heapMiB: heapUsed / 2 ** 20,
    rssMiB: rss / 2 ** 20,
    timers: world.stage.clock.pending,
  };
}

/** Peeks both rooms, reads them for a while, and ends its peeks. */
async function oneCycle(world: World, device: SimDevice): Promise<void> {
  const { clock } = world.stage;
  const end = clock.now() + (CYCLE_HOURS * 60 - 20) * MINUTE;
  for (const roomId of device.rooms.keys()) await device.peek(roomId);
  while (clock.now() < end) {
    await device.sync(30_000, false);
    await clock.sleep(4 * MINUTE);
  }
  for (const roomId of device.rooms.keys()) await device.unpeek(roomId);
  for (let i = 0; i < 3; i++) await device.sync(0, false);
}

test('soak of 24 h of passed-in time (wall time bounded): RSS, fds, Redis keys flat ⇒ as after the first hours', {
  timeout: 200_000,
}, async () => {
  const redis = await startRedis();
  const world = new World({
    seed: 24,
    store: (server) => (server === RESIDENT ? sqliteFiles() : redisDatabase(redis.url)),
    sweepMs: MINUTE,
  });
  try {
    await world.start();
    let over = false;
    const talk = async () => {
      for (let n = 0; !over; n++) {
        world.say(world.rooms[n % world.rooms.length] as (typeof world.rooms)[number], 1);
        await world.stage.clock.sleep(3 * MINUTE);
      }
    };
    void talk();
    const samples = [];
    for (let cycle = 0; cycle < HOURS / CYCLE_HOURS; cycle++) {
      for (const device of world.devices) void oneCycle(world, device);
      await world.stage.clock.advance(CYCLE_HOURS * 60 * MINUTE);
      samples.push(await used(world, () => allKeys([redis])));
    }
    over = true;
    expect(world.violations).toEqual([]);
    const seen = world.devices.flatMap(({ rooms }) => [...rooms.values()].map((room) => room.seen));
    expect(Math.min(...seen)).toBeGreaterThan(HOURS * 5);

    expect(samples.map(({ records }) => records)).toEqual(samples.map(() => 0));
    const [first, last] = [samples[WARM_UP_CYCLES], samples.at(-1)];
    if (first === undefined || last === undefined) throw new Error('the soak was too short');
    expect(last.keys).toBeLessThanOrEqual(first.keys);
    expect(last.descriptors).toBeLessThanOrEqual(first.descriptors + 2);
    expect(last.timers).toBeLessThanOrEqual(first.timers + 5);
    expect(last.heapMiB).toBeLessThan(first.heapMiB + 15);
    expect(last.rssMiB).toBeLessThan(first.rssMiB + 100);
    console.log(JSON.stringify([first, last]));
  } finally {
    await world.remove();
    await redis.stop();
  }
});
