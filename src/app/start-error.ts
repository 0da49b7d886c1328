import { readFileSync } from 'node:fs';
import type { SETTINGS } from '../config/settings.ts';

type SettingName = (typeof SETTINGS)[keyof typeof SETTINGS]['name'];

/** What keeps the proxy from starting, said to the operator: one line for each setting to look at. */
export class StartError extends Error {
  override readonly name = 'StartError';

  constructor(problems: readonly string[]) {
    super(`The proxy cannot start:\n${problems.map((problem) => `  - ${problem}`).join('\n')}`);
  }
}

/** Reads the files that settings name, and says all that is wrong with them at once. */
export class SettingFiles {
  readonly #problems: string[] = [];

  /**
   * The file made into what it holds; null where that is not possible, and noted. `advice` is given where there is no
   * file, or nothing in it.
   */
  read<T>(name: SettingName, path: string, make: (text: string) => T, advice?: string): T | null {
    const then = advice === undefined ? '' : `; ${advice}`;
    try {
      const text = readFileSync(path, 'utf8');
      if (text.trim() !== '') return make(text);
      this.#problems.push(`${name} (${path}): the file is empty${then}`);
    } catch (error) {
      const isMissing = error instanceof Error && 'code' in error && error.code === 'ENOENT';
      this.#problems.push(`${name} (${path}): ${reasonOf(error)}${isMissing ? then : ''}`);
    }
    return null;
  }

  /** Throws `StartError` when anything could not be read. */
  check(): void {
    if (this.#problems.length > 0) throw new StartError(this.#problems);
  }
}

/** Runs a step of the start; what goes wrong in it is about this setting. Rejects with `StartError`. */
export async function about<T>(setting: string, step: () => Promise<T>): Promise<T> {
  try {
    return await step();
  } catch (error) {
    throw new StartError([`${setting}: ${reasonOf(error)}`]);
  }
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
