import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';

export interface StartOptions {
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
  /** Standard output and error are appended here; `inherit` shows them. */
  readonly log: string | 'inherit';
}

/** A server that runs as the leader of its own process group. */
export interface RunningProcess {
  readonly pid: number;
  /** Resolves with the exit code, -1 when a signal ended it. */
  readonly exited: Promise<number>;
  readonly running: () => boolean;
  /** SIGTERM, then SIGKILL after `graceMs`; resolves with the exit code (-1: ended by a signal). */
  stop(graceMs?: number): Promise<number>;
  /** SIGKILL to the whole group. */
  kill(): Promise<void>;
}

interface Tracked {
  readonly child: ChildProcess;
  readonly guard: ChildProcess;
}

const live = new Map<number, Tracked>();
let hooked = false;

/**
 * Starts `command` in a process group of its own, which ends with this process however that ends:
 * an exit handler, signal handlers, and a guard that outlives even our SIGKILL.
 */
export function startProcess(
  command: string,
  args: readonly string[],
  options: StartOptions,
): RunningProcess {
  hookExit();
  const log = options.log === 'inherit' ? 'inherit' : openSync(options.log, 'a');
  const child = spawn(command, args, {
    cwd: options.cwd,
    env: options.env ?? process.env,
    detached: true,
    stdio: ['ignore', log, log],
  });
  if (log !== 'inherit') closeSync(log);
  const exited = new Promise<number>((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code) => resolve(code ?? -1));
  });
  exited.catch(() => {});
  const pid = child.pid;
  if (pid === undefined) throw new Error(`${command} cannot be started`);
  live.set(pid, { child, guard: startGuard(pid) });
  void exited.finally(() => release(pid)).catch(() => {});

  const running = () => child.exitCode === null && child.signalCode === null;
  return {
    pid,
    exited,
    running,
    async stop(graceMs = 10_000) {
      if (running()) signalGroup(pid, 'SIGTERM');
      const forced = setTimeout(() => signalGroup(pid, 'SIGKILL'), graceMs);
      try {
        return await exited;
      } finally {
        clearTimeout(forced);
      }
    },
    async kill() {
      if (running()) signalGroup(pid, 'SIGKILL');
      await exited;
    },
  };
}

/** Ends every process started here, at once. */
export function killAll(): void {
  for (const pid of live.keys()) signalGroup(pid, 'SIGKILL');
}

/** Reads a line: all is well, go. Reads the end of input: the parent has died, end its child. */
function startGuard(pid: number): ChildProcess {
  const guard = spawn(
    '/bin/sh',
    ['-c', 'read -r _ || kill -s KILL -- "-$1" 2>/dev/null', 'guard', String(pid)],
    {
      detached: true,
      stdio: ['pipe', 'ignore', 'ignore'],
    },
  );
  guard.stdin?.on('error', () => {});
  guard.unref();
  (guard.stdin as unknown as { unref?: () => void }).unref?.();
  return guard;
}

function release(pid: number): void {
  live.get(pid)?.guard.stdin?.end('done\n');
  live.delete(pid);
}

function signalGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal);
  } catch {
    // The group has ended already.
  }
}

function hookExit(): void {
  if (hooked) return;
  hooked = true;
  process.on('exit', killAll);
  for (const [signal, number] of [
    ['SIGHUP', 1],
    ['SIGINT', 2],
    ['SIGTERM', 15],
  ] as const) {
    process.on(signal, () => process.exit(128 + number));
  }
}
