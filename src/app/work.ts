import type { Clock } from '../platform/clock.ts';
import type { Logger } from '../platform/log.ts';
import type { Context } from './context.ts';

const RETRY_START_MS = 5_000;

/** What the proxy does of its own accord, beside answering requests. */
export interface Work {
  /** The listeners are open: who is sent our events asks back for what it lacks, and has to reach us then. */
  opened(): void;
  /** Nothing more is begun. Resolves when the look-out for the homeserver, which `Context.close` stops, has ended. */
  stop(): Promise<void>;
}

/**
 * Looks out for the homeserver; once it is there the peeks are read from the store, and when the listeners are
 * open too, the feeds and senders start.
 */
export function beginWork(context: Context, clock: Clock, logger: Logger): Work {
  const stopClosing = context.readers.watchClosing();
  const stopChanges = context.roomChanges.watch();
  const stopping = new AbortController();
  let started = false;
  let open = () => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  const watching = context.watch.run(async () => {
    if (started) return;
    await context.devicePeeks.start();
    await context.previewing.start();
    await context.outbound.start();
    void opened.then(() =>
      untilDone(clock, logger, stopping.signal, async () => {
        await context.readers.resume();
        await context.inbound.start();
      }),
    );
    started = true;
  });
  return {
    opened: open,
    stop() {
      stopping.abort();
      stopClosing();
      stopChanges();
      return watching;
    },
  };
}

/** Tries again until it has worked or `stop` aborts. */
async function untilDone(
  clock: Clock,
  logger: Logger,
  stop: AbortSignal,
  work: () => Promise<void>,
): Promise<void> {
  while (!stop.aborted) {
    try {
      return await work();
    } catch (error) {
      logger.warn({ reason: String(error) }, 'feeds and senders cannot start; they are tried again');
      await clock.sleep(RETRY_START_MS, stop);
    }
  }
}
