import type { Clock } from '../platform/clock.ts';
import { workerScript } from '../platform/worker-jobs.ts';
import { WorkerPool } from '../platform/worker-pool.ts';
import type { VerifyJob, VerifyResult } from './verify-jobs.ts';

export type VerifyWorkers = Pick<WorkerPool<VerifyJob, VerifyResult>, 'run' | 'size'>;

/** Jobs that wait: those of a few large answers, which ask for two at a time each. */
const MOST_WAITING = 100;
/** Reading 64 MiB takes two seconds; beside other work on a slow machine, ten times that. */
const JOB_TIMEOUT_MS = 30_000;

/** The threads that read and verify large answers. The caller closes them. */
export function createVerifyWorkers(size: number, clock: Clock): WorkerPool<VerifyJob, VerifyResult> {
  return new WorkerPool({
    script: workerScript('verify-worker', import.meta.url),
    size,
    mostWaiting: MOST_WAITING,
    jobTimeoutMs: JOB_TIMEOUT_MS,
    clock,
  });
}
