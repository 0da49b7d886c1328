import { access, appendFile, constants } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { startProcess } from './processes.ts';
import { singleFlight } from './single-flight.ts';
import { progress, workDirectory, workRoot } from './work.ts';

const HEARTBEAT_MS = 10_000;
/** Another installation may be under way, on whose lock apt-get then waits, s. */
const LOCK_TIMEOUT = 'DPkg::Lock::Timeout=300';

const log = join(workRoot, 'debian-packages.log');

/**
 * The path of `command`, and of any further ones in order, after installing Debian's packages where one is
 * missing (as root; several processes may ask at once). Throws a sentence that says what to install.
 */
export async function debianCommands(
  commands: readonly string[],
  packages: readonly string[],
): Promise<string[]> {
  const present = await find(commands);
  if (present) return present;
  const wanted = packages.join(' ');
  if (process.getuid?.() === 0) {
    workDirectory();
    const done = async () => (await find(commands)) !== undefined;
    await singleFlight(join(workRoot, 'debian-packages.lock'), done, () => install(packages));
    const installed = await find(commands);
    if (installed) return installed;
    throw new Error(`apt-get could not install ${wanted} (see ${log}). Install ${commands.join(' and ')}.`);
  }
  throw new Error(
    `${commands.join(' and ')} not found, and only root can install them. ` +
      `Debian: sudo apt-get install --no-install-recommends ${wanted}`,
  );
}

async function install(packages: readonly string[]): Promise<void> {
  progress(`installing Debian's packages ${packages.join(', ')} (once, a minute or two)`);
  const started = Date.now();
  await run(['update', '-qq']);
  await run(['install', '-qq', '-y', '--no-install-recommends', ...packages]);
  progress(`${packages.join(', ')}: ${Math.round((Date.now() - started) / 1000)} s`);
}

async function run(args: readonly string[]): Promise<void> {
  const command = ['-o', LOCK_TIMEOUT, ...args];
  await appendFile(log, `$ apt-get ${command.join(' ')}\n`);
  const heartbeat = setInterval(() => progress(`still at it: apt-get ${args[0]}`), HEARTBEAT_MS);
  try {
    const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
    await startProcess('apt-get', command, { log, env }).exited;
  } catch (error) {
    await appendFile(log, `${error}\n`);
  } finally {
    clearInterval(heartbeat);
  }
}

/** The path of each, or `undefined` when one is not on the PATH. */
async function find(commands: readonly string[]): Promise<string[] | undefined> {
  const found = await Promise.all(commands.map(onPath));
  return found.every((path) => path !== undefined) ? found : undefined;
}

async function onPath(command: string): Promise<string | undefined> {
  for (const folder of (process.env.PATH ?? '').split(delimiter)) {
    const path = join(folder, command);
    if (folder !== '' && (await isExecutable(path))) return path;
  }
  return undefined;
}

function isExecutable(path: string): Promise<boolean> {
  return access(path, constants.X_OK).then(
    () => true,
    () => false,
  );
}
