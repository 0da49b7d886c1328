import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Dispatcher } from 'undici';
import { DirectExchange, type ForwardOutcome } from './direct-exchange.ts';
import { isIdempotent, ResponseTooLargeError } from './errors.ts';
import { FetchedExchange, type UpstreamResponse } from './fetched-exchange.ts';
import { homeserverUnreachable, sendMatrixError } from './matrix-answer.ts';
import { announcesBody, forwardedHeaders, withoutHeader } from './request-hygiene.ts';
import { cutConnection, writeHead } from './response-head.ts';
import type { TrustedProxies } from './trusted-proxies.ts';
import { UploadBody } from './upload-body.ts';

export interface ForwardOptions {
  /** The target to ask for instead of the request's own, sent byte for byte. */
  readonly path?: string;
  /** The header list to send instead of `forwardedHeaders(req)`. */
  readonly headers?: readonly string[];
  /** The request's body where it has been read already. */
  readonly body?: Uint8Array;
  /** The beginning of the request's body where that much has been read already; the rest follows as it comes. */
  readonly begun?: Uint8Array;
}

export interface FetchOptions extends ForwardOptions {
  /** Ends the request upstream, also in the middle of the body. */
  readonly signal?: AbortSignal;
  /** Ask for an answer without content coding, to read it. */
  readonly dropAcceptEncoding?: boolean;
}

export interface FetchWholeOptions extends FetchOptions {
  readonly maxBytes: number;
}

/** An answer of the homeserver, held in memory. */
export interface WholeResponse {
  readonly status: number;
  readonly rawHeaders: string[];
  readonly body: Buffer;
}

/**
 * Bytes in, bytes out: a request goes to the homeserver as it came, the answer to the client as it was.
 *
 * Kept: the target's bytes; every end-to-end header, its value, order and duplicates, the case of its name;
 * the body's bytes; interim responses; a `Content-Length` on either side.
 *
 * Not kept, as HTTP allows: the place and case of `Host` and `Content-Length` in a request; `Connection`;
 * a zero `Content-Length` (left out on GET and DELETE, written on POST and PUT); the boundaries of chunks,
 * and a chunked body that is already here whole goes with a length; trailers.
 */
export class RawForwarder {
  readonly #upstream: Dispatcher;
  readonly #trusted: TrustedProxies;

  constructor(upstream: Dispatcher, trusted: TrustedProxies) {
    this.#upstream = upstream;
    this.#trusted = trusted;
  }

  /**
   * The fast path: the answer is streamed to the client while it comes. Never rejects; a client that goes
   * away ends the request upstream, an upstream that dies in its answer ends the client's connection.
   */
  forward(req: IncomingMessage, res: ServerResponse, options: ForwardOptions = {}): Promise<ForwardOutcome> {
    const request = this.#request(req, options);
    return new Promise((settle) => {
      new DirectExchange(this.#upstream, request, isRepeatable(request), res, settle).start();
    });
  }

  /**
   * The homeserver's answer, nothing written to the client. Rejects where no answer came. The client's
   * connection is not watched: who wants the request to end with it passes a signal.
   */
  fetch(req: IncomingMessage, options: FetchOptions = {}): Promise<UpstreamResponse> {
    const headers = options.headers ?? forwardedHeaders(req, this.#trusted);
    const request = this.#request(req, {
      ...options,
      headers: options.dropAcceptEncoding ? withoutHeader(headers, 'accept-encoding') : headers,
    });
    const exchange = new FetchedExchange(this.#upstream, request, isRepeatable(request), options.signal);
    exchange.start();
    return exchange.response;
  }

  /** Streams a fetched answer to the client, under the same promises as {@link forward}. */
  pipe(response: UpstreamResponse, res: ServerResponse): Promise<ForwardOutcome> {
    const { body, status } = response;
    if (body.errored) {
      sendMatrixError(res, homeserverUnreachable());
      return Promise.resolve({ kind: 'unanswered', error: body.errored });
    }
    if (res.destroyed) {
      body.destroy();
      return Promise.resolve({ kind: 'client-gone' });
    }
    return new Promise((settle) => {
      res.once('close', () => {
        body.destroy();
        settle({ kind: 'client-gone' });
      });
      body.once('error', (error) => {
        settle({ kind: 'cut', error });
        cutConnection(res);
      });
      body.once('end', () => settle({ kind: 'answered', status }));
      writeHead(res, response);
      if (body.readableLength === 0) res.flushHeaders();
      body.pipe(res);
    });
  }

  /** Rejects with {@link ResponseTooLargeError} above `maxBytes`, else as {@link fetch}. */
  async fetchWhole(req: IncomingMessage, options: FetchWholeOptions): Promise<WholeResponse> {
    const response = await this.fetch(req, options);
    return {
      status: response.status,
      rawHeaders: response.rawHeaders,
      body: await readWhole(response, options.maxBytes),
    };
  }

  #request(req: IncomingMessage, options: ForwardOptions): Dispatcher.DispatchOptions {
    const headers = (options.headers ?? forwardedHeaders(req, this.#trusted)) as string[];
    const path = options.path ?? (req.url as string);
    const method = req.method as Dispatcher.HttpMethod;
    if (options.body !== undefined) {
      return { path, method, headers: withoutHeader(headers, 'content-length'), body: options.body };
    }
    return { path, method, headers, body: announcesBody(req) ? new UploadBody(req, options.begun) : null };
  }
}

/** The whole body of a fetched answer; rejects (and ends the request) above `maxBytes`. */
export async function readWhole(response: UpstreamResponse, maxBytes: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of response.body as AsyncIterable<Buffer>) {
    size += chunk.byteLength;
    if (size > maxBytes) throw new ResponseTooLargeError(maxBytes);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, size);
}

/**
 * The whole body of a fetched answer; null as soon as `mayHold` refuses what has come so far (bytes), and then the
 * body is as if nobody had read of it: to be piped, or destroyed. Rejects where the answer breaks off.
 */
export async function readWhile(
  { body }: UpstreamResponse,
  mayHold: (bytes: number) => boolean,
): Promise<Buffer | null> {
  const chunks: Buffer[] = [];
  let size = 0;
  // Read in a microtask, a body that is here whole has not told its end yet when its bytes are put back.
  await null;
  for await (const chunk of body.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    size += chunk.byteLength;
    chunks.push(chunk);
    if (mayHold(size)) continue;
    for (const read of chunks.reverse()) body.unshift(read);
    return null;
  }
  return Buffer.concat(chunks, size);
}

/** What may be sent a second time when a kept-alive connection turns out to be closed. */
function isRepeatable(request: Dispatcher.DispatchOptions): boolean {
  return isIdempotent(request.method) && !(request.body instanceof UploadBody);
}
