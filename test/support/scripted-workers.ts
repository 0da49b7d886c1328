import { type VerifyJob, type VerifyResult, workVerifyJob } from '../../src/rooms/verify-jobs.ts';
import type { VerifyWorkers } from '../../src/rooms/verify-workers.ts';

/** Does what verifying workers do, in this thread, when a test lets it. */
export class ScriptedWorkers implements VerifyWorkers {
  readonly size = 1;
  readonly jobs: VerifyJob['kind'][] = [];
  #held: Promise<void> = Promise.resolve();
  #release = () => {};
  #fail: ((error: Error) => void) | null = null;

  /** Events are verified no more until the returned function is called. */
  hold(): void {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    promise.catch(() => undefined);
    this.#held = promise;
    this.#release = resolve;
    this.#fail = reject;
  }

  release(): void {
    this.#release();
  }

  /** What is held fails. */
  fail(error: Error): void {
    this.#fail?.(error);
  }

  async run(job: VerifyJob, signal?: AbortSignal): Promise<VerifyResult> {
    this.jobs.push(job.kind);
    if (job.kind === 'verify') await this.#held;
    signal?.throwIfAborted();
    return workVerifyJob(job);
  }
}
