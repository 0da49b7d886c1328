import http, { type IncomingHttpHeaders, type Server } from 'node:http';
import { type Duplex, duplexPair } from 'node:stream';
import { HttpError } from '../../../src/platform/http-client.ts';
import type { Stage } from './stage.ts';

export interface Exchange {
  readonly method: string;
  /** The raw target. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array;
  readonly signal?: AbortSignal;
}

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

/** What befalls an exchange on its way. */
export type Weather = 'fair' | 'no-connection' | 'answer-lost';

/** HTTP between processes of one simulation: real requests and answers over connections in memory. */
export class MemoryNet {
  readonly #stage: Stage;
  readonly #servers = new Map<string, Server>();
  readonly #connections = new Map<Server, Set<() => void>>();
  /** Asked for each exchange between two servers. */
  weather: (from: string, to: string) => Weather = () => 'fair';

  constructor(stage: Stage) {
    this.#stage = stage;
  }

  /** From now on requests for this name go to this server. */
  listen(name: string, server: Server): void {
    this.#servers.set(name, server);
    this.#connections.set(server, new Set());
  }

  /** The process is gone: its connections with it. */
  gone(name: string, server: Server): void {
    if (this.#servers.get(name) === server) this.#servers.delete(name);
    for (const cut of [...(this.#connections.get(server) ?? [])]) cut();
    this.#connections.delete(server);
  }

  /** One request and its whole answer. Rejects with `HttpError` alone. */
  async exchange(from: string, to: string, exchange: Exchange): Promise<Answer> {
    const server = this.#servers.get(to);
    const weather = this.weather(from, to);
    this.#stage.stir();
    if (server === undefined || weather === 'no-connection') throw refused(to);
    const answer = await this.#send(server, to, exchange);
    if (weather === 'answer-lost') throw new HttpError('connection', `${to}: the answer was lost`);
    return answer;
  }

  #send(server: Server, to: string, exchange: Exchange): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const [ours, theirs] = duplexPair();
      const cut = () => {
        ours.destroy();
        theirs.destroy();
        this.#stage.stir();
      };
      const connections = this.#connections.get(server);
      connections?.add(cut);
      exchange.signal?.addEventListener('abort', cut, { once: true });
      const end = (settle: () => void) => {
        connections?.delete(cut);
        exchange.signal?.removeEventListener('abort', cut);
        cut();
        settle();
      };
      const broken = () => end(() => reject(new HttpError('connection', `${to}: the connection broke`)));
      theirs.on('error', () => {});
      server.emit('connection', theirs);
      const { method, path, headers, body } = exchange;
      const length = body === undefined ? {} : { 'content-length': String(Buffer.byteLength(body)) };
      const options = { method, path, headers: { host: to, connection: 'close', ...headers, ...length } };
      const request = http.request({ ...options, createConnection: () => ours as Duplex });
      request.on('error', broken);
      request.on('response', (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => {
          this.#stage.stir();
          chunks.push(chunk);
        });
        response.on('aborted', broken);
        response.on('error', broken);
        response.on('end', () =>
          end(() =>
            resolve({
              status: response.statusCode ?? 0,
              headers: response.headers,
              body: Buffer.concat(chunks),
            }),
          ),
        );
      });
      request.end(body);
    });
  }
}

function refused(to: string): HttpError {
  const cause = Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' });
  return new HttpError('connection', `${to}: connect ECONNREFUSED`, cause);
}
