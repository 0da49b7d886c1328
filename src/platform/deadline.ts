import type { Clock } from './clock.ts';

/** The time or the patience of whoever asked is over. */
export class DeadlineError extends Error {
  override readonly name = 'DeadlineError';
}

/**
 * What `work` gives, or `DeadlineError` after `ms` or when `signal` aborts. The signal given to `work`
 * aborts at the same moment; work that does not heed it is left to itself.
 */
export async function withDeadline<T>(
  clock: Clock,
  ms: number,
  signal: AbortSignal | undefined,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const abort = new AbortController();
  let timer: { cancel(): void } | null = null;
  let cancelled: (() => void) | null = null;
  const over = new Promise<never>((_, reject) => {
    const end = (reason: string) => {
      abort.abort();
      reject(new DeadlineError(reason));
    };
    cancelled = () => end('cancelled');
    if (signal?.aborted) return cancelled();
    signal?.addEventListener('abort', cancelled, { once: true });
    timer = clock.after(ms, () => end(`not done within ${ms} ms`));
  });
  try {
    return await Promise.race([over, work(abort.signal)]);
  } finally {
    (timer as { cancel(): void } | null)?.cancel();
    if (cancelled !== null) signal?.removeEventListener('abort', cancelled);
  }
}
