import http, { type IncomingMessage, type OutgoingHttpHeaders, type ServerResponse } from 'node:http';
import https from 'node:https';
import type { Socket } from 'node:net';
import { createProxyMiddleware, type Plugin } from 'http-proxy-middleware';
import { isIdempotent, isStaleConnection } from './errors.ts';
import type { Handler } from './listener.ts';
import { homeserverUnreachable, sendMatrixError } from './matrix-answer.ts';
import { announcesBody, forwardedHeaders } from './request-hygiene.ts';
import { cutConnection, headOf, writeHead, writeInterim } from './response-head.ts';
import type { TrustedProxies } from './trusted-proxies.ts';

export interface PassThrough {
  readonly handle: Handler;
  /** Closes the idle connections to the homeserver. */
  close(): void;
}

/** Idle connections are closed after this time, earlier than servers close them, or as `Keep-Alive` says. */
const IDLE_TIMEOUT = 4_000;

/**
 * The way for all paths that nobody here has an opinion about, over http-proxy-middleware.
 *
 * Kept as by the raw forwarder: target, order and duplicates of headers, both bodies, interim responses.
 * Not kept besides what it does not keep: the case of request header names (lower case); where among the
 * others the second of two equal names stood; a chunked upload ends its upstream connection.
 */
export function createPassThrough(homeserverUrl: string | URL, trusted: TrustedProxies): PassThrough {
  const target = new URL(homeserverUrl).origin;
  const { Agent } = target.startsWith('https:') ? https : http;
  const agent = new Agent({
    keepAlive: true,
    maxSockets: Infinity,
    maxFreeSockets: 256,
    timeout: IDLE_TIMEOUT,
  });
  const repeated = new WeakSet<IncomingMessage>();

  const onError = (error: Error, req?: IncomingMessage, res?: ServerResponse | Socket): void => {
    if (!req || !(res instanceof http.ServerResponse)) {
      res?.destroy();
      return;
    }
    if (!res.headersSent && !res.destroyed && mayRepeat(error, req) && !repeated.has(req)) {
      repeated.add(req);
      void middleware(req, res);
      return;
    }
    sendMatrixError(res, homeserverUnreachable());
  };

  const answerAsReceived: Plugin = (proxy) => {
    proxy.on('error', onError);
    proxy.on('proxyReq', (proxyReq, _req, res) => {
      proxyReq.on('information', ({ statusCode, statusMessage, rawHeaders }) => {
        writeInterim(res, headOf(statusCode, statusMessage, rawHeaders));
      });
    });
    proxy.on('proxyRes', writeHeadAsReceived);
  };

  const middleware = createProxyMiddleware({
    target,
    agent,
    // The default filter parses the target and passes by what it cannot parse.
    pathFilter: () => true,
    ejectPlugins: true,
    plugins: [answerAsReceived],
  });

  return {
    handle(req, res) {
      req.headers = asHeaderObject(forwardedHeaders(req, trusted), req);
      void middleware(req, res);
    },
    close: () => agent.destroy(),
  };
}

/** Writes the head itself, before the middleware would join duplicates and lower-case names. */
function writeHeadAsReceived(proxyRes: IncomingMessage, _req: IncomingMessage, res: ServerResponse): void {
  if (res.headersSent || res.destroyed) return;
  writeHead(res, headOf(proxyRes.statusCode ?? 502, proxyRes.statusMessage, proxyRes.rawHeaders));
  proxyRes.once('error', () => cutConnection(res));
  // A head whose body is slow in coming does not wait for it.
  setImmediate(() => {
    if (!res.destroyed && !res.writableEnded) res.flushHeaders();
  });
}

/**
 * A header list as node:http takes it, duplicates as arrays. Lower case, since the middleware looks for some
 * names; without a prototype, since names come from outside. A chunked body has to be announced again.
 */
function asHeaderObject(
  headers: readonly string[],
  req: IncomingMessage,
): OutgoingHttpHeaders & IncomingMessage['headers'] {
  const object: Record<string, string | string[]> = Object.create(null);
  for (let i = 0; i < headers.length; i += 2) {
    const name = (headers[i] as string).toLowerCase();
    const value = headers[i + 1] as string;
    const before = object[name];
    if (before === undefined) object[name] = value;
    else if (typeof before === 'string') object[name] = [before, value];
    else before.push(value);
  }
  if (req.headers['transfer-encoding'] !== undefined) object['transfer-encoding'] = 'chunked';
  return object;
}

function mayRepeat(error: Error, req: IncomingMessage): boolean {
  return isIdempotent(req.method ?? '') && !announcesBody(req) && isStaleConnection(error);
}
