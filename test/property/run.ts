import { describe, test } from 'vitest';
import { PROPERTIES } from './all.ts';

const RUNS = 100_000;
/** Another seed tries other inputs; `npm run fuzz -- NAME` tries more of them. */
const SEED = Number(process.env.PEEK_TEST_SEED ?? 2026);

/** Tests the properties of these names. */
export function tryProperties(names: readonly string[]): void {
  describe.each(names)('%s', (name) => {
    for (const property of PROPERTIES[name] ?? []) {
      test(property.name, async () => {
        await property.check({ numRuns: RUNS, seed: SEED });
      });
    }
  });
}
