import type { IncomingHttpHeaders } from 'node:http';

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;

/** Bounds and default of how long an answer of `/.well-known/matrix/server` is kept (48 h: specification). */
export const MIN_LIFETIME_MS = 5 * MINUTE_MS;
export const MAX_LIFETIME_MS = 48 * HOUR_MS;
const DEFAULT_LIFETIME_MS = 24 * HOUR_MS;
/** How long "there is none" is kept (specification: up to an hour, with back-off). */
const FAILURE_LIFETIME_MS = HOUR_MS;

/**
 * How long it is kept that there is none. A file that could not be reached is asked for again after a minute,
 * then after twice the time each, up to the hour that an answer which is none is kept.
 */
export function failureLifetimeMs(troubles: number): number {
  if (troubles === 0) return FAILURE_LIFETIME_MS;
  return Math.min(FAILURE_LIFETIME_MS, MINUTE_MS * 2 ** (troubles - 1));
}

/**
 * What the answer's caching headers say, within the bounds. `private` does not concern us: what we keep is
 * for ourselves. An `Expires` that is no date lies in the past (RFC 9111, 5.3).
 */
export function wellKnownLifetimeMs(headers: IncomingHttpHeaders, now: number): number {
  return Math.min(MAX_LIFETIME_MS, Math.max(MIN_LIFETIME_MS, askedLifetimeMs(headers, now)));
}

function askedLifetimeMs(headers: IncomingHttpHeaders, now: number): number {
  const directives = valuesOf(headers['cache-control']).join(',').toLowerCase().split(',');
  for (const directive of directives.map((text) => text.trim())) {
    if (directive === 'no-store' || directive === 'no-cache') return 0;
    const seconds = /^max-age="?(\d{1,15})"?$/.exec(directive)?.[1];
    if (seconds !== undefined) return (Number(seconds) - ageOf(headers)) * 1000;
  }
  const [expires] = valuesOf(headers.expires);
  if (expires === undefined) return DEFAULT_LIFETIME_MS;
  const date = Date.parse(expires);
  return Number.isNaN(date) ? 0 : date - now;
}

/** How many seconds the answer has already lain in a cache on the way. */
function ageOf(headers: IncomingHttpHeaders): number {
  const [age] = valuesOf(headers.age);
  return age !== undefined && /^\d{1,15}$/.test(age) ? Number(age) : 0;
}

/** A header that comes several times is a list here, whatever its type says. */
function valuesOf(header: string | string[] | undefined): string[] {
  return header === undefined ? [] : [header].flat();
}
