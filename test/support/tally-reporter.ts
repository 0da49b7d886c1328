import { writeFileSync } from 'node:fs';
import type { Reporter, TestCase, TestModule } from 'vitest/node';

export interface Tally {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

/** Names the file that the counts are written to. */
export const TALLY_FILE = 'TALLY_FILE';

/**
 * Writes how many tests passed, failed and were skipped, again after each module, so that a run which
 * is cut off has counted what it did. A module that does not load, a suite whose hook fails and an
 * error outside of any test count as a failure each.
 */
export default class TallyReporter implements Reporter {
  readonly #counts = { passed: 0, failed: 0, skipped: 0 };

  onTestRunStart(): void {
    this.#write();
  }

  onTestCaseResult(test: TestCase): void {
    const { state } = test.result();
    if (state !== 'pending') this.#counts[state]++;
  }

  onTestModuleEnd(module: TestModule): void {
    this.#counts.failed += module.errors().length;
    for (const suite of module.children.allSuites()) this.#counts.failed += suite.errors().length;
    this.#write();
  }

  onTestRunEnd(_modules: readonly TestModule[], unhandledErrors: readonly unknown[]): void {
    this.#counts.failed += unhandledErrors.length;
    this.#write();
  }

  #write(): void {
    const file = process.env[TALLY_FILE];
    if (file !== undefined) writeFileSync(file, JSON.stringify(this.#counts));
  }
}
