import type { Clock } from '../platform/clock.ts';
import { DeadlineError } from '../platform/deadline.ts';

export interface Race<T> {
  readonly winner: { readonly server: string; readonly value: T } | null;
  /** In the order in which they failed; those that were out of time come last. */
  readonly failures: readonly { readonly server: string; readonly error: unknown }[];
  /** Were still at it when the race was over: their attempts have been aborted. */
  readonly losers: readonly string[];
}

export interface RaceTimes {
  readonly clock: Clock;
  /** The next server is tried when the last one is slower than this. */
  readonly nextAfterMs: number;
  /** For all of them together. */
  readonly withinMs: number;
}

/**
 * Tries servers in their order: the next one when one has failed, or beside it when it is slow. The first whose
 * attempt succeeds wins. Never rejects.
 */
export function firstAcceptable<T>(
  servers: readonly string[],
  attempt: (server: string, signal: AbortSignal) => Promise<T>,
  { clock, nextAfterMs, withinMs }: RaceTimes,
): Promise<Race<T>> {
  return new Promise((resolve) => {
    const waiting = [...servers];
    const running = new Map<string, AbortController>();
    const failures: { server: string; error: unknown }[] = [];
    let over = false;
    let slow = { cancel: () => {} };

    const end = (winner: Race<T>['winner']) => {
      if (over) return;
      over = true;
      slow.cancel();
      deadline.cancel();
      const losers = [...running.keys()].filter((server) => server !== winner?.server);
      for (const server of losers) running.get(server)?.abort();
      resolve({ winner, failures, losers });
    };
    const next = () => {
      slow.cancel();
      const server = waiting.shift();
      if (server === undefined) {
        if (running.size === 0) end(null);
        return;
      }
      const abort = new AbortController();
      running.set(server, abort);
      slow = clock.after(nextAfterMs, next);
      attempt(server, abort.signal).then(
        (value) => end({ server, value }),
        (error: unknown) => {
          if (over) return;
          running.delete(server);
          failures.push({ server, error });
          next();
        },
      );
    };
    const deadline = clock.after(withinMs, () => {
      const error = new DeadlineError(`no answer that can be used within ${withinMs} ms`);
      for (const server of running.keys()) failures.push({ server, error });
      end(null);
    });
    next();
  });
}
