import { LRUCache } from 'lru-cache';
import { isServerName } from '../matrix/ids.ts';
import { isObject } from '../matrix/json.ts';
import { parseJson } from '../matrix/json-scan.ts';
import type { Clock } from '../platform/clock.ts';
import type { HttpsClient } from '../platform/guarded-agent.ts';
import { HttpError, type HttpResponse } from '../platform/http-client.ts';
import { SingleFlight } from '../platform/single-flight.ts';
import {
  FAILURE_LIFETIME_MS,
  MAX_LIFETIME_MS,
  MIN_LIFETIME_MS,
  wellKnownLifetimeMs,
} from './well-known-lifetime.ts';

const PATH = '/.well-known/matrix/server';
/** Specification: larger answers need not be read. */
const MAX_BYTES = 50 * 1024;
const MAX_REDIRECTS = 5;
/** For all hops together. */
const TOTAL_TIMEOUT_MS = 15_000;
const MAX_CACHED_HOSTS = 10_000;
const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

interface Delegation {
  /** The server name that it delegates to; null: there is no delegation. */
  readonly delegate: string | null;
  readonly fetchedAt: number;
  readonly expiresAt: number;
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

  /** The server name that a host (without port) delegates to, or null. Never rejects. */
  async delegate(host: string): Promise<string | null> {
    const cached = this.#cache.get(host);
    if (cached !== undefined && this.#clock.now() < cached.expiresAt) return cached.delegate;
    return this.#flights.run(host, () => this.#refresh(host, cached));
  }

  async #refresh(host: string, previous: Delegation | undefined): Promise<string | null> {
    try {
      const answer = await this.#fetch(host);
      const delegate = delegateOf(answer);
      const now = this.#clock.now();
      const expiresAt = now + wellKnownLifetimeMs(answer.headers, now);
      this.#cache.set(host, { delegate, fetchedAt: now, expiresAt });
      return delegate;
    } catch (error) {
      const now = this.#clock.now();
      const passing = error instanceof HttpError || (error instanceof NoDelegation && error.passing);
      const last = previous === undefined ? 0 : previous.fetchedAt + MAX_LIFETIME_MS;
      if (passing && previous !== undefined && previous.delegate !== null && now < last) {
        const expiresAt = Math.min(now + MIN_LIFETIME_MS, last);
        this.#cache.set(host, { ...previous, expiresAt });
        return previous.delegate;
      }
      this.#cache.set(host, { delegate: null, fetchedAt: now, expiresAt: now + FAILURE_LIFETIME_MS });
      return null;
    }
  }

  /** The first answer that is no redirect. Every hop is HTTPS and guarded like any other connection. */
  async #fetch(host: string): Promise<HttpResponse> {
    const end = this.#clock.now() + TOTAL_TIMEOUT_MS;
    let url = new URL(`https://${host}${PATH}`);
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

function redirected(from: URL, location: string | undefined): URL {
  const url = location === undefined ? null : URL.parse(location, from.href);
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
