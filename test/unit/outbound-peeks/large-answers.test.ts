import { expect, test } from 'vitest';
import { LargeAnswers } from '../../../src/outbound-peeks/large-answers.ts';

const turnsOfTheLoop = () => new Promise((resolve) => setImmediate(resolve));

test('two large answers at a time; a place that is given up goes to who waits, not to who has left', async () => {
  const large = new LargeAnswers();
  const inside: number[] = [];
  const turns = [0, 1, 2, 3].map((i) => {
    const turn = large.turn(`s${i}.test`);
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
  for (let i = 0; i < 5; i++) large.turn('a.test').leave();
  await Promise.all([large.turn('a.test').enter(), large.turn('b.test').enter()]);
});

test('a server that sends large answers without end leaves the other place to others', async () => {
  const large = new LargeAnswers();
  const inside: string[] = [];
  const enter = (server: string) => {
    const turn = large.turn(server);
    void turn.enter().then(() => inside.push(server));
    return turn;
  };
  for (let i = 0; i < 5; i++) enter('slow.test');
  const good = enter('good.test');
  enter('other.test');
  await turnsOfTheLoop();
  expect(inside).toEqual(['slow.test', 'good.test']);
  good.leave();
  await turnsOfTheLoop();
  expect(inside).toEqual(['slow.test', 'good.test', 'other.test']);
});
