import { describe, expect, test } from 'vitest';
import { DeadlineError, withDeadline } from '../../../src/platform/deadline.ts';
import { Gate, GateFullError } from '../../../src/platform/gate.ts';
import { SingleFlight } from '../../../src/platform/single-flight.ts';
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

  test('refuses what would wait behind too much', async () => {
    const clock = new ManualClock();
    const gate = new Gate(1, 1);
    const first = gate.run(() => clock.sleep(10));
    const second = gate.run(() => clock.sleep(10));
    await expect(gate.run(() => clock.sleep(10))).rejects.toThrow(GateFullError);
    await clock.advance(20);
    await Promise.all([first, second]);
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
