import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { serveParent } from './child.ts';

/** Listens on a free port of the loopback and reports to the parent process. */
export function serve(
  server: Server,
  answer: (question: unknown) => Promise<unknown> | unknown = () => null,
): void {
  server.listen(0, '127.0.0.1', () => serveParent((server.address() as AddressInfo).port, answer));
}
