import { expect, test } from 'vitest';
import { type PeekName, ToldState } from '../../../src/client-sync/told-state.ts';

const PEEK: PeekName = { userId: '@a:b', deviceId: 'D', instance: 1 };
const F = 'filter';

const told = (entries: Record<string, string>) => new Map(Object.entries(entries));

test('what an answer told is known of who presents its token, on top of what was told before', () => {
  const state = new ToldState();
  state.answered(PEEK, { from: null, to: 5, filter: F }, told({ a: '$1', b: '$2' }), true);
  state.answered(PEEK, { from: 5, to: 7, filter: F }, told({ b: '$3' }), false);
  expect(state.at(PEEK, 7, F)).toEqual(told({ a: '$1', b: '$3' }));
  expect(state.at(PEEK, 5, F)).toEqual(told({ a: '$1', b: '$2' }));
});

test('nothing is known of another position, filter, device, instance, or without a token', () => {
  const state = new ToldState();
  state.answered(PEEK, { from: null, to: 5, filter: F }, told({ a: '$1' }), true);
  expect(state.at(PEEK, 6, F).size).toBe(0);
  expect(state.at(PEEK, undefined, F).size).toBe(0);
  expect(state.at(PEEK, 5, 'other').size).toBe(0);
  expect(state.at({ ...PEEK, deviceId: 'E' }, 5, F).size).toBe(0);
  expect(state.at({ ...PEEK, instance: 2 }, 5, F).size).toBe(0);
});

test('a lost answer is not believed: the retry goes on from the older token', () => {
  const state = new ToldState();
  state.answered(PEEK, { from: null, to: 5, filter: F }, told({ a: '$1' }), true);
  state.answered(PEEK, { from: 5, to: 7, filter: F }, told({ lost: '$x' }), false);
  state.answered(PEEK, { from: 5, to: 8, filter: F }, told({ b: '$2' }), false);
  expect(state.at(PEEK, 8, F)).toEqual(told({ a: '$1', b: '$2' }));
});

test('two answers from different tokens to one position: only what both told is sure', () => {
  const state = new ToldState();
  state.answered(PEEK, { from: null, to: 5, filter: F }, told({ a: '$1' }), true);
  state.answered(PEEK, { from: 5, to: 6, filter: F }, told({}), false);
  state.answered(PEEK, { from: 5, to: 8, filter: F }, told({ b: '$2' }), false);
  state.answered(PEEK, { from: 6, to: 8, filter: F }, told({ c: '$3' }), false);
  expect(state.at(PEEK, 8, F)).toEqual(told({ a: '$1' }));
});

test('an answer that begins anew replaces what was known', () => {
  const state = new ToldState();
  state.answered(PEEK, { from: null, to: 5, filter: F }, told({ a: '$1', b: '$2' }), true);
  state.answered(PEEK, { from: 5, to: 7, filter: F }, told({ a: '$1' }), true);
  expect(state.at(PEEK, 7, F)).toEqual(told({ a: '$1' }));
});

test('five hundred slots of a peek and its last four answers are kept', () => {
  const state = new ToldState();
  const many = new Map(Array.from({ length: 600 }, (_, i) => [`s${i}`, `$${i}`] as const));
  state.answered(PEEK, { from: null, to: 1, filter: F }, many, true);
  expect(state.at(PEEK, 1, F).size).toBe(500);
  expect(state.at(PEEK, 1, F).has('s599')).toBe(true);
  for (let to = 2; to <= 5; to++) {
    state.answered(PEEK, { from: to - 1, to, filter: F }, told({ [`new${to}`]: '$n' }), false);
  }
  expect(state.at(PEEK, 5, F).size).toBe(500);
  expect(state.at(PEEK, 2, F).size).toBe(500);
  expect(state.at(PEEK, 1, F).size).toBe(0);
});

test('of very many peeks the ones that were longest unread are forgotten', () => {
  const state = new ToldState();
  const slots = new Map(Array.from({ length: 500 }, (_, i) => [`s${i}`, '$e'] as const));
  for (let instance = 1; instance <= 500; instance++) {
    state.answered({ ...PEEK, instance }, { from: null, to: 1, filter: F }, slots, true);
  }
  expect(state.at({ ...PEEK, instance: 500 }, 1, F).size).toBe(500);
  expect(state.at({ ...PEEK, instance: 1 }, 1, F).size).toBe(0);
});
