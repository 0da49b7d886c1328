/** `npm run docs`: writes anew what the documents and `config/` hold of the settings, routes and registration. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { generatedFiles } from './docs/generated.ts';

const ROOT = join(import.meta.dirname, '..');

for (const [path, text] of await generatedFiles(ROOT)) {
  await writeFile(join(ROOT, path), text);
  console.log(path);
}
