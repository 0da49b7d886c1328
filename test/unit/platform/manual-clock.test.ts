import { expect, test } from 'vitest';
import { ManualClock } from '../../support/manual-clock.ts';

test('timers run in the order in which they fall due, each at its own time', async () => {
  const clock = new ManualClock(0);
  const ran: [string, number][] = [];
  clock.after(20, () => ran.push(['b', clock.now()]));
  clock.after(10, () => ran.push(['a', clock.now()]));
  clock.after(20, () => ran.push(['c', clock.now()]));
  clock.after(31, () => ran.push(['d', clock.now()]));
  await clock.advance(30);
  expect(ran).toEqual([
    ['a', 10],
    ['b', 20],
    ['c', 20],
  ]);
  expect(clock.now()).toBe(30);
  expect(clock.pending).toBe(1);
});

test('a timer that is set by a sleeper within the span runs in the same advance', async () => {
  const clock = new ManualClock(0);
  const woke: number[] = [];
  const loop = async () => {
    for (let i = 0; i < 3; i++) {
      await clock.sleep(10);
      woke.push(clock.now());
    }
  };
  const done = loop();
  await clock.advance(100);
  await done;
  expect(woke).toEqual([10, 20, 30]);
});

test('a cancelled timer never runs, and an aborted sleep ends at once', async () => {
  const clock = new ManualClock(0);
  let ran = false;
  clock
    .after(5, () => {
      ran = true;
    })
    .cancel();
  const abort = new AbortController();
  const slept = clock.sleep(1000, abort.signal);
  abort.abort();
  await slept;
  await clock.advance(10);
  expect(ran).toBe(false);
  expect(clock.pending).toBe(0);
});
