import { setTimeout as sleep } from 'node:timers/promises';
import type { Random } from '../../src/platform/random.ts';

/** What happens to a request: nothing, or the client goes away in the middle of it. */
const FATES = ['answered', 'cut while it waits', 'cut at the head', 'answer lost'] as const;

export interface CutConnections {
  readonly fetch: typeof fetch;
  /** How many requests were cut in which way. */
  readonly cuts: ReadonlyMap<string, number>;
  /** No request is cut any more. */
  heal(): void;
}

/**
 * A client's line that breaks again and again, by `random`: the client tries each request anew until it has the
 * answer, at times with another of these `timeouts`, ms, as clients do that come back.
 */
export function cutConnections(random: Random, timeouts: readonly number[]): CutConnections {
  const cuts = new Map<string, number>();
  let healed = false;

  async function once(url: URL, init: RequestInit, fate: (typeof FATES)[number]): Promise<Response | null> {
    const abort = new AbortController();
    const given = init.signal ? [init.signal] : [];
    const waiting = fetch(url, { ...init, signal: AbortSignal.any([abort.signal, ...given]) });
    if (fate === 'cut while it waits') {
      const early = await Promise.race([waiting, sleep(random.below(200))]);
      abort.abort();
      waiting.catch(() => undefined);
      await early?.body?.cancel().catch(() => undefined);
      return null;
    }
    const response = await waiting;
    if (fate === 'cut at the head') {
      abort.abort();
      return null;
    }
    const body = await response.arrayBuffer();
    if (fate === 'answer lost') return null;
    return new Response(body, response);
  }

  return {
    cuts,
    heal: () => {
      healed = true;
    },
    async fetch(input, init = {}) {
      const url = new URL(String(input));
      for (;;) {
        const fate =
          healed || random.below(2) === 0 ? 'answered' : (FATES[1 + random.below(3)] ?? 'answered');
        try {
          const response = await once(url, init, fate);
          if (response === null) cuts.set(fate, (cuts.get(fate) ?? 0) + 1);
          // While the homeserver or the proxy is away, the client comes back until they are there.
          else if (response.status >= 500) await sleep(100);
          else return response;
        } catch (error) {
          if (init.signal?.aborted) throw error;
          await sleep(100);
        }
        if (random.below(2) === 0)
          url.searchParams.set('timeout', String(timeouts[random.below(timeouts.length)]));
      }
    },
  };
}
