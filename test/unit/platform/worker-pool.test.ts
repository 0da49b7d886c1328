import { expect, onTestFinished, test } from 'vitest';
import { WorkerFailure, WorkerPool, type WorkerPoolOptions } from '../../../src/platform/worker-pool.ts';
import type { TestJob } from '../../support/job-worker.ts';
import { ManualClock } from '../../support/manual-clock.ts';

const clock = new ManualClock();

function pool(options: Partial<WorkerPoolOptions> = {}): WorkerPool<TestJob, number> {
  const made = new WorkerPool<TestJob, number>({
    script: new URL('../../support/job-worker.ts', import.meta.url),
    size: 1,
    mostWaiting: 10,
    jobTimeoutMs: 1000,
    clock,
    ...options,
  });
  onTestFinished(() => made.close());
  return made;
}

/** A job that goes on until `open` is called. */
function gated() {
  const gate = new Int32Array(new SharedArrayBuffer(4));
  const open = () => {
    Atomics.store(gate, 0, 1);
    Atomics.notify(gate, 0);
  };
  return { job: { kind: 'wait', gate } satisfies TestJob, open };
}

const echo = (value: number): TestJob => ({ kind: 'echo', value });
const failed = (run: Promise<number>) =>
  run.then(
    () => null,
    (error: unknown) => error,
  );

test('jobs are answered, more of them than there are workers', async () => {
  const workers = pool({ size: 2 });
  const values = [1, 2, 3, 4, 5];
  expect(await Promise.all(values.map((value) => workers.run(echo(value))))).toEqual(values);
});

test('as many jobs at once as its size says; the next one waits for its turn', async () => {
  const workers = pool({ size: 2 });
  const [first, second] = [gated(), gated()];
  const running = [workers.run(first.job), workers.run(second.job)];
  let done = false;
  const third = workers.run(echo(3)).finally(() => {
    done = true;
  });
  first.open();
  expect(await third).toBe(3);
  expect(done).toBe(true);
  second.open();
  expect(await Promise.all(running)).toEqual([1, 1]);
});

test('a full queue ⇒ refused at once', async () => {
  const workers = pool({ mostWaiting: 1 });
  const { job, open } = gated();
  const kept = [workers.run(job), workers.run(echo(1))];
  expect(await failed(workers.run(echo(2)))).toBeInstanceOf(WorkerFailure);
  open();
  expect(await Promise.all(kept)).toEqual([1, 1]);
});

test.each(['throw', 'exit', 'crash'] as const)(
  'a worker that ends by %s costs its job alone',
  async (kind) => {
    const workers = pool();
    const doomed = failed(workers.run({ kind }));
    const next = workers.run(echo(7));
    expect(await doomed).toBeInstanceOf(WorkerFailure);
    expect(await next).toBe(7);
  },
);

test('a job without end ⇒ its worker is ended after the time that a job may take', async () => {
  const workers = pool();
  const doomed = failed(workers.run({ kind: 'spin' }));
  const next = workers.run(echo(7));
  await clock.advance(999);
  let over = false;
  void doomed.then(() => {
    over = true;
  });
  await clock.advance(0);
  expect(over).toBe(false);
  await clock.advance(1);
  expect(String(await doomed)).toContain('longer than 1000 ms');
  expect(await next).toBe(7);
});

test('who has gone is not waited for: neither in the queue nor while the job runs', async () => {
  const workers = pool();
  const { job, open } = gated();
  const [leaves, waits] = [new AbortController(), new AbortController()];
  const running = failed(workers.run(job, leaves.signal));
  const waiting = failed(workers.run({ kind: 'exit' }, waits.signal));
  leaves.abort(new Error('left'));
  waits.abort(new Error('gone'));
  expect([String(await running), String(await waiting)]).toEqual(['Error: left', 'Error: gone']);
  expect(String(await failed(workers.run(echo(1), leaves.signal)))).toBe('Error: left');
  open();
  // Had the job that was let go been begun, this one's worker would have ended.
  expect(await workers.run(echo(5))).toBe(5);
});

test('closed ⇒ what runs and what waits is rejected, and nothing more is taken', async () => {
  const workers = pool();
  const results = [failed(workers.run({ kind: 'spin' })), failed(workers.run(echo(1)))];
  await workers.close();
  for (const result of [...results, failed(workers.run(echo(2)))]) {
    expect(await result).toBeInstanceOf(WorkerFailure);
  }
});
