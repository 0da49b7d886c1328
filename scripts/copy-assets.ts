/** Copies what `tsc` leaves behind into `dist/`: the files that the compiled code reads at run time. */
import { cpSync, globSync } from 'node:fs';
import { join, resolve } from 'node:path';

const PROJECT = resolve(import.meta.dirname, '..');
const ASSETS = ['store/redis/lua/*.lua'];

for (const pattern of ASSETS) {
  const files = globSync(pattern, { cwd: join(PROJECT, 'src') });
  if (files.length === 0) throw new Error(`src/${pattern} matches nothing`);
  for (const file of files) cpSync(join(PROJECT, 'src', file), join(PROJECT, 'dist', file));
}
