import { existsSync, readdirSync } from 'node:fs';
import { type BenchResult, holds } from '../test/bench/harness.ts';

/**
 * `npm run bench -- NAME` runs `test/bench/NAME.bench.ts`: tables for people, and as the last line JSON
 * `{"bench", "ratios", "goals"}` for machines. Without a name it lists what there is.
 */
const FOLDER = new URL('../test/bench/', import.meta.url);
const SUFFIX = '.bench.ts';

if (Number(process.versions.node.split('.')[0]) < 24)
  throw new Error(`Node 24 is needed, this is ${process.version}`);

const names = readdirSync(FOLDER)
  .filter((file) => file.endsWith(SUFFIX))
  .map((file) => file.slice(0, -SUFFIX.length));
const [name = ''] = process.argv.slice(2);
if (!names.includes(name) || !existsSync(new URL(name + SUFFIX, FOLDER))) {
  console.error(`Usage: npm run bench -- NAME, where NAME is one of: ${names.join(', ')}`);
  process.exit(2);
}

const { run } = (await import(new URL(name + SUFFIX, FOLDER).href)) as { run: () => Promise<BenchResult> };
const result = await run();
for (const [goal, bound] of Object.entries(result.goals)) {
  const limit = bound.min !== undefined ? `≥ ${bound.min}` : `≤ ${bound.max}`;
  const verdict = holds(bound, result.ratios) ? 'holds' : 'MISSED';
  console.log(
    `${goal}: ${bound.ratio} ${(result.ratios[bound.ratio] ?? Number.NaN).toFixed(3)} (${limit}) ${verdict}`,
  );
}
console.log(JSON.stringify(result));
