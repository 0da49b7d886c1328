import { expect, test, vi } from 'vitest';
import { BodyBudget } from '../../../src/federation-api/body-budget.ts';

const stays = () => {
  throw new Error('this one is whole');
};

/** A body that has come. */
function whole(budget: BodyBudget, server: string, bytes: number) {
  const body = budget.take(server, bytes, stays);
  body?.whole();
  return body;
}

test('a body is held within what one may weigh, those of its server, and all', () => {
  const budget = new BodyBudget(10, 15, 20);
  expect(whole(budget, 'a.test', 11)).toBeNull();
  const first = whole(budget, 'a.test', 10);
  expect(first).not.toBeNull();
  expect(whole(budget, 'a.test', 6)).toBeNull();
  expect(whole(budget, 'b.test', 10)).not.toBeNull();
  expect(whole(budget, 'c.test', 1)).toBeNull();
  first?.release();
  expect(whole(budget, 'a.test', 10)).not.toBeNull();
  expect(budget.held).toBe(20);
});

test('the oldest that is still coming gives way, of the same server where its share is used up', () => {
  const budget = new BodyBudget(10, 10, 20);
  const [other, oldest, next] = [vi.fn(), vi.fn(), vi.fn()];
  budget.take('b.test', 10, other);
  const given = budget.take('a.test', 5, oldest);
  budget.take('a.test', 5, next);
  expect(whole(budget, 'a.test', 5)).not.toBeNull();
  expect([other, oldest, next].map(({ mock }) => mock.calls.length)).toEqual([0, 1, 0]);
  given?.release();
  expect(budget.held).toBe(20);
  expect(whole(budget, 'c.test', 1)).not.toBeNull();
  expect([other, next].map(({ mock }) => mock.calls.length)).toEqual([1, 0]);
});

test('nothing gives way in vain', () => {
  const budget = new BodyBudget(10, 15, 20);
  whole(budget, 'a.test', 10);
  const coming = vi.fn();
  budget.take('a.test', 2, coming);
  expect(budget.take('a.test', 10, stays)).toBeNull();
  expect(coming).not.toHaveBeenCalled();
});

test.each([Number.NaN, -1, Number.POSITIVE_INFINITY])('a length of %s is none', (bytes) => {
  expect(whole(new BodyBudget(10, 10, 10), 'a.test', bytes)).toBeNull();
});
