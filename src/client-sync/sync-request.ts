import type { IncomingMessage } from 'node:http';
import { forwardedHeaders } from '../forward/request-hygiene.ts';
import type { TrustedProxies } from '../forward/trusted-proxies.ts';
import type { Caller } from '../homeserver/homeserver.ts';
import { type OurPart, unwrapToken } from './sync-token.ts';

/** A request to `/sync`, its query read once. */
export interface SyncRequest {
  /** The raw target that goes upstream: as it came, but `since` is the homeserver's own token. */
  readonly target: string;
  /** The token as the client gave it; null without one. */
  readonly since: string | null;
  /** The homeserver's part of `since`; null without `since`. */
  readonly homeserverToken: string | null;
  /** Our part of `since`, if it has one that is whole. */
  readonly ours: OurPart | null;
  readonly fullState: boolean;
  readonly useStateAfter: boolean;
  /** As given: a stored filter's ID or inline JSON; null without. */
  readonly filter: string | null;
  /** Milliseconds; 0 when absent or nonsense. */
  readonly timeoutMs: number;
}

export function readSyncRequest(url: string): SyncRequest {
  const query = new URLSearchParams(rawQuery(url));
  const since = query.get('since');
  const token = since === null || since === '' ? null : unwrapToken(since);
  const timeout = Number(query.get('timeout') ?? 0);
  return {
    target:
      token === null || token.homeserver === since ? url : replaceParameter(url, 'since', token.homeserver),
    since: token === null ? null : since,
    homeserverToken: token?.homeserver ?? null,
    ours: token?.ours ?? null,
    fullState: query.get('full_state') === 'true',
    useStateAfter:
      query.get('org.matrix.msc4222.use_state_after') === 'true' || query.get('use_state_after') === 'true',
    filter: query.get('filter'),
    timeoutMs: Number.isFinite(timeout) && timeout > 0 ? timeout : 0,
  };
}

/** False only for targets that certainly have no token with a part of ours; cheap, for the path of everybody. */
export function mayHoldOurPart(url: string): boolean {
  return /[0-9]{20}|PEEK|%/.test(url);
}

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
