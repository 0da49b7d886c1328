import type { ServerResponse } from 'node:http';
import { type Dispatcher, errors } from 'undici';
import { MatrixError } from '../platform/matrix-error.ts';
import { ClientGoneError, isStaleConnection } from './errors.ts';
import { homeserverUnreachable, sendMatrixError } from './matrix-answer.ts';
import { cutConnection, type ResponseHead, readHead, writeHead, writeInterim } from './response-head.ts';

/** How forwarding ended. Whatever it was, the client has been answered or its connection is closed. */
export type ForwardOutcome =
  | { readonly kind: 'answered'; readonly status: number }
  /** No answer came; the client got one of ours (502, or 400 for what cannot be sent at all). */
  | { readonly kind: 'unanswered'; readonly error: Error }
  /** The answer broke off in the middle; the client's connection was cut as well. */
  | { readonly kind: 'cut'; readonly error: Error }
  | { readonly kind: 'client-gone' };

/**
 * One request on the fast path: undici's callbacks write straight into the client's response. What arrives
 * in one read is written in one write; what is slow in coming leaves at once.
 */
export class DirectExchange implements Dispatcher.DispatchHandler {
  readonly #upstream: Dispatcher;
  readonly #request: Dispatcher.DispatchOptions;
  readonly #res: ServerResponse;
  readonly #settle: (outcome: ForwardOutcome) => void;
  #repeatable: boolean;
  #controller: Dispatcher.DispatchController | null = null;
  #head: ResponseHead | null = null;
  #held: Buffer | null = null;
  #flushed = false;
  #settled = false;

  constructor(
    upstream: Dispatcher,
    request: Dispatcher.DispatchOptions,
    repeatable: boolean,
    res: ServerResponse,
    settle: (outcome: ForwardOutcome) => void,
  ) {
    this.#upstream = upstream;
    this.#request = request;
    this.#repeatable = repeatable;
    this.#res = res;
    this.#settle = settle;
  }

  start(): void {
    this.#res.on('close', this.#onClientClosed);
    // A response that waits behind a pipelined one has no connection yet: only the request hears of its end.
    if (this.#res.socket === null) {
      const { req } = this.#res;
      req.on('close', () => {
        if (!req.readableEnded) this.#onClientClosed();
      });
    }
    this.#upstream.dispatch(this.#request, this);
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    if (this.#settled) controller.abort(new ClientGoneError());
  }

  onResponseStart(
    controller: Dispatcher.DispatchController,
    status: number,
    _headers: unknown,
    reason?: string,
  ): void {
    if (this.#settled) return;
    const head = readHead(controller, status, reason);
    if (status < 200) {
      writeInterim(this.#res, head);
      return;
    }
    this.#head = head;
    writeHead(this.#res, head);
    queueMicrotask(this.#flush);
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.#settled) return;
    if (this.#held === null && !this.#flushed) {
      this.#held = chunk;
      return;
    }
    this.#writeHeld();
    if (!this.#res.write(chunk)) this.#pause(controller);
  }

  onResponseEnd(): void {
    if (this.#settled || this.#head === null) return;
    this.#finish({ kind: 'answered', status: this.#head.status });
    if (this.#held === null) this.#res.end();
    else this.#res.end(this.#held);
  }

  onResponseError(_controller: Dispatcher.DispatchController | null, error: Error): void {
    if (this.#settled) return;
    if (this.#head !== null) {
      this.#finish({ kind: 'cut', error });
      cutConnection(this.#res);
      return;
    }
    if (this.#repeatable && isStaleConnection(error)) {
      this.#repeatable = false;
      this.#upstream.dispatch(this.#request, this);
      return;
    }
    this.#finish({ kind: 'unanswered', error });
    sendMatrixError(this.#res, unansweredAs(error));
  }

  readonly #flush = (): void => {
    this.#flushed = true;
    if (this.#settled) return;
    if (this.#held === null) this.#res.flushHeaders();
    else if (!this.#writeHeld() && this.#controller) this.#pause(this.#controller);
  };

  readonly #onClientClosed = (): void => {
    if (this.#settled) return;
    this.#finish({ kind: 'client-gone' });
    this.#controller?.abort(new ClientGoneError());
  };

  /** False where the client is slower than upstream. */
  #writeHeld(): boolean {
    const held = this.#held;
    if (held === null) return true;
    this.#held = null;
    return this.#res.write(held);
  }

  #pause(controller: Dispatcher.DispatchController): void {
    controller.pause();
    this.#res.once('drain', () => controller.resume());
  }

  #finish(outcome: ForwardOutcome): void {
    this.#settled = true;
    this.#settle(outcome);
  }
}

/** A request that undici would not send is the client's fault, everything else the homeserver's. */
export function unansweredAs(error: Error): MatrixError {
  if (error instanceof errors.InvalidArgumentError) {
    return new MatrixError(400, 'M_INVALID_PARAM', `The request cannot be forwarded: ${error.message}`);
  }
  return homeserverUnreachable();
}
