import { join } from 'node:path';
import { build } from 'vite';
import { repositoryRoot, workRoot } from '../../test/support/work.ts';

/** Bundles the preview page with matrix-js-sdk, as npm has it, and gives the folder: `.work/page` by default. */
export async function buildPage(folder = join(workRoot, 'page')): Promise<string> {
  await build({
    root: join(repositoryRoot, 'scripts', 'page', 'browser'),
    configFile: false,
    base: './',
    logLevel: 'error',
    build: { outDir: folder, emptyOutDir: true, chunkSizeWarningLimit: 10_000, minify: false },
  });
  return folder;
}
