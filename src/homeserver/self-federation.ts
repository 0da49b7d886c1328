import { LRUCache } from 'lru-cache';
import { canonicalJson } from '../matrix/canonical-json.ts';
import { isObject, JsonError, type JsonObject } from '../matrix/json.ts';
import { type Pdu, prevEventIds } from '../matrix/pdu.ts';
import type { SigningKey } from '../matrix/signing-key.ts';
import { signRequest } from '../matrix/x-matrix.ts';
import { Gate } from '../platform/gate.ts';
import type { HttpResponse } from '../platform/http-client.ts';
import { EventAnswer, eachListed } from './event-lists.ts';
import { HomeserverDown, HomeserverRefusal, NotReadable } from './homeserver.ts';
import { bodyOf, enc, errcodeOf, type HomeserverApi, jsonObject, objectOf } from './homeserver-api.ts';
import { RawPdu } from './raw-pdu.ts';
import { rulesOf } from './room-rules.ts';

/**
 * Requests under way at once. Synapse queues what exceeds its pace and refuses a request when more than 50 of
 * an origin wait (`rc_federation.reject_limit`); several processes may share that one origin.
 */
const IN_FLIGHT = 30;
const TIMEOUT_MS = 120_000;
const MAX_BYTES = 256 * 1024 * 1024;
const MOST_ROOMS = 20_000;
const PARTIAL_STATE = 'ORG.MATRIX.MSC3895_UNABLE_DUE_TO_PARTIAL_STATE';
/** No event has this ID: what is asked with it is whether the homeserver is in the room. */
const NO_EVENT = '$peek-no-such-event';

/** Federation requests to our own homeserver, signed with its own key: it shows everything it has. */
export class SelfFederation {
  readonly #api: HomeserverApi;
  readonly #serverName: string;
  readonly #signingKey: SigningKey;
  readonly #joinedLocalUser: (roomId: string) => Promise<string | null>;
  readonly #gate = new Gate(IN_FLIGHT);
  /** By room, a local user who was joined when last asked. */
  readonly #localUsers = new LRUCache<string, string>({ max: MOST_ROOMS });

  constructor(options: {
    readonly api: HomeserverApi;
    readonly serverName: string;
    readonly signingKey: SigningKey;
    readonly joinedLocalUser: (roomId: string) => Promise<string | null>;
  }) {
    this.#api = options.api;
    this.#serverName = options.serverName;
    this.#signingKey = options.signingKey;
    this.#joinedLocalUser = options.joinedLocalUser;
  }

  /** The answer as it came; 429 is waited out. Rejects with `HomeserverDown`. */
  request(method: 'GET' | 'POST', path: string, body?: JsonObject): Promise<HttpResponse> {
    const signed = { method, uri: path, origin: this.#serverName, destination: this.#serverName };
    const limits = { timeoutMs: TIMEOUT_MS, maxBytes: MAX_BYTES };
    return this.#gate.run(() => {
      if (body === undefined) {
        const authorization = signRequest(signed, this.#signingKey);
        return this.#api.sendPatiently({ method, path, headers: { authorization }, ...limits });
      }
      const authorization = signRequest({ ...signed, content: body }, this.#signingKey);
      return this.#api.sendPatiently({
        method,
        path,
        headers: { authorization, 'content-type': 'application/json' },
        body: canonicalJson(body, { allowFloats: true }),
        repeatable: true,
        ...limits,
      });
    });
  }

  /** Null also for an event of a room that the homeserver is not in, or not whole. */
  async event(eventId: string): Promise<Pdu | null> {
    const response = await this.request('GET', `/_matrix/federation/v1/event/${enc(eventId)}`);
    if (response.status === 404 || response.status === 403) return null;
    return (await new EventAnswer(bodyOf(response)).pdus('pdus'))[0] ?? null;
  }

  async stateBefore(roomId: string, eventId: string): Promise<{ state: Pdu[]; authChain: Pdu[] }> {
    const state: Pdu[] = [];
    const authChain: Pdu[] = [];
    await this.eachStateBefore(roomId, eventId, (pdu, list) => {
      const parsed = pdu.parsed();
      if (parsed !== null) (list === 'state' ? state : authChain).push(parsed);
    });
    return { state, authChain };
  }

  /** The same for who has no use for all of them as objects. An event for which `visit` throws `JsonError` is passed over. */
  async eachStateBefore(
    roomId: string,
    eventId: string,
    visit: (pdu: RawPdu, list: 'state' | 'auth_chain') => void,
  ): Promise<void> {
    const path = `/_matrix/federation/v1/state/${enc(roomId)}?event_id=${enc(eventId)}`;
    const body = bodyOf(await this.request('GET', path));
    await eachListed(body, ({ list, ...range }) => {
      if (list !== 'pdus' && list !== 'auth_chain') return;
      try {
        visit(new RawPdu(body, range), list === 'pdus' ? 'state' : list);
      } catch (error) {
        if (!(error instanceof JsonError)) throw error;
      }
    });
  }

  /**
   * `absent` too where the homeserver knows no such room. Rejects with `HomeserverRefusal` where it refuses us
   * altogether (another key, a federation whitelist without its own name).
   */
  async membership(roomId: string): Promise<'resident' | 'partial' | 'absent'> {
    const path = `/_matrix/federation/v1/state_ids/${enc(roomId)}?event_id=${enc(NO_EVENT)}`;
    const response = await this.request('GET', path);
    const { status } = response;
    if (status === 200 || status === 404) return 'resident';
    if (status !== 403) throw refused(response);
    if (errcodeOf(response) === PARTIAL_STATE) return 'partial';
    if (deniedByWhitelist(response)) throw refused(response);
    // A room whose ACL denies our own server: it is in the room all the same.
    return /banned/i.test(errorOf(response)) ? 'resident' : 'absent';
  }

  /**
   * What a leave of a local user would have as its `prev_events`; asking writes nothing. Rejects with
   * `NotReadable` when no local user is known to be in the room.
   */
  async extremities(roomId: string): Promise<{ roomVersion: string; eventIds: string[] }> {
    const known = this.#localUsers.get(roomId);
    const first = known === undefined ? null : await this.#makeLeave(roomId, known);
    if (first !== null) return first;
    this.#localUsers.delete(roomId);
    const userId = await this.#joinedLocalUser(roomId);
    const found = userId === null ? null : await this.#makeLeave(roomId, userId);
    if (userId === null || found === null) throw new NotReadable('no user of this server is in the room');
    this.#localUsers.set(roomId, userId);
    return found;
  }

  /** Null when the user is not in the room. */
  async #makeLeave(
    roomId: string,
    userId: string,
  ): Promise<{ roomVersion: string; eventIds: string[] } | null> {
    const path = `/_matrix/federation/v1/make_leave/${enc(roomId)}/${enc(userId)}`;
    const response = await this.request('GET', path);
    if (response.status === 403 || response.status === 404) return null;
    const { room_version: version, event } = objectOf(response);
    // Rooms whose version goes unsaid are of version 1 (specification, "make_leave").
    const roomVersion = typeof version === 'string' ? version : '1';
    const eventIds = isObject(event) ? prevEventIds(event, rulesOf(roomVersion)) : [];
    if (eventIds.length === 0) throw new HomeserverDown('the homeserver answered make_leave without events');
    return { roomVersion, eventIds };
  }
}

/** 403 because `federation_domain_whitelist` lacks the homeserver's own name. */
export function deniedByWhitelist(response: Pick<HttpResponse, 'body'>): boolean {
  return /^Federation denied/i.test(errorOf(response));
}

function refused(response: HttpResponse): Error {
  if (response.status >= 500) return new HomeserverDown(`the homeserver answered ${response.status}`);
  return new HomeserverRefusal(response.status, response.body);
}

function errorOf({ body }: Pick<HttpResponse, 'body'>): string {
  const error = jsonObject(body)?.error;
  return typeof error === 'string' ? error : '';
}
