import { Pool } from 'undici';

export interface UpstreamOptions {
  /** Milliseconds until a TCP connection must stand; default 10 s. */
  connectTimeout?: number;
  /** Bytes of response headers that are accepted; default 64 KiB. */
  maxHeaderSize?: number;
}

const DEFAULT_CONNECT_TIMEOUT = 10_000;
const DEFAULT_MAX_HEADER_SIZE = 64 * 1024;

/**
 * The connections to the homeserver: one request at a time on each, as many as there are requests, HTTP/1.1.
 * Neither a head nor a body has to come within a time: long polls and slow downloads are the client's to end.
 * Idle connections are closed after undici's 4 s, earlier than servers close them, or as `Keep-Alive` says.
 */
export function createUpstream(homeserverUrl: string | URL, options: UpstreamOptions = {}): Pool {
  return new Pool(new URL(homeserverUrl).origin, {
    allowH2: false,
    pipelining: 1,
    headersTimeout: 0,
    bodyTimeout: 0,
    connectTimeout: options.connectTimeout ?? DEFAULT_CONNECT_TIMEOUT,
    maxHeaderSize: options.maxHeaderSize ?? DEFAULT_MAX_HEADER_SIZE,
  });
}
