import {
  BARE_UNDICI,
  type BenchResult,
  median,
  PROXY,
  printTable,
  ROUNDS,
  row,
  withProcesses,
} from './harness.ts';
import type { Hold } from './load-process.ts';

const HELD = 2000;
const KIB = 1024;

/** Resident memory per held `/sync`, against the least that forwards with undici; fresh processes each round. */
export function run(): Promise<BenchResult> {
  return withProcesses(async ({ load, start }) => {
    const cost = async (script: URL): Promise<number> => {
      const proxy = await start(script);
      const hold = (held: number): Hold => ({
        port: proxy.port,
        path: '/_matrix/client/v3/sync?since=s1&timeout=30000',
        held,
      });
      // Code is loaded and compiled by the first few.
      await load.ask(hold(50));
      await load.ask(hold(0));
      const before = (await proxy.memory()).rss;
      await load.ask(hold(HELD));
      const after = (await proxy.memory()).rss;
      await load.ask(hold(0));
      await proxy.stop();
      return (after - before) / HELD / KIB;
    };
    const ours: number[] = [];
    const bare: number[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      ours.push(await cost(PROXY));
      bare.push(await cost(BARE_UNDICI));
    }
    const more = ours.map((value, round) => value - (bare[round] ?? Number.NaN));
    printTable(`KiB per held poll, ${HELD} held`, [
      row('ours', ours, 1),
      row('bare undici', bare, 1),
      row('ours − bare undici', more, 1),
    ]);
    return {
      bench: 'held',
      ratios: { rss_over_bare_undici_kib: median(more) },
      goals: { memory: { ratio: 'rss_over_bare_undici_kib', max: 10 } },
    };
  });
}
