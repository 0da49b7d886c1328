import { serveJobs } from '../../src/platform/worker-jobs.ts';

/** What a test has a worker do. */
export type TestJob =
  | { readonly kind: 'echo'; readonly value: number }
  | { readonly kind: 'throw' | 'exit' | 'crash' | 'spin' }
  /** Waits until the shared number is no longer zero. */
  | { readonly kind: 'wait'; readonly gate: Int32Array };

serveJobs<TestJob, number>((job) => {
  switch (job.kind) {
    case 'echo':
      return job.value;
    case 'throw':
      throw new Error('this job cannot be done');
    case 'exit':
      process.exit(3);
      return 0;
    case 'crash':
      return new Promise(() => {
        setImmediate(() => {
          throw new Error('nobody catches this');
        });
      });
    case 'wait':
      Atomics.wait(job.gate, 0, 0);
      return 1;
    case 'spin':
      for (;;);
  }
});
