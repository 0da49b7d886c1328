import type { IncomingMessage } from 'node:http';
import { forwardedHeaders } from '../forward/request-hygiene.ts';
import type { TrustedProxies } from '../forward/trusted-proxies.ts';

/** Who the client is, as the homeserver is told in `X-Forwarded-For`. */
export function forwardedFor(req: IncomingMessage, trusted: TrustedProxies): string | null {
  const headers = forwardedHeaders(req, trusted);
  const at = headers.findIndex((name, i) => i % 2 === 0 && name.toLowerCase() === 'x-forwarded-for');
  return at === -1 ? null : (headers[at + 1] ?? null);
}
