import { duel } from './duel.ts';
import { BARE_MIDDLEWARE, type BenchResult, PROXY, withProcesses } from './harness.ts';

/** Every other path, against http-proxy-middleware with an agent that keeps connections alive. */
export function run(): Promise<BenchResult> {
  return withProcesses(async ({ load, start }) => {
    const contestants = { ours: await start(PROXY), 'http-proxy-middleware': await start(BARE_MIDDLEWARE) };
    const { throughput, p50Ms } = await duel(load, '/_matrix/client/v3/profile/@a:b', contestants);
    return {
      bench: 'passthrough',
      ratios: { throughput_vs_http_proxy_middleware: throughput, p50_over_http_proxy_middleware_ms: p50Ms },
      goals: { throughput: { ratio: 'throughput_vs_http_proxy_middleware', min: 0.9 } },
    };
  });
}
