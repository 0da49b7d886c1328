import { LRUCache } from 'lru-cache';
import { isServerName } from '../matrix/ids.ts';
import { isObject } from '../matrix/json.ts';
import { parseJson } from '../matrix/json-scan.ts';
import type { Clock } from '../platform/clock.ts';
import type { HttpsClient } from '../platform/guarded-agent.ts';
import { HttpError, type HttpResponse } from '../platform/http-client.ts';
import { SingleFlight } from '../platform/single-flight.ts';
import {
  failureLifetimeMs,
  MAX_LIFETIME_MS,
  MIN_LIFETIME_MS,
  wellKnownLifetimeMs,
} from './well-known-lifetime.ts';

const PATH = '/.well-known/matrix/server';
/** Specification: larger answers need not be read. */
const MAX_BYTES = 50 * 1024;
const MAX_REDIRECTS = 5;
/** For all hops together. */
const TOTAL_TIMEOUT_MS = 8000;
/** So long a new answer is waited for where there is an earlier one that may still be used. */
const PATIENCE_MS = 2000;
const MAX_CACHED_HOSTS = 10_000;
const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

interface Delegation {
  /** The server name that it delegates to; null: there is no delegation. */
  readonly delegate: string | null;
  readonly fetchedAt: number;
  readonly expiresAt: number;
  /** How many times in a row the file could not be reached. */
  readonly troubles: number;
}

/** Why a look-up found nothing: `passing` troubles say nothing about what stands there. */
class NoDelegation extends Error {
  readonly passing: boolean;
  constructor(message: string, passing = false) {
    super(message);
    this.passing = passing;
  }
}

/**
 * Delegation by `https://<host>/.well-known/matrix/server`. An answer outlives its time only while the file
 * cannot be reached, and never 48 hours: a wrong one, once served, is gone by then.
 */
export class WellKnown {
  readonly #https: HttpsClient;
  readonly #clock: Clock;
  readonly #cache = new LRUCache<string, Delegation>({ max: MAX_CACHED_HOSTS });
  readonly #flights = new SingleFlight<string | null>();

  constructor(https: HttpsClient, clock: Clock) {
    this.#https = https;
    this.#clock = clock;
  }

  /** The server name that a host (without port, in lower case) delegates to, or null. Never rejects. */
  async delegate(host: string): Promise<string | null> {
    const cached = this.#cache.get(host);
    if (cached !== undefined && this.#clock.now() < cached.expiresAt) return cached.delegate;
    const refreshed = this.#flights.run(host, () => this.#refresh(host, cached));
    return this.#isUsable(cached) ? this.#soon(refreshed, cached.delegate) : refreshed;
  }

  async #soon(refreshed: Promise<string | null>, earlier: string | null): Promise<string | null> {
    const done = new AbortController();
    const patience = this.#clock.sleep(PATIENCE_MS, done.signal).then(() => earlier);
    return Promise.race([refreshed, patience]).finally(() => done.abort());
  }

  #isUsable(delegation: Delegation | undefined): delegation is Delegation {
    return (
      delegation !== undefined &&
      delegation.delegate !== null &&
      this.#clock.now() < delegation.fetchedAt + MAX_LIFETIME_MS
    );
  }

  async #refresh(host: string, previous: Delegation | undefined): Promise<string | null> {
    try {
      const answer = await this.#fetch(host);
      const delegate = delegateOf(answer);
      const now = this.#clock.now();
      const expiresAt = now + wellKnownLifetimeMs(answer.headers, now);
      this.#cache.set(host, { delegate, fetchedAt: now, expiresAt, troubles: 0 });
      return delegate;
    } catch (error) {
      const now = this.#clock.now();
      const passing =
        error instanceof HttpError
          ? error.reason !== 'too_large'
          : error instanceof NoDelegation && error.passing;
      if (passing && this.#isUsable(previous)) {
        const expiresAt = Math.min(now + MIN_LIFETIME_MS, previous.fetchedAt + MAX_LIFETIME_MS);
        this.#cache.set(host, { ...previous, expiresAt });
        return previous.delegate;
      }
      const troubles = passing ? (previous?.troubles ?? 0) + 1 : 0;
      const expiresAt = now + failureLifetimeMs(troubles);
      this.#cache.set(host, { delegate: null, fetchedAt: now, expiresAt, troubles });
      return null;
    }
  }

  /** The first answer that is no redirect. Every hop is HTTPS and guarded like any other connection. */
  async #fetch(host: string): Promise<HttpResponse> {
    const end = this.#clock.now() + TOTAL_TIMEOUT_MS;
    let url = new URL(`https://${host}${PATH}`);
    // What URLs read as an address (`1.2.3`) is a name everywhere else.
    if (url.hostname !== host) throw new NoDelegation('a host that is written differently in URLs');
    for (let hops = 0; hops <= MAX_REDIRECTS; hops++) {
      const answer = await this.#https.request(
        {
          host: url.hostname.replace(/^\[|\]$/g, ''),
          port: Number(url.port || 443),
          certificateName: nameOf(url),
        },
        {
          method: 'GET',
          path: `${url.pathname}${url.search}`,
          headers: { host: url.host, accept: 'application/json' },
          timeoutMs: Math.max(1, end - this.#clock.now()),
          maxBytes: MAX_BYTES,
        },
      );
      if (!REDIRECTS.has(answer.status)) return answer;
      url = redirected(url, answer.headers.location);
    }
    throw new NoDelegation(`more than ${MAX_REDIRECTS} redirects`);
  }
}

function nameOf(url: URL): string {
  return url.hostname.replace(/^\[|\]$/g, '').replace(/\.$/, '');
}

/** `Location` given twice is a list here. */
function redirected(from: URL, location: unknown): URL {
  const url = typeof location === 'string' ? URL.parse(location, from.href) : null;
  if (url === null || url.protocol !== 'https:' || url.username !== '' || url.password !== '') {
    throw new NoDelegation('a redirect that leads to no HTTPS address');
  }
  return url;
}

function delegateOf(answer: HttpResponse): string {
  if (answer.status !== 200) throw new NoDelegation(`status ${answer.status}`, answer.status >= 500);
  const body = parsed(answer.body);
  const delegate = isObject(body) ? body['m.server'] : null;
  if (typeof delegate !== 'string' || !isServerName(delegate)) throw new NoDelegation('no m.server in it');
  return delegate;
}

function parsed(body: Buffer): unknown {
  try {
    return parseJson(body, { maxBytes: MAX_BYTES });
  } catch {
    return null;
  }
}
