import { expect, test } from 'vitest';
import { BodyBudget } from '../../../src/federation-api/body-budget.ts';

test('a body is held within what one may weigh, those of its server, and all', () => {
  const budget = new BodyBudget(10, 15, 20);
  expect(budget.take('a.test', 11)).toBeNull();
  const first = budget.take('a.test', 10);
  expect(first).not.toBeNull();
  expect(budget.take('a.test', 6)).toBeNull();
  expect(budget.take('b.test', 10)).not.toBeNull();
  expect(budget.take('c.test', 1)).toBeNull();
  first?.();
  expect(budget.take('a.test', 10)).not.toBeNull();
});

test.each([Number.NaN, -1, Number.POSITIVE_INFINITY])('a length of %s is none', (bytes) => {
  expect(new BodyBudget(10, 10, 10).take('a.test', bytes)).toBeNull();
});
