import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The root of the checkout. */
export const repositoryRoot = fileURLToPath(new URL('../..', import.meta.url));

/** What tests and the demo make and keep between runs lives here; git ignores it. */
export const workRoot = join(repositoryRoot, '.work');

/** The Node that runs this, which is the one that runs every child. */
export const node = process.execPath;

/** A directory under `.work`, made when missing. */
export function workDirectory(...parts: string[]): string {
  const path = join(workRoot, ...parts);
  mkdirSync(path, { recursive: true });
  return path;
}

/** One line on stderr, for steps that take long enough to be wondered about. */
export function progress(line: string): void {
  process.stderr.write(`· ${line}\n`);
}

/**
 * First line of every entry: throws unless this is Node 24 or newer, and ends the process when the
 * one that started it (`scripts/run.js`) has died.
 */
export function beginEntry(): void {
  const major = Number(process.versions.node.split('.')[0]);
  if (major < 24) {
    throw new Error(
      `Node 24 or newer is needed, this is ${process.version}: use the commands of package.json`,
    );
  }
  if (!process.connected) return;
  process.once('disconnect', () => process.exit(129));
  process.channel?.unref();
}
