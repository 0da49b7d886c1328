import { randomInt } from 'node:crypto';
import { createServer } from 'node:net';

/** Below Linux's ephemeral ports (32768 and up), so that no outgoing connection takes a chosen port. */
const FIRST = 20_000;
const LAST = 32_000;
const taken = new Set<number>();

/** A TCP port that is free on IPv4 loopback and was not given out by this process before. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(FIRST, LAST);
    if (taken.has(port) || !(await binds(port))) continue;
    taken.add(port);
    return port;
  }
}

function binds(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen({ port, host: '127.0.0.1', exclusive: true }, () => server.close(() => resolve(true)));
  });
}
