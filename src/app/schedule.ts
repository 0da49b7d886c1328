import { schedule as cron } from 'node-cron';
import type { Sweeps } from '../peeking/sweeps.ts';
import type { Logger } from '../platform/log.ts';

/** Runs the sweeps: often enough that a peek which must be renewed each minute is. Returns the way to stop. */
export function scheduleSweeps(sweeps: Sweeps, logger: Logger): () => void {
  let running = false;
  const task = cron('*/15 * * * * *', async () => {
    if (running) return;
    running = true;
    try {
      await sweeps.run();
    } catch (error) {
      logger.warn({ reason: String(error) }, 'the sweeps could not run; they try again soon');
    } finally {
      running = false;
    }
  });
  return () => void task.stop();
}
