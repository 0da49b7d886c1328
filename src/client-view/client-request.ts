import type { IncomingMessage } from 'node:http';
import { forwardedHeaders } from '../forward/request-hygiene.ts';
import type { TrustedProxies } from '../forward/trusted-proxies.ts';
import type { Caller } from '../homeserver/homeserver.ts';

/** The credentials of a client request, as the homeserver has to see them to say who is calling. */
export function callerOf(req: IncomingMessage, forwardedFor: string | null): Caller {
  return {
    authorization: req.headers.authorization ?? null,
    query: rawQuery(req.url ?? ''),
    userAgent: req.headers['user-agent'] ?? null,
    forwardedFor,
  };
}

/** Who the client is, as the homeserver is told in `X-Forwarded-For`. */
export function forwardedFor(req: IncomingMessage, trusted: TrustedProxies): string | null {
  const headers = forwardedHeaders(req, trusted);
  const at = headers.findIndex((name, i) => i % 2 === 0 && name.toLowerCase() === 'x-forwarded-for');
  return at === -1 ? null : (headers[at + 1] ?? null);
}

export function rawQuery(url: string): string {
  const at = url.indexOf('?');
  return at === -1 ? '' : url.slice(at + 1);
}

/** The target with one query parameter's value replaced, every other byte as it was. */
export function replaceParameter(url: string, name: string, value: string): string {
  const at = url.indexOf('?');
  if (at === -1) return url;
  const parts = url
    .slice(at + 1)
    .split('&')
    .map((part) => (isNamed(part, name) ? `${writtenName(part)}=${encodeURIComponent(value)}` : part));
  return `${url.slice(0, at)}?${parts.join('&')}`;
}

/** The target without one query parameter, every other byte as it was. */
export function withoutParameter(url: string, name: string): string {
  const at = url.indexOf('?');
  if (at === -1) return url;
  const parts = url
    .slice(at + 1)
    .split('&')
    .filter((part) => !isNamed(part, name));
  return parts.length === 0 ? url.slice(0, at) : `${url.slice(0, at)}?${parts.join('&')}`;
}

/** As it is written: names may be percent-encoded too. */
function writtenName(part: string): string {
  const at = part.indexOf('=');
  return at === -1 ? part : part.slice(0, at);
}

function isNamed(part: string, name: string): boolean {
  const written = writtenName(part);
  if (!written.includes('%')) return written === name;
  try {
    return decodeURIComponent(written) === name;
  } catch {
    return false;
  }
}
