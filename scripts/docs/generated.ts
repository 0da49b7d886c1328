import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { sampleEnvironment, settingsTable } from '../../src/config/settings-text.ts';
import { makeRegistration } from '../../src/homeserver/registration.ts';
import { systemRandom } from '../../src/platform/random.ts';
import { routesForNginx, routesTable } from './routes.ts';

/** What stands between two lines that hold `generated: NAME` and `end of NAME`. */
interface Section {
  readonly file: string;
  readonly name: string;
  readonly text: () => string;
}

const SECTIONS: readonly Section[] = [
  { file: 'README.md', name: 'settings', text: () => `\n${settingsTable()}\n` },
  { file: 'docs/OPERATIONS.md', name: 'routes', text: () => `\n${routesTable()}\n` },
  { file: 'config/nginx-workers.conf', name: 'routes', text: routesForNginx },
];

const FILES: Readonly<Record<string, () => string>> = {
  'config/sample.env': sampleEnvironment,
  'config/registration.sample.yaml': sampleRegistration,
};

/** Files of the repository that are generated, whole or in part, as they have to be: path → text. */
export async function generatedFiles(root: string): Promise<Map<string, string>> {
  const files = new Map(Object.entries(FILES).map(([path, text]) => [path, text()]));
  for (const { file, name, text } of SECTIONS) {
    files.set(file, withSection(await readFile(join(root, file), 'utf8'), file, name, text()));
  }
  return files;
}

function withSection(text: string, file: string, name: string, content: string): string {
  const section = new RegExp(`^(.*generated: ${name}\\b.*\\n)[^]*?^(.*end of ${name}\\b.*)$`, 'm');
  if (!section.test(text)) throw new Error(`${file} has no lines "generated: ${name}" and "end of ${name}"`);
  return text.replace(section, (_, begin: string, end: string) => `${begin}${content}${end}`);
}

/** No token: one that is printed here would be used by somebody. The proxy refuses the text that stands for it. */
function sampleRegistration(): string {
  const text = makeRegistration('example.org', systemRandom);
  return text.replace(/^((?:as|hs)_token: ).*$/gm, '$1"made by: node dist/main.js registration"');
}
