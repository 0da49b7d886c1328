import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { testCertificates } from '../test/support/certificates.ts';
import { chromiumPath } from '../test/support/chromium.ts';
import { type RunningProcess, startProcess } from '../test/support/processes.ts';
import { tesseractPath } from '../test/support/read-picture.ts';
import { TALLY_FILE, type Tally } from '../test/support/tally-reporter.ts';
import { beginEntry, node, repositoryRoot, workDirectory } from '../test/support/work.ts';

/**
 * The test command: `scripts/test.ts [SLICE [VITEST ARGUMENT…]]`, everything without a slice. The
 * last line it prints, however it ends, is `N passed, N failed`; a step that is not a set of tests
 * counts as one. It fails on any failure and where a slice has no tests.
 */
interface Step {
  readonly name: string;
  readonly command: readonly string[];
  /** A step that takes longer is ended and has failed. */
  readonly minutes: number;
  /** Counted test by test. */
  readonly vitest?: boolean;
  /** What has to be there first, outside of the step's time: the first run installs a homeserver. */
  readonly prepare?: () => Promise<unknown>;
}

const bin = (name: string) => join(repositoryRoot, 'node_modules', '.bin', name);
const slice = (name: string, minutes: number): Step => ({
  name,
  minutes,
  vitest: true,
  command: [bin('vitest'), 'run', '--project', name, '--reporter=default', `--reporter=${reporter}`],
});

const reporter = join(repositoryRoot, 'test', 'support', 'tally-reporter.ts');
const SLICES: Readonly<Record<string, readonly Step[]>> = {
  check: [
    { name: 'typecheck', minutes: 1, command: [bin('tsc'), '-p', 'tsconfig.json'] },
    { name: 'typecheck of the page', minutes: 1, command: [bin('tsc'), '-p', 'scripts/page/browser'] },
    { name: 'lint', minutes: 1, command: [bin('biome'), 'check', '--error-on-warnings', '.'] },
    { name: 'floors', minutes: 1, command: [join('scripts', 'floors.ts')] },
  ],
  unit: [slice('unit', 3)],
  integration: [{ ...slice('integration', 7), prepare: testCertificates }],
  property: [slice('property', 3)],
  simulation: [slice('simulation', 4)],
  e2e: [{ ...slice('e2e', 16), prepare: prepareBrowserTests }],
};

/** Where the browser cannot be had, the tests that need it say so; the others run. */
async function prepareBrowserTests(): Promise<void> {
  await testCertificates();
  for (const install of [chromiumPath, tesseractPath]) await install().catch(() => undefined);
}

beginEntry();
const total = { passed: 0, failed: 0 };
let unfinished: string | undefined;
process.on('exit', (code) => {
  if (unfinished !== undefined) {
    console.log(`${unfinished}: cut off`);
    total.failed++;
  }
  if (code === 0 && total.failed > 0) process.exitCode = 1;
  console.log(`${total.passed} passed, ${total.failed} failed`);
});

const [name, ...vitestArguments] = process.argv.slice(2);
const steps = name === undefined ? Object.values(SLICES).flat() : SLICES[name];
if (!steps) {
  console.error(`There is no slice ${name}: ${Object.keys(SLICES).join(', ')}`);
  total.failed++;
}
for (const step of steps ?? []) {
  console.log(`\n== ${step.name}`);
  const started = performance.now();
  unfinished = step.name;
  const tally = await run(step);
  unfinished = undefined;
  total.passed += tally.passed;
  total.failed += tally.failed;
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  const skipped = tally.skipped > 0 ? `, ${tally.skipped} skipped` : '';
  console.log(`${step.name}: ${tally.passed} passed, ${tally.failed} failed${skipped} (${seconds} s)`);
}
process.exit(total.failed === 0 && total.passed > 0 ? 0 : 1);

async function run(step: Step): Promise<Tally> {
  const file = join(workDirectory('tally'), `${step.name}.json`);
  rmSync(file, { force: true });
  try {
    await step.prepare?.();
  } catch (error) {
    console.log(`${step.name}: cannot be prepared: ${error instanceof Error ? error.message : error}`);
    return { passed: 0, failed: 1, skipped: 0 };
  }
  const args = step.vitest ? [...step.command, ...vitestArguments] : step.command;
  const child = startProcess(node, args, {
    cwd: repositoryRoot,
    env: { ...process.env, [TALLY_FILE]: file },
    log: 'inherit',
  });
  const succeeded = (await exitCode(child, step)) === 0;
  if (!step.vitest) return { passed: succeeded ? 1 : 0, failed: succeeded ? 0 : 1, skipped: 0 };
  return judge(step.name, succeeded, countsIn(file));
}

function exitCode(child: RunningProcess, step: Step): Promise<number> {
  const deadline = setTimeout(() => {
    console.log(`${step.name}: ended after ${step.minutes} minutes`);
    void child.kill();
  }, step.minutes * 60_000);
  return child.exited.finally(() => clearTimeout(deadline));
}

/** A run that failed without a failed test, and one without any test, count as a failure. */
function judge(slice: string, succeeded: boolean, tally: Tally): Tally {
  const silent = !succeeded && tally.failed === 0;
  const empty = tally.passed + tally.failed === 0;
  if (empty) console.log(`${slice}: no test was run`);
  return silent || empty ? { ...tally, failed: tally.failed + 1 } : tally;
}

function countsIn(file: string): Tally {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as Tally;
  } catch {
    return { passed: 0, failed: 0, skipped: 0 };
  }
}
