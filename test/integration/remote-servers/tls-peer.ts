import type { RequestListener } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';

/** A server of somebody else, on a loopback address. */
export interface TlsPeer {
  readonly port: number;
  /** TCP connections that were made to it. */
  readonly connections: () => number;
  /** Names that were asked for by SNI. */
  readonly serverNames: (string | false | null)[];
  close(): Promise<void>;
}

export async function startTlsPeer(
  identity: { cert: string | Buffer; key: string | Buffer },
  listener: RequestListener,
  address = '127.0.0.1',
): Promise<TlsPeer> {
  const serverNames: (string | false | null)[] = [];
  let connections = 0;
  const server = createServer(identity, listener);
  server.on('connection', () => connections++);
  server.on('secureConnection', (socket) => serverNames.push(socket.servername));
  server.on('tlsClientError', () => {});
  await new Promise<void>((resolve) => server.listen(0, address, resolve));
  return {
    port: (server.address() as AddressInfo).port,
    connections: () => connections,
    serverNames,
    close() {
      server.closeAllConnections();
      return new Promise((resolve) => server.close(() => resolve()));
    },
  };
}
