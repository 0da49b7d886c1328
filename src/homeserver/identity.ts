import { hash } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import type { JsonObject } from '../matrix/json.ts';
import type { Clock } from '../platform/clock.ts';
import type { HttpResponse } from '../platform/http-client.ts';
import { SingleFlight } from '../platform/single-flight.ts';
import { type Caller, HomeserverDown, type Identity } from './homeserver.ts';
import { enc, type HomeserverApi, objectOf } from './homeserver-api.ts';

/** A token that was revoked elsewhere is believed no longer than this. */
const IDENTITY_LIFETIME_MS = 60_000;
const MOST_IDENTITIES = 50_000;
/** Stored filters never change (client-server API, "Filtering"). */
const MOST_FILTERS = 5_000;
/** A longer one is asked for each time. */
const MAX_KEPT_FILTER_BYTES = 16 * 1024;
/** Of what is asked while somebody waits for what it decides; who ignores ten thousand users has half a megabyte. */
const WAITED_FOR = { timeoutMs: 5_000, maxBytes: 1024 * 1024 };

/** Query parameters that say who is calling: the token, and whom an appservice acts for (MSC3202, MSC4326). */
const IDENTIFYING: ReadonlySet<string> = new Set([
  'access_token',
  'user_id',
  'device_id',
  'org.matrix.msc3202.device_id',
]);

/** Who is calling, by the homeserver's own word, and their stored filters. Tokens are kept as hashes alone. */
export class Identities {
  readonly #api: HomeserverApi;
  readonly #clock: Clock;
  readonly #known = new LRUCache<string, { identity: Identity; until: number }>({ max: MOST_IDENTITIES });
  readonly #asking = new SingleFlight<Identity>();
  readonly #filters = new LRUCache<string, JsonObject>({ max: MOST_FILTERS });

  constructor(api: HomeserverApi, clock: Clock) {
    this.#api = api;
    this.#clock = clock;
  }

  /** Rejects with `HomeserverRefusal` and `HomeserverDown`. */
  async whoami(caller: Caller): Promise<Identity> {
    return this.remembered(caller) ?? this.#asking.run(keyOf(caller), () => this.#ask(caller));
  }

  remembered(caller: Caller): Identity | null {
    const known = this.#known.get(keyOf(caller));
    return known !== undefined && this.#clock.now() < known.until ? known.identity : null;
  }

  /** After a 401 or a logout: the next `whoami` asks again. Null: whoever it is of. */
  forget(caller: Caller | null): void {
    if (caller === null) this.#known.clear();
    else this.#known.delete(keyOf(caller));
  }

  async joinedRooms(caller: Caller): Promise<string[]> {
    const { joined_rooms: rooms } = objectOf(
      await this.#api.send(callerRequest(caller, '/_matrix/client/v3/joined_rooms')),
    );
    return Array.isArray(rooms) ? rooms.filter((room) => typeof room === 'string') : [];
  }

  /** Rejects with `HomeserverRefusal` and `HomeserverDown`. */
  async filter(caller: Caller, userId: string, filterId: string): Promise<JsonObject> {
    const key = JSON.stringify([userId, filterId]);
    const kept = this.#filters.get(key);
    if (kept !== undefined) return kept;
    const path = `/_matrix/client/v3/user/${enc(userId)}/filter/${enc(filterId)}`;
    const response = await this.#api.send({ ...callerRequest(caller, path), ...WAITED_FOR });
    const filter = objectOf(response);
    if (response.body.length <= MAX_KEPT_FILTER_BYTES) this.#filters.set(key, filter);
    return filter;
  }

  /** Null where there is none. Rejects with `HomeserverRefusal` and `HomeserverDown`. */
  async accountData(caller: Caller, userId: string, type: string): Promise<JsonObject | null> {
    const path = `/_matrix/client/v3/user/${enc(userId)}/account_data/${enc(type)}`;
    const response = await this.#api.send({ ...callerRequest(caller, path), ...WAITED_FOR });
    return response.status === 404 ? null : objectOf(response);
  }

  readAs(
    caller: Caller,
    target: string,
    limits: { readonly timeoutMs: number; readonly maxBytes: number },
  ): Promise<HttpResponse> {
    return this.#api.send({ ...callerRequest(caller, withoutIdentity(target)), ...limits });
  }

  async #ask(caller: Caller): Promise<Identity> {
    const response = await this.#api.send(callerRequest(caller, '/_matrix/client/v3/account/whoami'));
    const { user_id: userId, device_id: deviceId, is_guest: isGuest } = objectOf(response);
    if (typeof userId !== 'string') throw new HomeserverDown('the homeserver answered whoami without a user');
    const identity = {
      userId,
      deviceId: typeof deviceId === 'string' ? deviceId : '',
      isGuest: isGuest === true,
    };
    this.#known.set(keyOf(caller), { identity, until: this.#clock.now() + IDENTITY_LIFETIME_MS });
    return identity;
  }
}

/**
 * A request as the caller, with the client's address and agent, which the homeserver notes down for the device.
 * Synapse warns in its log of an address that comes without a protocol, and takes it for https.
 */
export function callerRequest(caller: Caller, path: string) {
  const query = identifyingQuery(caller.query);
  const headers: Record<string, string> = {};
  if (caller.authorization !== null) headers.authorization = caller.authorization;
  if (caller.userAgent !== null) headers['user-agent'] = caller.userAgent;
  if (caller.forwardedFor !== null) {
    headers['x-forwarded-for'] = caller.forwardedFor;
    headers['x-forwarded-proto'] = 'https';
  }
  const separator = path.includes('?') ? '&' : '?';
  return { method: 'GET' as const, path: query === '' ? path : `${path}${separator}${query}`, headers };
}

function keyOf(caller: Caller): string {
  const who = JSON.stringify([caller.authorization, identifyingQuery(caller.query)]);
  return hash('sha256', who, 'base64');
}

/** False only for queries that certainly have none of the parameters; cheap, for the path of everybody. */
const MAY_IDENTIFY = /access_token|user_id|device_id|%/;

/**
 * The raw parameters that matter, in their order. What is between two `&` goes whole: Synapse parts it at `;` too,
 * others do not, and each takes of it what it takes of the client's own request.
 */
function identifyingQuery(query: string): string {
  if (!MAY_IDENTIFY.test(query)) return '';
  return query
    .split('&')
    .filter((parameters) => parameters.split(';').some(isIdentifying))
    .join('&');
}

/** A target without what says who is calling, whether `&` or `;` is before it; its other bytes as they were. */
export function withoutIdentity(target: string): string {
  const at = target.indexOf('?');
  if (at === -1) return target;
  const kept = target
    .slice(at + 1)
    .split('&')
    .map((parameters) => parameters.split(';'))
    .map((parameters) => parameters.filter((parameter) => !isIdentifying(parameter)))
    .filter((parameters) => parameters.length > 0)
    .map((parameters) => parameters.join(';'));
  return kept.length === 0 ? target.slice(0, at) : `${target.slice(0, at)}?${kept.join('&')}`;
}

function isIdentifying(parameter: string): boolean {
  return IDENTIFYING.has(decoded(parameter.split('=', 1)[0] ?? ''));
}

function decoded(name: string): string {
  try {
    return decodeURIComponent(name);
  } catch {
    return name;
  }
}
