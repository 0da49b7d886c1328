import { LRUCache } from 'lru-cache';
import { canonicalJson } from '../matrix/canonical-json.ts';
import { isObject, JsonError, type JsonObject, MAX_ENVELOPE_DEPTH } from '../matrix/json.ts';
import { HOLDS_EVENTS, parseJson } from '../matrix/json-scan.ts';
import type { SigningKey } from '../matrix/signing-key.ts';
import { signCanonicalRequest } from '../matrix/x-matrix.ts';
import type { Clock } from '../platform/clock.ts';
import { LARGE_BODY_BYTES } from '../platform/collected-body.ts';
import { DeadlineError, withDeadline } from '../platform/deadline.ts';
import type { HttpsRequest } from '../platform/guarded-agent.ts';
import { HttpError, type HttpResponse } from '../platform/http-client.ts';
import type { Metrics } from '../platform/metrics.ts';
import type { Random } from '../platform/random.ts';
import { SingleFlight } from '../platform/single-flight.ts';
import { BackOff } from './back-off.ts';
import type { FederationDomains } from './federation-domains.ts';
import {
  RemoteRefusal,
  type RemoteRequest,
  type RemoteServers,
  RemoteUnreachable,
} from './remote-servers.ts';
import type { ServerHttp } from './server-http.ts';
import { InvalidServerNameError } from './server-resolver.ts';
import { NoServiceError } from './srv-targets.ts';

const SOFTWARE_LIFETIME_MS = 60 * 60_000;
/** How long "it did not say" is kept. */
const SOFTWARE_UNKNOWN_LIFETIME_MS = 5 * 60_000;
const MAX_CACHED_SOFTWARE = 5000;
const VERSION_PATH = '/_matrix/federation/v1/version';
/** A raw target: what may stand in a request line. */
const RAW_TARGET = /^\/[\x21-\x7e]*$/;

/** Some thousands of events; parsed in about 40 ms. Whoever asks for more says so, and reads it apart. */
const MOST_VALUES = 200_000;

const HEADERS = { 'user-agent': 'matrix-peek-proxy' };

export interface SignedClientDeps {
  readonly serverName: string;
  readonly signingKey: SigningKey;
  readonly domains: FederationDomains;
  readonly servers: Pick<ServerHttp, 'request'>;
  readonly clock: Clock;
  readonly random: Random;
  readonly metrics: Metrics;
}

type Software = { name: string; version: string } | null;

/** Requests to other servers, signed as our homeserver, with one back-off per destination. */
export class SignedClient implements RemoteServers {
  readonly #deps: SignedClientDeps;
  readonly #backOff: BackOff;
  readonly #software = new LRUCache<string, { found: Software; expiresAt: number }>({
    max: MAX_CACHED_SOFTWARE,
  });
  readonly #softwareFlights = new SingleFlight<Software>();

  constructor(deps: SignedClientDeps) {
    this.#deps = deps;
    this.#backOff = new BackOff(deps.clock, deps.random);
  }

  availableIn(server: string): number {
    return this.#backOff.remaining(server);
  }

  async request(server: string, request: RemoteRequest): Promise<JsonObject> {
    const { clock, domains, metrics } = this.#deps;
    if (!domains.allows(server)) throw new RemoteUnreachable(`${server} is not a server to federate with`);
    const wait = this.availableIn(server);
    if (wait > 0 && request.ignoreBackOff !== true) {
      metrics.remoteRequests.inc({ outcome: 'backing_off' });
      throw new RemoteUnreachable(`${server} did not answer and is tried again in ${wait} ms`);
    }
    const outgoing = this.#sign(server, request);
    const startedAt = clock.now();
    try {
      const response = await this.#send(server, outgoing, request);
      const answer = await answerOf(server, response, request);
      this.#backOff.succeeded(server);
      metrics.remoteRequests.inc({ outcome: 'ok' });
      return answer;
    } catch (error) {
      if (provesLife(error)) this.#backOff.succeeded(server);
      else if (request.signal?.aborted !== true) this.#backOff.failed(server, startedAt);
      metrics.remoteRequests.inc({ outcome: error instanceof RemoteRefusal ? 'refused' : 'unreachable' });
      throw asRemoteError(server, error);
    }
  }

  async software(server: string): Promise<Software> {
    const { clock } = this.#deps;
    const cached = this.#software.get(server);
    if (cached !== undefined && clock.now() < cached.expiresAt) return cached.found;
    return this.#softwareFlights.run(server, async () => {
      const found = await this.#askSoftware(server);
      const lifetime = found === null ? SOFTWARE_UNKNOWN_LIFETIME_MS : SOFTWARE_LIFETIME_MS;
      this.#software.set(server, { found, expiresAt: clock.now() + lifetime });
      return found;
    });
  }

  async #askSoftware(server: string): Promise<Software> {
    try {
      const answer = await this.request(server, {
        method: 'GET',
        path: VERSION_PATH,
        timeoutMs: 10_000,
        maxBytes: 16 * 1024,
      });
      if (!isObject(answer.server)) return null;
      const { name, version } = answer.server;
      return typeof name === 'string' && typeof version === 'string' ? { name, version } : null;
    } catch {
      return null;
    }
  }

  /** Discovery, connection and answer within the request's time. */
  #send(server: string, outgoing: HttpsRequest, { timeoutMs, signal }: RemoteRequest): Promise<HttpResponse> {
    const { clock, servers } = this.#deps;
    return withDeadline(clock, timeoutMs, signal, (within) =>
      servers.request(server, { ...outgoing, signal: within }),
    );
  }

  /** The body is sent as the very JSON that was signed. */
  #sign(server: string, request: RemoteRequest): HttpsRequest {
    const { serverName, signingKey } = this.#deps;
    const { method, path, body, timeoutMs, maxBytes, beforeLarge } = request;
    const limits = { timeoutMs, maxBytes, ...(beforeLarge === undefined ? {} : { beforeLarge }) };
    if (!RAW_TARGET.test(path)) throw new RemoteUnreachable('the target cannot be sent as it is');
    const signed = { method, uri: path, origin: serverName, destination: server };
    const written = { allowFloats: true, maxDepth: MAX_ENVELOPE_DEPTH };
    const json = request.canonicalBody ?? (body === undefined ? null : canonicalJson(body, written));
    const authorization = signCanonicalRequest(signed, json, signingKey);
    if (json === null) return { method, path, headers: { ...HEADERS, authorization }, ...limits };
    const headers = { ...HEADERS, authorization, 'content-type': 'application/json' };
    return { method, path, headers, body: json, ...limits };
  }
}

async function answerOf(
  server: string,
  { status, body }: HttpResponse,
  { maxValues = MOST_VALUES, readLarge }: RemoteRequest,
): Promise<JsonObject> {
  const large = readLarge !== undefined && body.length > LARGE_BODY_BYTES;
  if (status >= 200 && status < 300) {
    const json = large ? await readApart(body, maxValues, readLarge) : parsed(body, maxValues);
    if (json === null) throw new RemoteUnreachable(`${server} answered what is no JSON object`);
    return json;
  }
  const json = large ? null : parsed(body, maxValues);
  const errcode = json !== null && typeof json.errcode === 'string' ? json.errcode : null;
  throw new RemoteRefusal(server, status, errcode, json ?? {});
}

/** Answers hold events, each of which is checked by whoever uses it. */
function parsed(body: Buffer, maxValues: number): JsonObject | null {
  try {
    const json = parseJson(body, { ...HOLDS_EVENTS, maxValues });
    return isObject(json) ? json : null;
  } catch {
    return null;
  }
}

async function readApart(
  body: Buffer,
  maxValues: number,
  readLarge: NonNullable<RemoteRequest['readLarge']>,
): Promise<JsonObject | null> {
  try {
    return await readLarge(body, { maxValues });
  } catch (error) {
    if (error instanceof JsonError) return null;
    throw error;
  }
}

/** A homeserver stands there and talks: a refusal, a failure of its own in Matrix's words, too much. */
function provesLife(error: unknown): boolean {
  if (error instanceof RemoteRefusal) {
    return error.status < 500 || (error.errcode !== null && error.status < 502);
  }
  return error instanceof HttpError && error.reason === 'too_large';
}

function asRemoteError(server: string, error: unknown): Error {
  if (error instanceof RemoteRefusal || error instanceof RemoteUnreachable) return error;
  const known = KNOWN_FAILURES.some((kind) => error instanceof kind);
  return new RemoteUnreachable(`${server}: ${known ? (error as Error).message : 'the request failed'}`, {
    cause: error,
  });
}

const KNOWN_FAILURES = [HttpError, DeadlineError, InvalidServerNameError, NoServiceError];
