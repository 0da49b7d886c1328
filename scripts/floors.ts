import { cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { capture } from './run-command.ts';

/**
 * The floors of `src/`, the lowest first. A file imports only from floors below its own; folders on
 * one floor do not import each other. The entry points above them all are imported by nobody.
 */
const FLOORS: readonly (readonly string[])[] = [
  ['matrix'],
  ['platform', 'config'],
  ['store', 'homeserver', 'forward'],
  ['remote-servers'],
  ['rooms'],
  ['feeds'],
  ['device-peeks', 'inbound-peeks', 'outbound-peeks'],
  ['peeking', 'client-view'],
  ['client-sync', 'room-reads', 'previews'],
  ['client-api', 'federation-api'],
  ['app'],
];
const ENTRIES = ['main.ts', 'cli.ts'];
const OUTSIDE = ['test', 'scripts'];

const root = join(import.meta.dirname, '..');
const fixture = join(root, 'test', 'fixtures', 'floors', 'src');

/** What Biome, or the check beside it, must report on the fixture; nothing else there may be reported. */
const FIXTURE_BREAKS: readonly string[] = [
  'feeds/circle-first.ts noImportCycles',
  'feeds/circle-second.ts noImportCycles',
  'feeds/entry.ts noRestrictedImports',
  'matrix/type-query.ts typeQuery',
  'matrix/upward.ts noRestrictedImports',
  'store/sideways.ts noRestrictedImports',
];

interface Override {
  readonly includes: readonly string[];
  readonly linter: unknown;
}

interface BiomeConfig {
  readonly overrides?: readonly Override[];
}

/** Biome's overrides for the table: for each folder, what it must not import. */
function overrides(): readonly Override[] {
  return FLOORS.flatMap((folders, floor) =>
    folders.map((folder) => {
      const forbidden = FLOORS.slice(floor)
        .flat()
        .filter((other) => other !== folder);
      const group = [...forbidden, ...OUTSIDE]
        .map((name) => `**/${name}/**`)
        .concat(ENTRIES.map((e) => `**/${e}`));
      const message = `src/${folder} is on floor ${floor}: it imports only from floors below (npm run floors -- --help).`;
      const options = { patterns: [{ group, message }] };
      return {
        includes: [`src/${folder}/**`],
        linter: { rules: { style: { noRestrictedImports: { level: 'error', options } } } },
      };
    }),
  );
}

async function readConfig(): Promise<BiomeConfig> {
  return JSON.parse(await readFile(join(root, 'biome.json'), 'utf8')) as BiomeConfig;
}

/** Folders of src/ that no floor names: their imports would go unchecked. */
async function strangers(): Promise<string[]> {
  const known = new Set([...FLOORS.flat(), ...ENTRIES]);
  const present = await readdir(join(root, 'src'));
  return present.filter((name) => !known.has(name));
}

/** Biome does not see `import('…').T` of a file of ours; no file needs it, nor a dynamic import. */
async function typeQueries(directory: string): Promise<string[]> {
  const files = await readdir(directory, { recursive: true });
  const found: string[] = [];
  for (const file of files.filter((name) => name.endsWith('.ts'))) {
    if (/\bimport\(\s*['"`]\./.test(await readFile(join(directory, file), 'utf8'))) found.push(file);
  }
  return found;
}

/** Lints a copy of the fixture by the very biome.json of the project. */
async function fixtureReports(): Promise<string[]> {
  const directory = await mkdtemp(join(tmpdir(), 'floors-'));
  try {
    await cp(join(root, 'biome.json'), join(directory, 'biome.json'));
    await cp(fixture, join(directory, 'src'), { recursive: true });
    const args = ['lint', '--reporter=json', '--diagnostic-level=error', '--max-diagnostics=none', 'src'];
    const { stdout } = await capture(join(root, 'node_modules', '.bin', 'biome'), args, directory);
    const report = JSON.parse(stdout) as {
      diagnostics: { category: string; location: { path: string | { file: string } } }[];
    };
    const reports = report.diagnostics.map(({ category, location }) => {
      const path = typeof location.path === 'string' ? location.path : location.path.file;
      return `${path.replace(/^.*?src\//, '')} ${category.split('/').at(-1)}`;
    });
    return reports.concat((await typeQueries(fixture)).map((file) => `${file} typeQuery`)).sort();
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function check(): Promise<string[]> {
  const problems: string[] = [];
  if (JSON.stringify((await readConfig()).overrides) !== JSON.stringify(overrides())) {
    problems.push('biome.json does not say what the table of floors says: run npm run floors -- --write');
  }
  for (const name of await strangers())
    problems.push(`src/${name} is on no floor: add it to scripts/floors.ts`);
  for (const file of await typeQueries(join(root, 'src'))) {
    // An entry may look at the version of Node before it loads the rest.
    if (ENTRIES.includes(file)) continue;
    problems.push(`src/${file} imports by an expression: use an import statement`);
  }
  const reports = await fixtureReports();
  for (const expected of FIXTURE_BREAKS) {
    if (!reports.includes(expected))
      problems.push(`not reported on the fixture that breaks the rule: ${expected}`);
  }
  for (const report of reports) {
    if (!FIXTURE_BREAKS.includes(report)) problems.push(`reported on the fixture, though lawful: ${report}`);
  }
  return problems;
}

if (process.argv.includes('--help')) {
  for (const [floor, folders] of [...FLOORS.entries()].reverse())
    console.log(`${floor}\t${folders.join('  ')}`);
} else if (process.argv.includes('--write')) {
  const config = { ...(await readConfig()), overrides: overrides() };
  await writeFile(join(root, 'biome.json'), `${JSON.stringify(config, null, 2)}\n`);
  await capture(join(root, 'node_modules', '.bin', 'biome'), ['format', '--write', 'biome.json'], root);
} else {
  const problems = await check();
  for (const problem of problems) console.error(problem);
  if (problems.length === 0)
    console.log(`floors: ${FIXTURE_BREAKS.length} breaks of the fixture are reported`);
  process.exitCode = problems.length === 0 ? 0 : 1;
}
