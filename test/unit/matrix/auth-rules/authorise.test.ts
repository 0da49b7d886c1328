import { expect, test } from 'vitest';
import { authStateOf } from '../../../../src/matrix/auth-rules/auth-state.ts';
import { authorise } from '../../../../src/matrix/auth-rules/authorise.ts';
import { allCases } from './cases/all.ts';
import { sceneOf, versionsOf } from './sketch.ts';

const rows = allCases.map(
  (row) => [`${row.denied === undefined ? 'allowed' : 'denied'}: ${row.title}`, row] as const,
);

test.each(rows)('%s', (_, row) => {
  const versions = versionsOf(row);
  expect(versions.length).toBeGreaterThan(0);
  for (const version of versions) {
    const { event, eventId, state, rules } = sceneOf(row, version);
    const verdict = authorise(event, eventId, authStateOf(state), rules);
    if (row.denied === undefined) expect(verdict, `version ${version}`).toEqual({ allowed: true });
    else {
      expect(verdict, `version ${version}`).toEqual({
        allowed: false,
        reason: expect.stringContaining(row.denied),
      });
    }
  }
});

test('no case is told twice', () => {
  expect(new Set(rows.map(([title]) => title)).size).toBe(rows.length);
});
