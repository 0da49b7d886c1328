import { get } from 'node:http';
import type { ListenAddress } from '../config/kinds.ts';

const TIMEOUT_MS = 5_000;

/** Asks the ops listener of a running proxy. Resolves with an exit code: 0 unless it is red or does not answer. */
export function checkHealth(listen: ListenAddress): Promise<number> {
  return new Promise((resolve) => {
    const request = get(
      { host: reachable(listen.host), port: listen.port, path: '/health', timeout: TIMEOUT_MS },
      (response) => {
        response.resume();
        process.stdout.write(`${response.statusCode}\n`);
        resolve(response.statusCode === 200 ? 0 : 1);
      },
    );
    request.on('timeout', () => request.destroy(new Error('no answer in time')));
    request.on('error', (error) => {
      process.stderr.write(`${error.message}\n`);
      resolve(1);
    });
  });
}

/** A wildcard address is listened on, not connected to. */
function reachable(host: string): string {
  if (host === '0.0.0.0') return '127.0.0.1';
  return host === '::' ? '::1' : host;
}
