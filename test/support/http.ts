import { request } from 'undici';

/** A JSON value's fields as they come: what a test reads of it, it checks itself. */
export type Json = Record<string, unknown>;

/** One answer: parsed where it was a JSON object, else `{}`; `text` is the body as received. */
export interface Answer {
  readonly status: number;
  readonly headers: Record<string, string | string[] | undefined>;
  readonly body: Json;
  readonly text: string;
  /** From sending until the body's last byte. */
  readonly ms: number;
}

export interface SendOptions {
  readonly token?: string;
  /** Sent as JSON. */
  readonly body?: unknown;
  readonly headers?: Record<string, string>;
  /** Default 60 000. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

/**
 * One request on a connection of its own, so that a server which was just restarted is never asked
 * over a socket that died with it. The target goes out byte for byte.
 */
export async function send(
  origin: string,
  method: string,
  target: string,
  options: SendOptions = {},
): Promise<Answer> {
  const timeout = AbortSignal.timeout(options.timeoutMs ?? 60_000);
  const started = performance.now();
  const response = await request(origin + target, {
    method,
    reset: true,
    headersTimeout: 0,
    bodyTimeout: 0,
    signal: options.signal ? AbortSignal.any([timeout, options.signal]) : timeout,
    headers: {
      ...(options.token && { authorization: `Bearer ${options.token}` }),
      ...(options.body !== undefined && { 'content-type': 'application/json' }),
      ...options.headers,
    },
    body: options.body === undefined ? null : JSON.stringify(options.body),
  });
  const text = await response.body.text();
  const ms = performance.now() - started;
  return { status: response.statusCode, headers: response.headers, body: asObject(text), text, ms };
}

function asObject(text: string): Json {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Json) : {};
  } catch {
    return {};
  }
}
