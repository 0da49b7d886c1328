import type { IncomingMessage } from 'node:http';
import type { Json } from '../matrix/json.ts';
import { parseJson } from '../matrix/json-scan.ts';
import { MatrixError } from '../platform/matrix-error.ts';

/** A request as its signature covers it. */
export interface SignedRequest {
  readonly method: string;
  /** Path and query, byte for byte. */
  readonly rawUrl: string;
  /** Every `Authorization` header, in order. */
  readonly authorizationHeaders: readonly string[];
  /** The parsed body; absent where there was none. */
  readonly content?: Json;
}

/** Returns the server that signed the request. Rejects with `MatrixError` 401. */
export type Authenticate = (request: SignedRequest) => Promise<string>;

/** Reads the body, which must be JSON or nothing. Rejects with `MatrixError` 413 and `JsonError`. */
export async function readSigned(req: IncomingMessage, maxBytes: number): Promise<SignedRequest> {
  return toSigned(req, await readBody(req, maxBytes));
}

/** The same of a body that has been read. Throws `JsonError`. */
export function toSigned(req: IncomingMessage, body: Uint8Array): SignedRequest {
  return {
    method: req.method ?? '',
    rawUrl: rawTarget(req),
    authorizationHeaders: authorizationHeaders(req),
    ...(body.length > 0 && { content: parseJson(body) }),
  };
}

export async function readBody(req: IncomingMessage, maxBytes: number): Promise<Buffer> {
  if (Number(req.headers['content-length'] ?? 0) > maxBytes) throw tooLarge(maxBytes);
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of req as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > maxBytes) throw tooLarge(maxBytes);
    chunks.push(chunk);
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

/** The target as it came in, also under a router that has rewritten `url`. */
export function rawTarget(req: IncomingMessage & { originalUrl?: string }): string {
  return req.originalUrl ?? req.url ?? '';
}

function tooLarge(maxBytes: number): MatrixError {
  return new MatrixError(413, 'M_TOO_LARGE', `The body is larger than ${maxBytes} bytes`);
}
