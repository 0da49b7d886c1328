import { parentPort, type Transferable } from 'node:worker_threads';
import type { JobAnswer } from './worker-pool.ts';

/**
 * In a worker of a `WorkerPool`: answers each job with what `work` gives. `moved` names the buffers of a result
 * that are handed over rather than copied.
 */
export function serveJobs<Job, Result>(
  work: (job: Job) => Result | Promise<Result>,
  moved: (result: Result) => Transferable[] = () => [],
): void {
  const port = parentPort;
  if (port === null) throw new Error('This file is a worker');
  port.on('message', async (job: Job) => {
    let answer: JobAnswer<Result>;
    let moving: Transferable[] = [];
    try {
      const result = await work(job);
      moving = moved(result);
      answer = { result };
    } catch (error) {
      answer = { failed: error instanceof Error ? error.message : String(error) };
    }
    port.postMessage(answer, moving);
  });
}

/**
 * The worker's file that stands beside the module `from` (its `import.meta.url`), under the name that it has
 * there: `.ts` where Node runs the sources, `.js` in the build.
 */
export function workerScript(name: string, from: string): URL {
  return new URL(`./${name}${from.endsWith('.ts') ? '.ts' : '.js'}`, from);
}
