import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { extname } from 'node:path';
import type { PageFiles } from './build.ts';

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

/** Serves these files on the loopback, and nothing else; `/` is `index.html`. `port` 0 takes a free one. */
export async function servePage(files: PageFiles, port = 0): Promise<ServedPage> {
  const server = createServer((request, response) => {
    const [path = ''] = (request.url ?? '').split('?', 1);
    const name = path === '/' ? '/index.html' : path;
    const [type, content] = [TYPES[extname(name)], files.get(name)];
    if (type === undefined || content === undefined) {
      response.writeHead(404, { 'content-type': 'text/plain' }).end('Not found\n');
    } else {
      response.writeHead(200, { 'content-type': type, 'cache-control': 'no-cache' }).end(content);
    }
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
