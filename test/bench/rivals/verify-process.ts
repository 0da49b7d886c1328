import { Worker } from 'node:worker_threads';
import { serveParent } from '../child.ts';

/** How long it took and what CPU time, in ms. */
export interface Alone {
  readonly wall: number;
  readonly cpu: number;
}

/**
 * The least that a room has to cost: content hash, reference hash and one signature of each event, in two threads
 * that have parsed it before the clock starts. Told the file of an answer to `PUT /peek`, it says how long it took.
 */
const THREADS = 2;

serveParent(0, async (question) => {
  const { file } = question as { file: string };
  const workers = Array.from({ length: THREADS }, (_, nth) => {
    const workerData = { file, of: THREADS, nth };
    return new Worker(new URL('./verify-worker.ts', import.meta.url), { workerData, execArgv: [] });
  });
  const next = (worker: Worker) => new Promise((resolve) => worker.once('message', resolve));
  await Promise.all(workers.map(next));
  const cpuBefore = process.cpuUsage();
  const began = performance.now();
  const done = Promise.all(workers.map(next));
  for (const worker of workers) worker.postMessage('go');
  await done;
  const wall = performance.now() - began;
  const { user, system } = process.cpuUsage(cpuBefore);
  await Promise.all(workers.map((worker) => worker.terminate()));
  return { wall, cpu: (user + system) / 1000 } satisfies Alone;
});
