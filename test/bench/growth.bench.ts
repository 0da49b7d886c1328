import { writeFileSync } from 'node:fs';
import { Child } from './child.ts';
import type { GrowthQuestion } from './growth-process.ts';
import { type BenchResult, median, printTable, row } from './harness.ts';
import { plot, type Series } from './plot.ts';

const PROCESS = new URL('./growth-process.ts', import.meta.url);
const PLOT = new URL('../../docs/growth.svg', import.meta.url);
/** Rounds for each point; the sizes take turns, so that a machine that slows down does so for all of them. */
const ROUNDS = 7;
/** Room size: state events. Others: rooms that are peeked beside. Peers: servers that peek and hear nothing. */
const GROWN: Readonly<Record<GrowthQuestion['what'], readonly number[]>> = {
  'state events of the room': [100, 1_000, 5_000, 28_000],
  'other peeked rooms': [1, 100, 1_000, 5_000],
  'idle peeking servers': [1, 100, 1_000, 10_000],
};

/**
 * What one event costs, from a peeked server's transaction into the log and to a device's section, while one thing
 * grows. Drawn into `docs/growth.svg`.
 */
export async function run(): Promise<BenchResult> {
  const series: Series[] = [];
  const ratios: Record<string, number> = {};
  for (const [what, sizes] of Object.entries(GROWN) as [GrowthQuestion['what'], readonly number[]][]) {
    const children = await Promise.all(sizes.map(() => Child.start(PROCESS)));
    try {
      for (const [n, size] of sizes.entries())
        await children[n]?.ask({ what, grow: size } satisfies GrowthQuestion);
      const costs = sizes.map((): number[] => []);
      // Code is loaded and compiled in the first round, which is not counted.
      for (let round = 0; round <= ROUNDS; round++) {
        for (const [n] of sizes.entries()) {
          const cost = await (children[n] as Child).ask<number>({ what } satisfies GrowthQuestion);
          if (round > 0) costs[n]?.push(cost);
        }
      }
      printTable(
        `CPU µs an event, by ${what}`,
        sizes.map((size, n) => row(String(size), costs[n] ?? [], 0)),
      );
      const medians = costs.map(median);
      series.push({ name: what, points: sizes.map((size, n) => [size, medians[n] ?? Number.NaN]) });
      ratios[what.replaceAll(' ', '_')] = (medians.at(-1) ?? Number.NaN) / (medians[0] ?? Number.NaN);
    } finally {
      await Promise.all(children.map((child) => child.stop()));
    }
  }
  writeFileSync(PLOT, plot('CPU time of one event, while one thing grows', 'µs', series));
  const flat = Object.keys(ratios).map((ratio) => [ratio, { ratio, max: 1.5 }]);
  return { bench: 'growth', ratios, goals: Object.fromEntries(flat) };
}
