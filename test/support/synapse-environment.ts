import { access, appendFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { startProcess } from './processes.ts';
import { singleFlight } from './single-flight.ts';
import { progress, workDirectory, workRoot } from './work.ts';

/** The homeserver that the tests and the demo run, from PyPI. */
export const SYNAPSE_VERSION = '1.163.2';

const HEARTBEAT_MS = 10_000;

const environment = join(workRoot, 'synapse-venv');
const python = join(environment, 'bin', 'python');
/** Written last: an environment without it is half made. */
const complete = join(environment, `synapse-${SYNAPSE_VERSION}`);
const log = join(workRoot, 'synapse-venv.log');

/**
 * The Python that has Synapse (and with it `cryptography`) installed. The first call of a checkout
 * makes the virtual environment, about a minute; later ones, of any process, find it there.
 */
export async function synapsePython(): Promise<string> {
  workDirectory();
  await singleFlight(join(workRoot, 'synapse-venv.lock'), () => exists(complete), install);
  return python;
}

async function install(): Promise<void> {
  progress(`installing Synapse ${SYNAPSE_VERSION} into .work/synapse-venv (once, about a minute)`);
  const started = Date.now();
  await rm(environment, { recursive: true, force: true });
  await makeEnvironment();
  const packages = ['install', '--progress-bar', 'off', `matrix-synapse==${SYNAPSE_VERSION}`];
  await run(python, ['-m', 'pip', ...packages], 'Synapse cannot be installed from PyPI');
  await writeFile(complete, '');
  progress(`Synapse is installed, ${Math.round((Date.now() - started) / 1000)} s`);
}

/** Debian's python3 comes without what `venv` needs; then its package is fetched, or virtualenv is used. */
async function makeEnvironment(): Promise<void> {
  const make = () => attempt('python3', ['-m', 'venv', environment]);
  if (await make()) return;
  await rm(environment, { recursive: true, force: true });
  if (await attempt('virtualenv', ['-p', 'python3', environment])) return;
  if (process.getuid?.() === 0) {
    progress('python3 has no venv module: installing the Debian package python3-venv');
    await attempt('apt-get', ['update']);
    if (await attempt('apt-get', ['install', '-y', '--no-install-recommends', 'python3-venv'])) {
      if (await make()) return;
    }
  }
  throw new Error(
    `No virtual environment can be made. Install Python 3 with venv ` +
      `(Debian: apt-get install python3-venv) and run this again. What was tried is in ${log}`,
  );
}

async function run(command: string, args: readonly string[], failure: string): Promise<void> {
  if (!(await attempt(command, args))) throw new Error(`${failure}; see ${log}`);
}

async function attempt(command: string, args: readonly string[]): Promise<boolean> {
  await appendFile(log, `$ ${command} ${args.join(' ')}\n`);
  const heartbeat = setInterval(
    () => progress(`still at it: ${command} ${args.slice(0, 3).join(' ')}`),
    HEARTBEAT_MS,
  );
  try {
    const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', PIP_DISABLE_PIP_VERSION_CHECK: '1' };
    return (await startProcess(command, args, { log, env }).exited) === 0;
  } catch (error) {
    await appendFile(log, `${error}\n`);
    return false;
  } finally {
    clearInterval(heartbeat);
  }
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
