import { expect, test } from 'vitest';
import { LargeAnswers } from '../../../src/outbound-peeks/large-answers.ts';

const turnsOfTheLoop = () => new Promise((resolve) => setImmediate(resolve));

test('two large answers at a time; a place that is given up goes to who waits, not to who has left', async () => {
  const large = new LargeAnswers();
  const inside: number[] = [];
  const turns = [0, 1, 2, 3].map((i) => {
    const turn = large.turn();
    void turn.enter().then(() => inside.push(i));
    return turn;
  });
  await turnsOfTheLoop();
  expect(inside).toEqual([0, 1]);
  turns[2]?.leave();
  await turnsOfTheLoop();
  expect(inside).toEqual([0, 1]);
  turns[0]?.leave();
  await turnsOfTheLoop();
  expect(inside).toContain(3);
});

test('an answer that was never large takes no place', async () => {
  const large = new LargeAnswers();
  for (let i = 0; i < 5; i++) large.turn().leave();
  await Promise.all([large.turn().enter(), large.turn().enter()]);
});
