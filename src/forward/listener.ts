import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import https from 'node:https';
import type { Duplex } from 'node:stream';
import { MatrixError } from '../platform/matrix-error.ts';
import { matrixErrorBytes, sendMatrixError } from './matrix-answer.ts';
import { checkRequest } from './request-hygiene.ts';

export type Handler = (req: IncomingMessage, res: ServerResponse) => void;

export interface ListenerOptions {
  /** PEM texts; with them the listener speaks TLS. */
  readonly tls?: { readonly cert: string | Buffer; readonly key: string | Buffer };
}

const SERVER_OPTIONS = {
  /** Node's default of 16 KiB is less than homeservers take. */
  maxHeaderSize: 64 * 1024,
  /** A large upload over a slow line takes as long as it takes; only the head has to come in time. */
  requestTimeout: 0,
  headersTimeout: 60_000,
  /** Longer than reverse proxies keep idle upstream connections (nginx: 60 s), so that they close first. */
  keepAliveTimeout: 75_000,
  insecureHTTPParser: false,
  requireHostHeader: true,
} as const;

/**
 * A server that hands only well-formed requests to `handler`. Everything else it answers itself, with an
 * `errcode`, and closes the connection: broken HTTP and oversized heads, targets that are no path, CONNECT,
 * WebSocket upgrades. Expectations other than `100-continue` are answered so too. Other upgrades are ignored, as HTTP allows.
 */
export function createListener(handler: Handler, options: ListenerOptions = {}): http.Server {
  const server = options.tls
    ? https.createServer({ ...SERVER_OPTIONS, ...options.tls })
    : http.createServer(SERVER_OPTIONS);
  // Whoever stands before us may part the bytes after a refused request in another way: none of them is read.
  const refused = new Set<Duplex>();
  server.on('request', (req: IncomingMessage, res: ServerResponse) => {
    const { socket } = req;
    if (refused.size > 0 && refused.has(socket)) return;
    const refusal = checkRequest(req) ?? checkUpgrade(req);
    if (refusal === null) {
      handler(req, res);
      return;
    }
    refused.add(socket);
    socket.once('close', () => refused.delete(socket));
    res.setHeader('Connection', 'close');
    sendMatrixError(res, refusal);
  });
  server.on('checkExpectation', (_req: IncomingMessage, res: ServerResponse) => {
    sendMatrixError(res, new MatrixError(417, 'M_UNRECOGNIZED', 'Only 100-continue can be expected'));
  });
  server.on('connect', (_req: IncomingMessage, socket: Duplex) => {
    socket.on('error', () => socket.destroy());
    refuse(socket, new MatrixError(400, 'M_UNRECOGNIZED', 'CONNECT is not supported'), 'Bad Request');
  });
  server.on('clientError', (error: NodeJS.ErrnoException, socket: Duplex) => {
    if (error.code === 'ECONNRESET' || !socket.writable) socket.destroy();
    else refuse(socket, ...refusalOf(error.code));
  });
  return server;
}

function checkUpgrade(req: IncomingMessage): MatrixError | null {
  if (req.headers.upgrade?.toLowerCase() !== 'websocket') return null;
  return new MatrixError(400, 'M_UNRECOGNIZED', 'WebSockets are not supported');
}

function refusalOf(code: string | undefined): [MatrixError, string] {
  if (code === 'HPE_HEADER_OVERFLOW') {
    const error = new MatrixError(431, 'M_TOO_LARGE', 'The request head is too large');
    return [error, 'Request Header Fields Too Large'];
  }
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') {
    return [new MatrixError(408, 'M_UNKNOWN', 'The request did not come in time'), 'Request Timeout'];
  }
  return [new MatrixError(400, 'M_UNRECOGNIZED', 'The request is not well-formed HTTP/1.1'), 'Bad Request'];
}

/** Answers on the bare connection, where no response is under way on it; one that is not whole is cut. */
function refuse(socket: Duplex, error: MatrixError, reason: string): void {
  const response = '_httpMessage' in socket ? socket._httpMessage : null;
  if (!(response instanceof http.ServerResponse)) {
    socket.end(matrixErrorBytes(error, reason), () => socket.destroy());
  } else if (response.writableEnded) {
    socket.end();
  } else {
    socket.destroy();
  }
}
