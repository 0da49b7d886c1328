import { describe, expect, test } from 'vitest';
import { DeadlineError, withDeadline } from '../../../src/platform/deadline.ts';
import { Gate, GateFullError, GateLeftError } from '../../../src/platform/gate.ts';
import { LeavableFlight, LeftError, SingleFlight } from '../../../src/platform/single-flight.ts';
import { ManualClock } from '../../support/manual-clock.ts';

describe('single flight', () => {
  test('who asks for the same meanwhile shares the answer, or the failure; later the work is done anew', async () => {
    const flights = new SingleFlight<number>();
    let runs = 0;
    const work = async () => ++runs;
    expect(
      await Promise.all([flights.run('a', work), flights.run('a', work), flights.run('b', work)]),
    ).toEqual([1, 1, 2]);
    const failing = async () => {
      throw new Error('no');
    };
    const results = await Promise.allSettled([flights.run('a', failing), flights.run('a', work)]);
    expect(results.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
    expect(await flights.run('a', work)).toBe(3);
    expect(flights.size).toBe(0);
  });
});

describe('leavable flight', () => {
  test('who leaves is let go; when all have left the work is told, and the next one begins anew', async () => {
    const flights = new LeavableFlight<number>();
    const started: AbortSignal[] = [];
    const { promise, resolve } = Promise.withResolvers<number>();
    const work = (deserted: AbortSignal) => {
      started.push(deserted);
      return promise;
    };
    const [one, two] = [new AbortController(), new AbortController()];
    const first = flights.run('a', one.signal, work);
    const second = flights.run('a', two.signal, work);
    await Promise.resolve();
    one.abort();
    await expect(first).rejects.toThrow(LeftError);
    expect(started.map(({ aborted }) => aborted)).toEqual([false]);
    two.abort();
    await expect(second).rejects.toThrow(LeftError);
    expect(started.map(({ aborted }) => aborted)).toEqual([true]);
    const third = flights.run('a', undefined, work);
    const fourth = flights.run('a', new AbortController().signal, work);
    resolve(4);
    expect(await Promise.all([third, fourth])).toEqual([4, 4]);
    expect(started.length).toBe(2);
    await expect(flights.run('a', one.signal, work)).rejects.toThrow(LeftError);
    await expect(flights.run('a', undefined, async () => Promise.reject(new Error('no')))).rejects.toThrow(
      'no',
    );
    expect(await flights.run('a', undefined, async () => 5)).toBe(5);
  });
});

describe('gate', () => {
  test('lets so much work run at once and the rest in order, also after failures', async () => {
    const clock = new ManualClock();
    const gate = new Gate(2);
    const started: number[] = [];
    const work = [0, 1, 2, 3, 4].map((n) =>
      gate
        .run(async () => {
          started.push(n);
          await clock.sleep(10);
          if (n === 1) throw new Error('no');
        })
        .catch(() => {}),
    );
    await clock.advance(0);
    expect(started).toEqual([0, 1]);
    await clock.advance(10);
    expect(started).toEqual([0, 1, 2, 3]);
    await clock.advance(20);
    await Promise.all(work);
    expect(started).toEqual([0, 1, 2, 3, 4]);
  });

  test('who leaves before its turn takes none from the others', async () => {
    const clock = new ManualClock();
    const gate = new Gate(1, 2);
    const abort = new AbortController();
    const first = gate.run(() => clock.sleep(10), abort.signal);
    const second = gate.run(() => expect.fail(), abort.signal).catch((error: unknown) => error);
    const third = gate.run(async () => 'third');
    abort.abort();
    expect(await second).toBeInstanceOf(GateLeftError);
    await expect(gate.run(() => expect.fail(), abort.signal)).rejects.toThrow(GateLeftError);
    await clock.advance(10);
    expect(await third).toBe('third');
    await first;
    expect(await gate.run(async () => 'free')).toBe('free');
  });

  test('refuses what would wait behind too much', async () => {
    const clock = new ManualClock();
    const gate = new Gate(1, 1);
    const first = gate.run(() => clock.sleep(10));
    const second = gate.run(() => clock.sleep(10));
    await expect(gate.run(() => clock.sleep(10))).rejects.toThrow(GateFullError);
    await clock.advance(20);
    await Promise.all([first, second]);
  });

  test('what one owner has waiting keeps no other from its turn', async () => {
    const clock = new ManualClock();
    const gate = new Gate(3, 100, { running: 2, waiting: 10 });
    const started: string[] = [];
    const run = (owner: string, ms = 10) =>
      gate.run(
        async () => {
          started.push(owner);
          await clock.sleep(ms);
        },
        undefined,
        owner,
      );
    const work = Array.from({ length: 12 }, () => run('greedy', 1000));
    await expect(run('greedy')).rejects.toThrow(GateFullError);
    for (let i = 0; i < 2; i++) work.push(run('a'), run('b'));
    await clock.advance(0);
    expect(started).toEqual(['greedy', 'greedy', 'a']);
    await clock.advance(30);
    expect(started).toEqual(['greedy', 'greedy', 'a', 'b', 'a', 'b']);
    await clock.advance(10_000);
    await Promise.all(work);
    expect(started).toHaveLength(16);
    const all = [run('x'), run('y'), run('z')];
    await clock.advance(0);
    expect(started.slice(-3)).toEqual(['x', 'y', 'z']);
    await clock.advance(10);
    await Promise.all(all);
  });
});

describe('deadline', () => {
  test('what is done in time is given, and no timer is left', async () => {
    const clock = new ManualClock();
    expect(await withDeadline(clock, 10, undefined, async () => 5)).toBe(5);
    expect(clock.pending).toBe(0);
  });

  test('work that is late is told so and left to itself', async () => {
    const clock = new ManualClock();
    let told = false;
    const late = withDeadline(clock, 10, undefined, (signal) => {
      signal.addEventListener('abort', () => {
        told = true;
      });
      return new Promise(() => {});
    });
    const outcome = late.catch((error: unknown) => error);
    await clock.advance(10);
    expect(await outcome).toBeInstanceOf(DeadlineError);
    expect(told).toBe(true);
  });

  test('it ends when whoever asked gives up, before or meanwhile', async () => {
    const clock = new ManualClock();
    const abort = new AbortController();
    const running = withDeadline(clock, 10, abort.signal, () => new Promise(() => {}));
    abort.abort();
    await expect(running).rejects.toThrow(DeadlineError);
    await expect(withDeadline(clock, 10, abort.signal, async () => 1)).rejects.toThrow(DeadlineError);
    expect(clock.pending).toBe(0);
  });
});
