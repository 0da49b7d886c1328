import type { IncomingHttpHeaders } from 'node:http';
import type { Dispatcher } from 'undici';
import { type Clock, systemClock } from './clock.ts';
import { CollectedBody, LARGE_BODY_BYTES } from './collected-body.ts';
import { untrustedCertificate } from './untrusted-certificate.ts';

export interface HttpRequest {
  readonly method: 'GET' | 'PUT' | 'POST' | 'DELETE';
  /** Scheme, host and port: `http://127.0.0.1:8008`. */
  readonly origin: string;
  /** Raw target with query, sent byte for byte. */
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array;
  /** From the call to the last byte of the answer: drips do not extend it. */
  readonly timeoutMs: number;
  /** A longer answer is an error, never cut. */
  readonly maxBytes: number;
  /** Called when more than `LARGE_BODY_BYTES` have come; no more is read until this resolves. */
  readonly beforeLarge?: () => Promise<void>;
  readonly signal?: AbortSignal;
  /**
   * May be sent a second time when the connection broke before an answer began (a kept-alive socket that
   * the other side has just closed). Default: for GET.
   */
  readonly repeatable?: boolean;
}

export interface HttpResponse {
  readonly status: number;
  /** Lower-case names. */
  readonly headers: IncomingHttpHeaders;
  /** Over `LARGE_BODY_BYTES` in shared memory. */
  readonly body: Buffer;
}

export type HttpClient = (request: HttpRequest) => Promise<HttpResponse>;

const NO_CONNECTION: ReadonlySet<string | null> = new Set([
  'CERT_HAS_EXPIRED',
  'CERT_NOT_YET_VALID',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'EAI_AGAIN',
  'ECONNREFUSED',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENOTFOUND',
  'ERR_ADDRESS_REFUSED',
  'ERR_TLS_CERT_ALTNAME_INVALID',
  'ETIMEDOUT',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'UND_ERR_CONNECT_TIMEOUT',
]);

export type HttpFailure = 'timeout' | 'too_large' | 'aborted' | 'connection';

/** No answer, or not a whole one. The message names no path: targets may hold tokens. */
export class HttpError extends Error {
  override readonly name = 'HttpError';
  readonly reason: HttpFailure;
  /** There was no connection, so nothing of the request was sent: another address may be tried. */
  readonly nothingSent: boolean;

  constructor(reason: HttpFailure, message: string, cause?: unknown) {
    super(message, { cause });
    this.reason = reason;
    this.nothingSent =
      reason === 'connection' && (cause instanceof NotConnectedError || NO_CONNECTION.has(codeOf(cause)));
  }
}

/** A connection was not made, whatever the reason, up to the end of its TLS handshake. */
export class NotConnectedError extends Error {
  override readonly name = 'NotConnectedError';
  /** That of what went wrong. */
  readonly code: string | undefined;
  constructor(cause: Error) {
    super(cause.message === '' ? (codeOf(cause) ?? 'no connection') : cause.message, { cause });
    this.code = codeOf(cause) ?? undefined;
  }
}

/** One way out: everything that is requested through it leaves by `dispatcher`. */
export function createHttpClient(dispatcher: Dispatcher, clock: Clock = systemClock): HttpClient {
  return (request) => httpRequest(dispatcher, request, clock);
}

/**
 * One request and its whole answer, any status. Redirects are not followed and nothing is decompressed (no
 * `Accept-Encoding` is sent). Rejects with `HttpError` alone.
 */
export async function httpRequest(
  dispatcher: Dispatcher,
  request: HttpRequest,
  clock: Clock = systemClock,
): Promise<HttpResponse> {
  const abort = new AbortController();
  const cancelled = () =>
    abort.abort(new HttpError('aborted', `${request.origin}: the request was cancelled`));
  if (request.signal?.aborted) cancelled();
  request.signal?.addEventListener('abort', cancelled, { once: true });
  const timer = clock.after(request.timeoutMs, () => {
    abort.abort(
      new HttpError('timeout', `${request.origin}: no whole answer within ${request.timeoutMs} ms`),
    );
  });
  try {
    return await exchange(dispatcher, request, abort);
  } catch (error) {
    throw asHttpError(request, abort.signal.aborted ? abort.signal.reason : error);
  } finally {
    timer.cancel();
    request.signal?.removeEventListener('abort', cancelled);
  }
}

async function exchange(
  dispatcher: Dispatcher,
  request: HttpRequest,
  abort: AbortController,
): Promise<HttpResponse> {
  const answer = await begin(dispatcher, request, abort.signal);
  const announced = Number(answer.headers['content-length'] ?? 0);
  const body = new CollectedBody(request.maxBytes);
  let large = false;
  const tooLarge = () => {
    abort.abort(
      new HttpError('too_large', `${request.origin}: the answer is over ${request.maxBytes} bytes`),
    );
    throw abort.signal.reason;
  };
  answer.body.on('error', () => {});
  if (announced > request.maxBytes) tooLarge();
  for await (const chunk of answer.body as AsyncIterable<Buffer>) {
    const length = body.length + chunk.length;
    if (length > request.maxBytes) tooLarge();
    if (length > LARGE_BODY_BYTES && !large) {
      large = true;
      await request.beforeLarge?.();
    }
    body.add(chunk);
  }
  return { status: answer.statusCode, headers: answer.headers, body: body.bytes() };
}

async function begin(
  dispatcher: Dispatcher,
  request: HttpRequest,
  signal: AbortSignal,
): Promise<Dispatcher.ResponseData> {
  const options: Dispatcher.RequestOptions & { origin: string } = {
    origin: request.origin,
    path: request.path,
    method: request.method,
    headers: { ...request.headers },
    body: request.body ?? null,
    signal,
    // The total above is the only limit: the dispatcher's own ones would end long-polls.
    headersTimeout: 0,
    bodyTimeout: 0,
  };
  try {
    return await dispatcher.request(options);
  } catch (error) {
    const again = (request.repeatable ?? request.method === 'GET') && closedUnderUs(error);
    if (!again || signal.aborted) throw error;
    return await dispatcher.request(options);
  }
}

function closedUnderUs(error: unknown): boolean {
  const code = codeOf(error);
  return code === 'UND_ERR_SOCKET' || code === 'ECONNRESET' || code === 'EPIPE';
}

function codeOf(error: unknown): string | null {
  if (!(error instanceof Error) || !('code' in error)) return null;
  return typeof error.code === 'string' ? error.code : null;
}

function asHttpError(request: HttpRequest, error: unknown): HttpError {
  if (error instanceof HttpError) return error;
  const said = error instanceof Error && error.message !== '' ? error.message : codeOf(error);
  const text = untrustedCertificate(error) ?? said;
  return new HttpError('connection', `${request.origin}: ${text ?? 'the connection failed'}`, error);
}
