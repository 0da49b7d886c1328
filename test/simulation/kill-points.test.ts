import { expect, test } from 'vitest';
import { manyWorlds } from '../support/simulation/many-worlds.ts';
import { sqliteFiles } from '../support/simulation/sim-store.ts';

/** Another seed tells other stories: `PEEK_TEST_SEED=7 npm run test:simulation`, or `npm run fuzz -- kill-points`. */
const SEED = Number(process.env.PEEK_TEST_SEED ?? 1000);
const POINTS = 800;

test(`${POINTS} random kill points on SQLite: no acknowledged event is lost, none comes twice, and the stores end empty`, {
  timeout: 400_000,
}, async () => {
  const passed = await manyWorlds({ seed: SEED, total: POINTS, store: sqliteFiles });
  console.log(
    `seeds from ${SEED}: ${passed.worlds} worlds, ${passed.gaps} gaps, ${JSON.stringify([...passed.points])}`,
  );
  expect(passed.violations).toEqual([]);
  // A transaction that was forwarded, for a room in it that is not peeked, is acknowledged by the homeserver: a
  // SIGKILL before ours is stored leaves a gap, which the next event fills unless its sender is away just then.
  expect(passed.gaps).toBeLessThanOrEqual(POINTS / 100);
  // Nobody who peeks nothing lacks anything: that much was really followed.
  expect(passed.seen).toBeGreaterThan(passed.events);
  for (const server of ['resident.test', 'peeking.test']) {
    expect(passed.points.get(`SIGKILL of ${server}`)).toBeGreaterThan(POINTS / 10);
    expect(passed.points.get(`stop of the homeserver ${server}`)).toBeGreaterThan(POINTS / 40);
  }
});
