import { Worker } from 'node:worker_threads';
import type { Clock } from './clock.ts';

/** Why a job has no result: its worker ended, took too long, threw, or too much was waiting. */
export class WorkerFailure extends Error {
  override readonly name = 'WorkerFailure';
}

export interface WorkerPoolOptions {
  /** The worker's file; see `workerScript`. */
  readonly script: URL;
  readonly size: number;
  /** Jobs that wait for a worker; a further one is refused. */
  readonly mostWaiting: number;
  /** A worker that is busy with one job for longer is ended. */
  readonly jobTimeoutMs: number;
  readonly clock: Clock;
}

interface Waiting<Job, Result> {
  readonly job: Job;
  readonly resolve: (result: Result) => void;
  readonly reject: (error: unknown) => void;
  /** Whoever asked has gone: a result is not waited for. */
  abandoned: boolean;
}

/** What a worker answers: `serveJobs` is the other end. */
export type JobAnswer<Result> = { readonly result: Result } | { readonly failed: string };

interface Running<Job, Result> {
  readonly worker: Worker;
  current: Waiting<Job, Result> | null;
  timer: { cancel(): void };
}

/**
 * Worker threads for what would hold up the event loop. Each works on one job at a time; they are started when
 * they are first needed. A worker that crashes costs its job alone: the next job starts another.
 */
export class WorkerPool<Job, Result> {
  readonly #options: WorkerPoolOptions;
  readonly #workers = new Set<Running<Job, Result>>();
  readonly #waiting: Waiting<Job, Result>[] = [];
  #closed = false;

  constructor(options: WorkerPoolOptions) {
    this.#options = options;
  }

  /** How many jobs it works on at once. */
  get size(): number {
    return this.#options.size;
  }

  /** Rejects with `WorkerFailure`, or with the signal's reason; a job that has begun is then worked out unheard. */
  run(job: Job, signal?: AbortSignal): Promise<Result> {
    if (signal?.aborted) return Promise.reject(signal.reason);
    if (this.#closed) return Promise.reject(new WorkerFailure('The workers have ended'));
    const idle = this.#idle();
    if (idle === null && this.#waiting.length >= this.#options.mostWaiting) {
      return Promise.reject(new WorkerFailure('Too much is waiting for a worker'));
    }
    return new Promise((resolve, reject) => {
      const aborted = () => {
        waiting.abandoned = true;
        const place = this.#waiting.indexOf(waiting);
        if (place !== -1) this.#waiting.splice(place, 1);
        reject(signal?.reason);
      };
      const done = () => signal?.removeEventListener('abort', aborted);
      const waiting: Waiting<Job, Result> = {
        job,
        resolve: (result) => {
          done();
          resolve(result);
        },
        reject: (error) => {
          done();
          reject(error);
        },
        abandoned: false,
      };
      signal?.addEventListener('abort', aborted, { once: true });
      if (idle === null) this.#waiting.push(waiting);
      else this.#start(idle, waiting);
    });
  }

  /** Ends every worker; what was under way or waiting is rejected. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const waiting of this.#waiting.splice(0))
      waiting.reject(new WorkerFailure('The workers have ended'));
    await Promise.all([...this.#workers].map(({ worker }) => worker.terminate()));
  }

  #idle(): Running<Job, Result> | null {
    for (const running of this.#workers) if (running.current === null) return running;
    return this.#workers.size < this.#options.size ? this.#spawn() : null;
  }

  #spawn(): Running<Job, Result> {
    const worker = new Worker(this.#options.script, { env: {}, execArgv: [] });
    // The process may end while a worker has nothing to do.
    worker.unref();
    const running: Running<Job, Result> = { worker, current: null, timer: { cancel: () => {} } };
    this.#workers.add(running);
    worker.on('message', (answer: JobAnswer<Result>) => this.#answered(running, answer));
    worker.on('error', (error) => this.#ended(running, `The worker failed: ${String(error)}`));
    worker.on('exit', (code) => this.#ended(running, `The worker ended with code ${code}`));
    return running;
  }

  #start(running: Running<Job, Result>, waiting: Waiting<Job, Result>): void {
    const { clock, jobTimeoutMs } = this.#options;
    running.current = waiting;
    running.timer = clock.after(jobTimeoutMs, () => {
      this.#ended(running, `The worker took longer than ${jobTimeoutMs} ms`);
      void running.worker.terminate();
    });
    running.worker.ref();
    running.worker.postMessage(waiting.job);
  }

  #answered(running: Running<Job, Result>, answer: JobAnswer<Result>): void {
    const { current } = running;
    running.timer.cancel();
    running.current = null;
    running.worker.unref();
    if ('failed' in answer) current?.reject(new WorkerFailure(answer.failed));
    else current?.resolve(answer.result);
    this.#next();
  }

  /** The worker is gone, or as good as gone. */
  #ended(running: Running<Job, Result>, why: string): void {
    if (!this.#workers.delete(running)) return;
    running.timer.cancel();
    running.current?.reject(new WorkerFailure(why));
    running.current = null;
    this.#next();
  }

  #next(): void {
    if (this.#closed || this.#waiting.length === 0) return;
    const idle = this.#idle();
    const waiting = idle === null ? undefined : this.#waiting.shift();
    if (idle !== null && waiting !== undefined) this.#start(idle, waiting);
  }
}
