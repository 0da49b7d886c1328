// Runs one of the project's TypeScript entries on the Node 24 of node_modules, after seeing to it
// that node_modules is there and is what package-lock.json says. Plain JavaScript, and nothing but
// Node's own modules: on a fresh clone this is all that can run, on whatever Node npm itself runs.
//
//   node scripts/run.js ENTRY [ARGUMENT…]
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const modules = join(root, 'node_modules');
const node24 = join(modules, 'node', 'bin', 'node');
const FORWARDED = ['SIGINT', 'SIGTERM', 'SIGHUP'];

function fail(reason) {
  console.error(reason);
  process.exit(1);
}

function packagesOf(path) {
  try {
    return JSON.parse(readFileSync(path, 'utf8')).packages ?? {};
  } catch {
    return undefined;
  }
}

/** npm writes down what it has installed; packages that are optional (for other platforms) may be missing. */
function isInstalled() {
  const wanted = packagesOf(join(root, 'package-lock.json'));
  const installed = packagesOf(join(modules, '.package-lock.json'));
  if (!wanted) fail('package-lock.json cannot be read');
  if (!installed || !existsSync(node24)) return false;
  return Object.entries(wanted).every(
    ([path, { version, optional, peer }]) =>
      path === '' || (installed[path] ? installed[path].version === version : optional || peer),
  );
}

async function install() {
  const started = Date.now();
  const seconds = () => Math.round((Date.now() - started) / 1000);
  console.error('· installing the packages of package-lock.json (npm ci, about half a minute)');
  const heartbeat = setInterval(() => console.error(`· npm ci is at it, ${seconds()} s`), 5000);
  const args = ['ci', '--no-audit', '--no-fund', '--loglevel=error'];
  const npm = process.env.npm_execpath;
  const child = npm
    ? spawn(process.execPath, [npm, ...args], { cwd: root, stdio: 'inherit' })
    : spawn('npm', args, { cwd: root, stdio: 'inherit' });
  const code = await new Promise((resolve) => {
    child.once('error', () => resolve(127));
    child.once('exit', (status) => resolve(status ?? 1));
  });
  clearInterval(heartbeat);
  if (code !== 0) fail(`npm ci failed (${code}): is the npm registry reachable?`);
  console.error(`· packages are installed, ${seconds()} s`);
}

function requireNode24() {
  const { stdout } = spawnSync(node24, ['--version'], { encoding: 'utf8' });
  const major = Number(/^v(\d+)\./.exec(stdout ?? '')?.[1]);
  if (major >= 24) return;
  fail(
    `${node24} is not Node 24 (it says ${stdout?.trim() || 'nothing'}). ` +
      'It comes with npm ci, unless npm is set to ignore install scripts: npm config get ignore-scripts',
  );
}

/**
 * The entry ends with us, even by SIGKILL: it sees the IPC channel close. We end with npm, which may
 * be killed without a word to us: our parent is then another.
 */
function run(entry, args) {
  const child = spawn(node24, [join(root, entry), ...args], {
    stdio: ['inherit', 'inherit', 'inherit', 'ipc'],
    env: { ...process.env, PATH: `${join(modules, '.bin')}${delimiter}${process.env.PATH ?? ''}` },
  });
  for (const signal of FORWARDED) process.on(signal, () => child.kill(signal));
  const parent = process.ppid;
  setInterval(() => process.ppid === parent || process.exit(129), 500).unref();
  child.once('error', (error) => fail(`${node24} cannot be started: ${error.message}`));
  child.once('exit', (code, signal) => process.exit(code ?? 128 + (constants.signals[signal] ?? 0)));
}

const [entry, ...args] = process.argv.slice(2);
if (!entry) fail('usage: node scripts/run.js ENTRY [ARGUMENT…]');
if (Number(process.versions.node.split('.')[0]) < 20)
  fail(`Node 20 or newer is needed, this is ${process.version}`);
if (!isInstalled()) await install();
requireNode24();
run(entry, args);
