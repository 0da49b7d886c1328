import type { ServerResponse } from 'node:http';
import { CORS_HEADERS } from '../forward/matrix-answer.ts';
import { readSyncRequest } from './sync-request.ts';

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
   * Notes a response, until `letGo`. `target` is the request's own, whose token it is answered with in the end; null
   * where whoever holds the poll answers it by itself when `ending` fires.
   */
  hold(res: ServerResponse, target: string | null): void {
    this.#held.set(res, target);
  }

  letGo(res: ServerResponse): void {
    this.#held.delete(res);
  }

  get count(): number {
    return this.#held.size;
  }

  /** Answers all of them. A poll without a token, or whose answer has begun, is left to end by itself. */
  release(): void {
    this.#ending.abort();
    for (const [res, target] of this.#held) {
      const since = target === null ? null : readSyncRequest(target).since;
      if (since === null || res.headersSent || res.destroyed) continue;
      answerNothingNew(res, since);
    }
    this.#held.clear();
  }
}

/** An empty `/sync` answer whose token does not move. Without one there is none to give: the connection ends. */
export function answerNothingNew(res: ServerResponse, since: string | null): void {
  if (since === null) {
    res.destroy();
    return;
  }
  const body = Buffer.from(JSON.stringify({ next_batch: since }));
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
