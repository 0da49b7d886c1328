import { expect, test } from 'vitest';
import { BackOff } from '../../../src/remote-servers/back-off.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { noRandom } from './fakes.ts';

const HOUR = 60 * 60_000;

test('waits double from one second to one hour, and a success ends them', () => {
  const clock = new ManualClock();
  const backOff = new BackOff(clock, noRandom);
  const waits: number[] = [];
  for (let i = 0; i < 14; i++) {
    backOff.failed('a.example', clock.now());
    waits.push(backOff.remaining('a.example'));
    clock.jump(backOff.remaining('a.example'));
  }
  expect(waits.slice(0, 4)).toEqual([1000, 2000, 4000, 8000]);
  expect(waits.slice(-2)).toEqual([HOUR, HOUR]);
  expect(backOff.remaining('a.example')).toBe(0);
  expect(backOff.remaining('b.example')).toBe(0);
  backOff.succeeded('a.example');
  backOff.failed('a.example', clock.now());
  expect(backOff.remaining('a.example')).toBe(1000);
});

test('each wait is shortened at random by at most a quarter', () => {
  const clock = new ManualClock();
  const backOff = new BackOff(clock, { ...noRandom, below: (limit) => limit - 1 });
  backOff.failed('a.example', clock.now());
  expect(backOff.remaining('a.example')).toBe(750);
});

test('requests that were under way together fail once', () => {
  const clock = new ManualClock();
  const backOff = new BackOff(clock, noRandom);
  const started = clock.now();
  clock.jump(10);
  for (let i = 0; i < 20; i++) backOff.failed('a.example', started);
  expect(backOff.remaining('a.example')).toBe(1000);
});
