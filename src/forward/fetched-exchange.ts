import { Readable } from 'node:stream';
import type { Dispatcher } from 'undici';
import { ClientGoneError, isStaleConnection } from './errors.ts';
import { type ResponseHead, readHead } from './response-head.ts';

/** An answer of the homeserver that nobody has been sent yet. Its body must be read or destroyed. */
export interface UpstreamResponse extends ResponseHead {
  readonly body: Readable;
}

/** One request whose answer is handed over instead of being written to the client. */
export class FetchedExchange implements Dispatcher.DispatchHandler {
  readonly response: Promise<UpstreamResponse>;
  readonly #upstream: Dispatcher;
  readonly #request: Dispatcher.DispatchOptions;
  readonly #signal: AbortSignal | undefined;
  #repeatable: boolean;
  #controller: Dispatcher.DispatchController | null = null;
  #body: ResponseBody | null = null;
  #resolve!: (response: UpstreamResponse) => void;
  #reject!: (error: Error) => void;

  constructor(
    upstream: Dispatcher,
    request: Dispatcher.DispatchOptions,
    repeatable: boolean,
    signal: AbortSignal | undefined,
  ) {
    this.#upstream = upstream;
    this.#request = request;
    this.#repeatable = repeatable;
    this.#signal = signal;
    this.response = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  start(): void {
    this.#signal?.addEventListener('abort', this.#onAbort, { once: true });
    if (this.#signal?.aborted) this.#end(abortReason(this.#signal));
    else this.#upstream.dispatch(this.#request, this);
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    if (this.#signal?.aborted) controller.abort(abortReason(this.#signal));
  }

  onResponseStart(
    controller: Dispatcher.DispatchController,
    status: number,
    _headers: unknown,
    reason?: string,
  ): void {
    if (status < 200) return;
    this.#body = new ResponseBody(controller);
    this.#resolve({ ...readHead(controller, status, reason), body: this.#body });
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.#body?.push(chunk) === false) controller.pause();
  }

  onResponseEnd(): void {
    this.#signal?.removeEventListener('abort', this.#onAbort);
    this.#body?.finish();
  }

  onResponseError(_controller: Dispatcher.DispatchController | null, error: Error): void {
    if (this.#body === null && this.#repeatable && !this.#signal?.aborted && isStaleConnection(error)) {
      this.#repeatable = false;
      this.#upstream.dispatch(this.#request, this);
      return;
    }
    this.#end(error);
  }

  readonly #onAbort = (): void => {
    const reason = abortReason(this.#signal);
    if (this.#controller === null) this.#end(reason);
    else this.#controller.abort(reason);
  };

  #end(error: Error): void {
    this.#signal?.removeEventListener('abort', this.#onAbort);
    if (this.#body === null) this.#reject(error);
    else this.#body.destroy(error);
  }
}

/** The body of a fetched answer. Destroyed before its end, it aborts the request upstream. */
class ResponseBody extends Readable {
  readonly #controller: Dispatcher.DispatchController;
  #complete = false;

  constructor(controller: Dispatcher.DispatchController) {
    super();
    this.#controller = controller;
    // It may break off before anybody reads it: whoever reads then finds it errored.
    this.on('error', () => {});
  }

  finish(): void {
    this.#complete = true;
    this.push(null);
  }

  override _read(): void {
    this.#controller.resume();
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    if (!this.#complete) this.#controller.abort(error ?? new ClientGoneError());
    callback(error);
  }
}

function abortReason(signal: AbortSignal | undefined): Error {
  return signal?.reason instanceof Error ? signal.reason : new ClientGoneError();
}
