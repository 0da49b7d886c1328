import type { IncomingMessage } from 'node:http';
import { MatrixError } from '../platform/matrix-error.ts';
import type { TrustedProxies } from './trusted-proxies.ts';

const UNPRINTABLE = /[^\x21-\x7e]/;

/**
 * What must not be forwarded at all: 400, or null where the request may go on.
 *
 * - Targets that do not start with `/` (absolute-form, `*`, authority-form). A homeserver may itself answer
 *   absolute-form as a proxy towards federation, so such a target must not get through from outside.
 * - Bytes outside printable ASCII in the target: clients and upstream would disagree about what they mean.
 * - More than one `Host`: two servers in a row could pick different ones.
 * - Transfer codings other than `chunked`: node:http passes on what only resembles it.
 */
export function checkRequest(req: IncomingMessage): MatrixError | null {
  const target = req.url ?? '';
  if (!target.startsWith('/')) {
    return new MatrixError(400, 'M_UNRECOGNIZED', 'The request target must be a path');
  }
  if (UNPRINTABLE.test(target)) {
    return new MatrixError(
      400,
      'M_INVALID_PARAM',
      'The request target holds bytes that must be percent-encoded',
    );
  }
  const coding = req.headers['transfer-encoding'];
  if (coding !== undefined && coding.toLowerCase() !== 'chunked') {
    return new MatrixError(400, 'M_UNRECOGNIZED', 'The only transfer coding here is chunked');
  }
  let hosts = 0;
  for (let i = 0; i < req.rawHeaders.length; i += 2) {
    const name = req.rawHeaders[i] as string;
    if (name.length === 4 && name.toLowerCase() === 'host' && ++hosts > 1) {
      return new MatrixError(400, 'M_INVALID_PARAM', 'More than one Host header');
    }
  }
  return null;
}

/**
 * The end-to-end part of a raw header list (`[name, value, name, value, …]`), in its order, duplicates kept.
 * Left out: hop-by-hop fields and those that `Connection` names (RFC 9110 §7.6.1), `Proxy-Authorization`
 * and `Expect` (answered by whoever holds the connection). `Host` and `Content-Length` stay even if named.
 */
export function endToEndHeaders(rawHeaders: readonly string[]): string[] {
  return pick(rawHeaders, false);
}

/**
 * The headers of a request as the homeserver gets them: {@link endToEndHeaders}, and who the client is.
 * A trusted peer's `X-Forwarded-For` is continued with its own address and its `X-Forwarded-Proto` kept;
 * anybody else's claims (also `Forwarded` and `X-Real-IP`) are replaced by what we see.
 */
export function forwardedHeaders(req: IncomingMessage, trusted: TrustedProxies): string[] {
  const peer = peerAddress(req);
  const proto = 'encrypted' in req.socket ? 'https' : 'http';
  if (!trusted.has(peer)) {
    const headers = pick(req.rawHeaders, true);
    headers.push('X-Forwarded-For', peer, 'X-Forwarded-Proto', proto);
    return headers;
  }
  const headers = pick(req.rawHeaders, false);
  const last = lastIndexOfName(headers, 'x-forwarded-for');
  if (last === -1) headers.push('X-Forwarded-For', peer);
  else headers[last + 1] = `${headers[last + 1]}, ${peer}`;
  if (lastIndexOfName(headers, 'x-forwarded-proto') === -1) headers.push('X-Forwarded-Proto', proto);
  return headers;
}

/** Whether a request announces a body (RFC 9112 §6): a `Content-Length` above 0, or a transfer coding. */
export function announcesBody(req: IncomingMessage): boolean {
  const length = req.headers['content-length'];
  return (length !== undefined && Number(length) > 0) || req.headers['transfer-encoding'] !== undefined;
}

/** A header list without one name (lower case). */
export function withoutHeader(headers: readonly string[], name: string): string[] {
  const kept: string[] = [];
  for (let i = 0; i < headers.length; i += 2) {
    const field = headers[i] as string;
    if (field.toLowerCase() !== name) kept.push(field, headers[i + 1] as string);
  }
  return kept;
}

function peerAddress(req: IncomingMessage): string {
  const address = req.socket.remoteAddress ?? 'unknown';
  return address.startsWith('::ffff:') ? address.slice('::ffff:'.length) : address;
}

function lastIndexOfName(headers: readonly string[], name: string): number {
  for (let i = headers.length - 2; i >= 0; i -= 2) {
    if (headers[i]?.toLowerCase() === name) return i;
  }
  return -1;
}

function pick(rawHeaders: readonly string[], dropClaims: boolean): string[] {
  const named = namedByConnection(rawHeaders);
  const kept: string[] = [];
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i] as string;
    if (isHopByHop(name) || (dropClaims && isAddressClaim(name))) continue;
    if (named?.has(name.toLowerCase())) continue;
    kept.push(name, rawHeaders[i + 1] as string);
  }
  return kept;
}

function namedByConnection(rawHeaders: readonly string[]): Set<string> | null {
  let named: Set<string> | null = null;
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i] as string;
    if (name.length !== 10 || name.toLowerCase() !== 'connection') continue;
    const value = (rawHeaders[i + 1] as string).toLowerCase();
    if (value === 'keep-alive' || value === 'close') continue;
    named ??= new Set();
    for (const token of value.split(',')) named.add(token.trim());
  }
  named?.delete('host');
  named?.delete('content-length');
  return named;
}

// Both run for every header of every message: the length decides first, so that few names are lower-cased.

export function isHopByHop(name: string): boolean {
  switch (name.length) {
    case 2:
      return name.toLowerCase() === 'te';
    case 6:
      return name.toLowerCase() === 'expect';
    case 7: {
      const lower = name.toLowerCase();
      return lower === 'upgrade' || lower === 'trailer';
    }
    case 10: {
      const lower = name.toLowerCase();
      return lower === 'connection' || lower === 'keep-alive';
    }
    case 16:
      return name.toLowerCase() === 'proxy-connection';
    case 17:
      return name.toLowerCase() === 'transfer-encoding';
    case 18:
      return name.toLowerCase() === 'proxy-authenticate';
    case 19:
      return name.toLowerCase() === 'proxy-authorization';
    default:
      return false;
  }
}

function isAddressClaim(name: string): boolean {
  switch (name.length) {
    case 9: {
      const lower = name.toLowerCase();
      return lower === 'forwarded' || lower === 'x-real-ip';
    }
    case 15:
      return name.toLowerCase() === 'x-forwarded-for';
    case 17:
      return name.toLowerCase() === 'x-forwarded-proto';
    default:
      return false;
  }
}
