import { duel } from './duel.ts';
import { BARE_UNDICI, type BenchResult, PROXY, withProcesses } from './harness.ts';

/** `/sync` of a device without peeks, against the least that forwards with undici, and no proxy at all. */
export function run(): Promise<BenchResult> {
  return withProcesses(async ({ upstream, load, start }) => {
    const contestants = {
      ours: await start(PROXY),
      'bare undici': await start(BARE_UNDICI),
      direct: upstream,
    };
    const { throughput, p50Ms } = await duel(load, '/_matrix/client/v3/sync?since=s1&timeout=0', contestants);
    return {
      bench: 'sync-passthrough',
      ratios: { throughput_vs_bare_undici: throughput, p50_over_bare_undici_ms: p50Ms },
      goals: {
        throughput: { ratio: 'throughput_vs_bare_undici', min: 0.9 },
        latency: { ratio: 'p50_over_bare_undici_ms', max: 0.5 },
      },
    };
  });
}
