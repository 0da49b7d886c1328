import { fork } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { PROPERTIES } from '../test/property/all.ts';
import { manyWorlds, POINTS_PER_WORLD } from '../test/support/simulation/many-worlds.ts';
import { sqliteFiles } from '../test/support/simulation/sim-store.ts';

/**
 * `npm run fuzz -- NAME [--runs 10000000] [--seed N] [--workers N]`: a property of `test/property/` with that many
 * inputs, `all` of them one after the other, or `kill-points` of the simulation with that many faults. The work is
 * cut into chunks, each with a seed of its own (the given one and those after it) that is printed: a run goes on
 * with `--seed` where it was cut off, and a failure is repeated with the seed of its chunk. Ends at the first failure.
 */
const CHUNK = { property: 10_000, world: POINTS_PER_WORLD * 25 } as const;
const KILL_POINTS = 'kill-points';

interface Chunk {
  readonly name: string;
  readonly seed: number;
  readonly runs: number;
}

if (process.send === undefined) process.exitCode = await main();
else {
  process.on('message', async (chunk: Chunk) => {
    process.send?.(await failureOf(chunk));
  });
}

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { runs: { type: 'string' }, seed: { type: 'string' }, workers: { type: 'string' } },
  });
  const names = [...Object.keys(PROPERTIES), KILL_POINTS];
  const [name = ''] = positionals;
  const chosen = name === 'all' ? Object.keys(PROPERTIES) : [name];
  const runs = Number(values.runs ?? (name === KILL_POINTS ? 20_000 : 10_000_000));
  const seed = Number(values.seed ?? randomInt(2 ** 20));
  const workers = Number(values.workers ?? Math.max(1, availableParallelism() - 1));
  if (
    !chosen.every((each) => names.includes(each)) ||
    !(runs > 0) ||
    !Number.isSafeInteger(seed) ||
    !(workers > 0)
  ) {
    console.error(
      `Usage: npm run fuzz -- NAME [--runs N] [--seed N] [--workers N]\nNAME: all, ${names.join(', ')}`,
    );
    return 2;
  }
  for (const each of chosen) if (!(await fuzzed(each, { runs, seed, workers }))) return 1;
  return 0;
}

/** True when nothing failed. */
async function fuzzed(
  name: string,
  { runs, seed, workers }: { runs: number; seed: number; workers: number },
) {
  const size = name === KILL_POINTS ? CHUNK.world : CHUNK.property;
  const started = performance.now();
  let next = 0;
  let done = 0;
  let failed = false;
  const work = async () => {
    const child = fork(import.meta.filename, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
    const gone = new Promise<string>((resolve) =>
      child.once('exit', (code) => resolve(`it ended with ${code}`)),
    );
    while (!failed && next * size < runs) {
      const chunk: Chunk = { name, seed: seed + next, runs: Math.min(size, runs - next * size) };
      next++;
      console.log(`${name}: seed ${chunk.seed} begins, ${chunk.runs} runs`);
      const answer = new Promise<string | null>((resolve) =>
        child.once('message', resolve as (m: unknown) => void),
      );
      child.send(chunk);
      const failure = await Promise.race([answer, gone]);
      done += chunk.runs;
      const seconds = ((performance.now() - started) / 1000).toFixed(0);
      console.log(`${name}: seed ${chunk.seed}, ${done} of ${runs} runs, ${seconds} s`);
      if (failure === null) continue;
      failed = true;
      console.log(`${name}: FAILED with seed ${chunk.seed}\n${failure}`);
    }
    child.kill();
    await gone;
  };
  await Promise.all(Array.from({ length: workers }, work));
  if (!failed) console.log(`${name}: ${runs} runs, seeds ${seed} to ${seed + next - 1}, nothing failed`);
  return !failed;
}

/** What fails in a chunk, or null. */
async function failureOf({ name, seed, runs }: Chunk): Promise<string | null> {
  if (name === KILL_POINTS) {
    // Worlds of one chunk have seeds in a row: those of the next begin behind them.
    const { violations } = await manyWorlds({ seed: seed * 100, total: runs, store: sqliteFiles });
    return violations.length === 0 ? null : violations.join('\n');
  }
  for (const property of PROPERTIES[name] ?? []) {
    try {
      await property.check({ numRuns: runs, seed });
    } catch (error) {
      return `${property.name}\n${error instanceof Error ? error.message : error}`;
    }
  }
  return null;
}
