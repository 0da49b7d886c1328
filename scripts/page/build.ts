import { join } from 'node:path';
import { build } from 'vite';
import { repositoryRoot } from '../../test/support/work.ts';

/** The files of a page: what each one holds, by its path, which begins with `/`. */
export type PageFiles = ReadonlyMap<string, string | Uint8Array>;

/** Bundles the preview page with matrix-js-sdk, as npm has it: some seconds. Nothing is written. */
export async function buildPage(): Promise<PageFiles> {
  const built = await build({
    root: join(repositoryRoot, 'scripts', 'page', 'browser'),
    configFile: false,
    base: './',
    logLevel: 'error',
    build: { write: false, chunkSizeWarningLimit: 10_000, minify: false },
  });
  const results = Array.isArray(built) ? built : [built];
  const files = results.flatMap((result) => ('output' in result ? result.output : []));
  return new Map(files.map((file) => [`/${file.fileName}`, file.type === 'chunk' ? file.code : file.source]));
}
