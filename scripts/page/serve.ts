import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { extname, join, resolve, sep } from 'node:path';

const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.wasm': 'application/wasm',
};

export interface ServedPage {
  /** Where the page is, without query: `http://127.0.0.1:PORT/`. */
  readonly url: string;
  stop(): Promise<void>;
}

/** Serves a folder's files on the loopback, and nothing else. `port` 0 takes a free one. */
export async function servePage(folder: string, port = 0): Promise<ServedPage> {
  const root = resolve(folder);
  const server = createServer((request, response) => {
    void fileOf(root, request.url ?? '/').then((file) => {
      if (!file) return response.writeHead(404, { 'content-type': 'text/plain' }).end('Not found\n');
      return response
        .writeHead(200, { 'content-type': file.type, 'cache-control': 'no-cache' })
        .end(file.bytes);
    });
  });
  await new Promise<void>((done, fail) => {
    server.once('error', fail);
    server.listen(port, '127.0.0.1', done);
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    stop() {
      server.closeAllConnections();
      return new Promise((done) => server.close(() => done()));
    },
  };
}

/** The page with its fields filled in: `room` is an alias, or an ID with the servers to find it through. */
export function pageAddress(
  page: string,
  fields: { homeserver: string; room: string; via?: readonly string[]; user?: string },
): string {
  const address = new URL(page);
  const { via = [], ...rest } = fields;
  for (const [name, value] of Object.entries(rest)) if (value) address.searchParams.set(name, value);
  for (const server of via) address.searchParams.append('via', server);
  return address.href;
}

async function fileOf(root: string, target: string): Promise<{ type: string; bytes: Buffer } | undefined> {
  try {
    const { pathname } = new URL(target, 'http://page');
    const path = join(root, decodeURIComponent(pathname === '/' ? '/index.html' : pathname));
    const type = TYPES[extname(path)];
    if (!path.startsWith(root + sep) || type === undefined) return undefined;
    return { type, bytes: await readFile(path) };
  } catch {
    return undefined;
  }
}
