import type { IncomingMessage } from 'node:http';
import { isObject, type JsonObject } from '../matrix/json.ts';
import { type JsonLimits, parseJson } from '../matrix/json-scan.ts';
import { parseXMatrix } from '../matrix/x-matrix.ts';
import type { Clock } from '../platform/clock.ts';
import { DeadlineError, withDeadline } from '../platform/deadline.ts';
import { MatrixError } from '../platform/matrix-error.ts';
import type { ReceivedRequest } from '../remote-servers/request-authenticator.ts';

/** Returns the server that signed the request. Rejects with `MatrixError` 401, also when `signal` aborts. */
export type Authenticate = (request: ReceivedRequest, signal?: AbortSignal) => Promise<string>;

/** However slowly it drips, a body is waited for no longer. */
const BODY_MS = 60_000;

/** Reads the body: a JSON object or nothing. Rejects with `MatrixError` 400, 408 and 413, and `JsonError`. */
export async function readSigned(
  req: IncomingMessage,
  maxBytes: number,
  clock: Clock,
): Promise<ReceivedRequest> {
  return toSigned(req, await readBody(req, maxBytes, clock));
}

/** The same of a body that has been read. Throws `MatrixError` 400 and `JsonError`. */
export function toSigned(req: IncomingMessage, body: Uint8Array, limits: JsonLimits = {}): ReceivedRequest {
  return {
    method: req.method ?? '',
    rawUrl: rawTarget(req),
    authorizationHeaders: authorizationHeaders(req),
    ...(body.length === 0 ? { content: undefined } : { content: parseObject(body, limits), bytes: body }),
  };
}

/** 413. What has been read of the body is here, the rest can still be read. */
export class BodyTooLong extends MatrixError {
  readonly begun: Buffer;
  constructor(maxBytes: number, begun: Buffer) {
    super(413, 'M_TOO_LARGE', `The body is larger than ${maxBytes} bytes`);
    this.begun = begun;
  }
}

/**
 * Rejects with `MatrixError` alone: 400 where the body breaks off, 408 after a minute and when `signal` aborts,
 * 413 above `maxBytes`.
 */
export async function readBody(
  req: IncomingMessage,
  maxBytes: number,
  clock: Clock,
  signal?: AbortSignal,
): Promise<Buffer> {
  if (Number(req.headers['content-length'] ?? 0) > maxBytes) throw new BodyTooLong(maxBytes, Buffer.alloc(0));
  try {
    return await withDeadline(clock, BODY_MS, signal, () => collect(req, maxBytes));
  } catch (error) {
    if (error instanceof MatrixError) throw error;
    if (error instanceof DeadlineError) {
      throw new MatrixError(408, 'M_UNKNOWN', 'The body did not come in time');
    }
    throw new MatrixError(400, 'M_NOT_JSON', 'The body broke off');
  }
}

async function collect(req: IncomingMessage, maxBytes: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of req.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    size += chunk.length;
    chunks.push(chunk);
    if (size > maxBytes) throw new BodyTooLong(maxBytes, Buffer.concat(chunks));
  }
  return Buffer.concat(chunks);
}

/** Every header, since Node keeps only the first one in `headers`. */
export function authorizationHeaders(req: IncomingMessage): string[] {
  const values: string[] = [];
  for (let i = 0; i + 1 < req.rawHeaders.length; i += 2) {
    const value = req.rawHeaders[i + 1];
    if (req.rawHeaders[i]?.toLowerCase() === 'authorization' && value !== undefined) values.push(value);
  }
  return values;
}

/** Who the request says it is from; not to be believed before it is authenticated. */
export function claimedOrigin(req: IncomingMessage): string | null {
  for (const header of authorizationHeaders(req)) {
    try {
      const parsed = parseXMatrix(header);
      if (parsed !== null) return parsed.origin;
    } catch {
      return null;
    }
  }
  return null;
}

/** The target as it came in, also under a router that has rewritten `url`. */
export function rawTarget(req: IncomingMessage & { originalUrl?: string }): string {
  return req.originalUrl ?? req.url ?? '';
}

function parseObject(body: Uint8Array, limits: JsonLimits): JsonObject {
  const content = parseJson(body, limits);
  if (!isObject(content)) throw new MatrixError(400, 'M_BAD_JSON', 'The body is not a JSON object');
  return content;
}
