import type { ServerResponse } from 'node:http';
import { MatrixError } from '../platform/matrix-error.ts';
import { cutConnection } from './response-head.ts';

/** What lets a browser read an answer (Client-Server API, "Web Browser Clients"), as Synapse has it; a flat header list. */
export const CORS_HEADERS: readonly string[] = [
  'Access-Control-Allow-Origin',
  '*',
  'Access-Control-Allow-Methods',
  'GET, HEAD, POST, PUT, DELETE, OPTIONS',
  'Access-Control-Allow-Headers',
  'X-Requested-With, Content-Type, Authorization, Date',
  'Access-Control-Expose-Headers',
  'Synapse-Trace-Id, Server',
];
/** An answer of ours holds for this moment, as Synapse says of its own. */
export const NOT_CACHED: readonly string[] = ['Cache-Control', 'no-cache, no-store, must-revalidate'];

/**
 * Answers with an error of ours: JSON, `errcode`, CORS headers, `Retry-After` beside `retry_after_ms`.
 * Where a head has left already the connection is cut, so that nothing looks complete that is not.
 */
export function sendMatrixError(res: ServerResponse, error: MatrixError): void {
  if (res.headersSent) {
    cutConnection(res);
    return;
  }
  if (res.destroyed) return;
  const body = Buffer.from(JSON.stringify(error.body()));
  res.writeHead(error.status, [
    ...CORS_HEADERS,
    ...NOT_CACHED,
    ...retryAfter(error),
    'Content-Type',
    'application/json',
    'Content-Length',
    String(body.byteLength),
  ]);
  res.end(body);
}

/** The same answer as bytes, for a connection that has no response object; it is closed afterwards. */
export function matrixErrorBytes(error: MatrixError, reason: string): string {
  const body = JSON.stringify(error.body());
  const lines = [`HTTP/1.1 ${error.status} ${reason}`];
  for (let i = 0; i < CORS_HEADERS.length; i += 2) lines.push(`${CORS_HEADERS[i]}: ${CORS_HEADERS[i + 1]}`);
  lines.push(
    'Content-Type: application/json',
    `Content-Length: ${Buffer.byteLength(body)}`,
    'Connection: close',
  );
  return `${lines.join('\r\n')}\r\n\r\n${body}`;
}

/** 502: the homeserver could not be reached, or died before it had answered. */
export function homeserverUnreachable(): MatrixError {
  return new MatrixError(502, 'M_UNKNOWN', 'The homeserver cannot be reached');
}

function retryAfter(error: MatrixError): string[] {
  const ms = error.fields.retry_after_ms;
  return typeof ms === 'number' ? ['Retry-After', String(Math.ceil(ms / 1000))] : [];
}
