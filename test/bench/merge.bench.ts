import type { Child } from './child.ts';
import { BARE_UNDICI, type BenchResult, median, printTable, ROUNDS, row, withProcesses } from './harness.ts';
import type { Load, Measured } from './load-process.ts';

const CROWD = new URL('./crowd-process.ts', import.meta.url);
const MEBIBYTES = 5;
/** A token without a part of ours: the peek is new to it, so that each answer carries the whole first section. */
const PATH = '/_matrix/client/v3/sync?since=s44_17_4_3_2_1_1_3_0_1_1_1_1_1&timeout=0&filter=large';
const CONNECTIONS = 4;
const DURATION_MS = 1_500;

/**
 * What a section costs that is put into an answer of 5 MiB: bytes per second to a device that peeks, against the same
 * answer streamed to one that does not, by us and by the least that forwards with undici.
 */
export function run(): Promise<BenchResult> {
  return withProcesses(async ({ load, start }) => {
    const [ours, bare] = [await start(CROWD), await start(BARE_UNDICI)];
    await ours.ask({ peekers: 1 });
    const contestants: Record<string, { child: Child; token: string }> = {
      merged: { child: ours, token: 'peeker0' },
      streamed: { child: ours, token: 'plain0' },
      'bare undici': { child: bare, token: 'plain0' },
    };
    const perSecond = new Map<string, number[]>();
    for (let round = 0; round <= ROUNDS; round++) {
      for (const [name, { child, token }] of Object.entries(contestants)) {
        const asked: Load = {
          port: child.port,
          path: PATH,
          connections: CONNECTIONS,
          durationMs: DURATION_MS,
          token,
        };
        const { perSecond: answers } = await load.ask<Measured>(asked);
        // Code is loaded and compiled in the first round, which is not counted.
        if (round > 0) perSecond.set(name, [...(perSecond.get(name) ?? []), answers * MEBIBYTES]);
      }
    }
    const of = (name: string) => perSecond.get(name) ?? [];
    const against = (name: string) =>
      of('merged').map((value, round) => value / (of(name)[round] ?? Number.NaN));
    printTable(`MiB per second, answers of ${MEBIBYTES} MiB, ${CONNECTIONS} connections`, [
      ...Object.keys(contestants).map((name) => row(name, of(name), 0)),
      row('merged : streamed', against('streamed'), 3),
      row('merged : bare undici', against('bare undici'), 3),
    ]);
    return {
      bench: 'merge',
      ratios: {
        merged_vs_streamed: median(against('streamed')),
        merged_vs_bare_undici: median(against('bare undici')),
      },
      goals: {},
    };
  });
}
