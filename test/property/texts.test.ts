import { expect, test } from 'vitest';
import { PROPERTIES } from './all.ts';
import { tryProperties } from './run.ts';

const ELSEWHERE = ['pdus', 'server-acl', 'canonical-json'];
const HERE = ['x-matrix', 'ids', 'well-known', 'json-bytes', 'sync-tokens', 'sync-filters'];

tryProperties(HERE);

test('every property is tried in one of the two files, which run side by side', () => {
  expect([...HERE, ...ELSEWHERE].toSorted()).toEqual(Object.keys(PROPERTIES).toSorted());
});
