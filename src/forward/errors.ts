import { errors } from 'undici';

/** The client closed its connection before it had the whole answer. */
export class ClientGoneError extends Error {
  override readonly name = 'ClientGoneError';

  constructor() {
    super('The client has gone');
  }
}

/** A response held in memory would be larger than allowed. */
export class ResponseTooLargeError extends Error {
  override readonly name = 'ResponseTooLargeError';

  constructor(maxBytes: number) {
    super(`The homeserver's answer is larger than ${maxBytes} bytes`);
  }
}

/**
 * Whether a request that got no answer may simply be sent again: it failed as requests do on a kept-alive
 * connection that the other side has just closed. A connection that never carried an answer is no such case.
 */
export function isStaleConnection(error: Error): boolean {
  if (error instanceof errors.SocketError) return (error.socket?.bytesRead ?? 0) > 0;
  const code = 'code' in error ? error.code : undefined;
  return code === 'ECONNRESET' || code === 'EPIPE';
}

/** Methods that may be repeated without asking (RFC 9110 §9.2.2). */
export function isIdempotent(method: string): boolean {
  return (
    method === 'GET' || method === 'PUT' || method === 'HEAD' || method === 'OPTIONS' || method === 'DELETE'
  );
}
