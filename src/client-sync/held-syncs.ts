import type { ServerResponse } from 'node:http';
import { CORS_HEADERS } from '../forward/matrix-answer.ts';
import { emptyAnswer } from './splice.ts';
import { readSyncRequest } from './sync-request.ts';

/** A place among the held polls. */
export interface HeldSync {
  readonly res: ServerResponse;
  /** The request's own, whose token it is answered with in the end; null where its holder answers by itself. */
  readonly target: string | null;
  place: number;
}

/**
 * Long-polls that are held open. When the process has to end they are answered: "nothing new", with the token
 * that the client came with, so that no client sees an error.
 *
 * Every `/sync` goes through here, so the places are a plain array, filled up from its end: a `Map` keyed by
 * responses was a fifth of what forwarding one costs.
 */
export class HeldSyncs {
  readonly #held: HeldSync[] = [];
  readonly #ending = new AbortController();

  /** Fires when the held polls are to be answered. */
  get ending(): AbortSignal {
    return this.#ending.signal;
  }

  /** Notes a response, until `letGo`. With `null` its holder answers it when `ending` fires. */
  hold(res: ServerResponse, target: string | null): HeldSync {
    const held: HeldSync = { res, target, place: this.#held.length };
    this.#held.push(held);
    return held;
  }

  /** May be called twice. */
  letGo(held: HeldSync): void {
    if (this.#held[held.place] !== held) return;
    const last = this.#held.pop() as HeldSync;
    if (last === held) return;
    last.place = held.place;
    this.#held[held.place] = last;
  }

  get count(): number {
    return this.#held.length;
  }

  /** Answers all of them. A poll without a token, or whose answer has begun, is left to end by itself. */
  release(): void {
    this.#ending.abort();
    for (const { res, target } of this.#held.splice(0)) {
      const since = target === null ? null : readSyncRequest(target).since;
      if (since === null || res.headersSent || res.destroyed) continue;
      answerNothingNew(res, since);
    }
  }
}

/** An empty `/sync` answer whose token does not move. Without one there is none to give: the connection ends. */
export function answerNothingNew(res: ServerResponse, since: string | null): void {
  if (since === null) {
    res.destroy();
    return;
  }
  const body = emptyAnswer(since);
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
