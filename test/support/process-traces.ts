import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

/** A listening socket in `/proc/net/tcp`. */
const LISTEN = '0A';

/**
 * The processes, whoever started them, that have `NAME=value` in the environment they began with: children pass
 * it on to theirs, so this finds those too that were detached. Linux only.
 */
export function processesWith(name: string, value: string): number[] {
  return numbersIn('/proc').filter((pid) =>
    textOf(`/proc/${pid}/environ`).split('\0').includes(`${name}=${value}`),
  );
}

/** The TCP ports on which these processes listen. Linux only. */
export function listeningPorts(pids: readonly number[]): number[] {
  const portOf = new Map<string, number>();
  for (const table of ['/proc/net/tcp', '/proc/net/tcp6']) {
    for (const line of textOf(table).split('\n').slice(1)) {
      const [, local = '', , state, , , , , , inode = ''] = line.trim().split(/\s+/);
      if (state === LISTEN) portOf.set(inode, Number.parseInt(local.split(':').at(-1) ?? '', 16));
    }
  }
  const sockets = pids.flatMap((pid) =>
    numbersIn(`/proc/${pid}/fd`).map((fd) => linkOf(`/proc/${pid}/fd/${fd}`)),
  );
  const ports = sockets.map((link) => portOf.get(/^socket:\[(\d+)\]$/.exec(link)?.[1] ?? ''));
  return [...new Set(ports.filter((port) => port !== undefined))];
}

function numbersIn(directory: string): number[] {
  return attempt(() => readdirSync(directory), [] as string[])
    .map(Number)
    .filter(Number.isInteger);
}

const textOf = (path: string) => attempt(() => readFileSync(path, 'utf8'), '');
const linkOf = (path: string) => attempt(() => readlinkSync(path), '');

/** A process may end while it is looked at. */
function attempt<T>(read: () => T, otherwise: T): T {
  try {
    return read();
  } catch {
    return otherwise;
  }
}
