import type { ServerResponse } from 'node:http';
import { CORS_HEADERS } from '../forward/matrix-answer.ts';

/**
 * Long-polls that are held open. When the process has to end they are answered: "nothing new", with the token
 * that the client came with, so that no client sees an error.
 */
export class HeldSyncs {
  readonly #held = new Map<ServerResponse, string | null>();
  readonly #ending = new AbortController();

  /** Fires when the held polls are to be answered. */
  get ending(): AbortSignal {
    return this.#ending.signal;
  }

  /**
   * Notes a response until the returned function is called. `token` is the client's own, to be answered with in
   * the end; null where it has none, or whoever holds the poll answers it when `ending` fires.
   */
  hold(res: ServerResponse, token: string | null): () => void {
    this.#held.set(res, token);
    return () => this.#held.delete(res);
  }

  get count(): number {
    return this.#held.size;
  }

  /** Answers all of them. A poll without a token, or whose answer has begun, is left to end by itself. */
  release(): void {
    this.#ending.abort();
    for (const [res, token] of this.#held) {
      if (token === null || res.headersSent || res.destroyed) continue;
      answerNothingNew(res, token);
    }
    this.#held.clear();
  }
}

/** An empty `/sync` answer whose token does not move. */
export function answerNothingNew(res: ServerResponse, token: string): void {
  const body = Buffer.from(JSON.stringify({ next_batch: token }));
  res.writeHead(200, [
    ...CORS_HEADERS,
    'Content-Type',
    'application/json',
    'Content-Length',
    String(body.byteLength),
    'Connection',
    'close',
  ]);
  res.end(body);
}
