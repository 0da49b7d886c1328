import type { JsonObject } from '../matrix/json.ts';
import { SUPPORTED_ROOM_VERSIONS } from '../matrix/room-versions.ts';
import { alphanumeric, type Random } from '../platform/random.ts';
import type { RemoteRequest, RemoteServers } from '../remote-servers/remote-servers.ts';

/** The answer holds the whole state of a room. */
const MOST_ANSWER_BYTES = 64 * 1024 * 1024;
/** About as many as that many bytes of events hold: an event of 800 bytes has some 45 names and values. */
const MOST_ANSWER_VALUES = 4_000_000;
const PUT_TIMEOUT_MS = 45_000;
const SMALL_TIMEOUT_MS = 15_000;
const SMALL_BYTES = 64 * 1024;
const BACKFILL_BYTES = 50 * 65_536 * 2;
/** MSC2444: eight bytes or fewer. */
const PEEK_ID_LENGTH = 8;

/** The requests of MSC2444 as a peeking server sends them. */
export class PeekRequests {
  readonly #remote: RemoteServers;
  readonly #random: Random;

  constructor(remote: RemoteServers, random: Random) {
    this.#remote = remote;
    this.#random = random;
  }

  newPeekId(): string {
    return alphanumeric(this.#random, PEEK_ID_LENGTH);
  }

  /** Starts or (same ID) renews; answers the room. */
  put(server: string, roomId: string, peekId: string, options: LargeOptions): Promise<JsonObject> {
    return this.#whole(server, 'PUT', peekPath(roomId, peekId), options);
  }

  /** The room as it is now; nothing begins. Palpo has this. */
  snapshot(server: string, roomId: string, options: LargeOptions): Promise<JsonObject> {
    return this.#whole(server, 'GET', `/_matrix/federation/v1/peek/${encodeURIComponent(roomId)}`, options);
  }

  /** The events up to this one, newest last or first, as the server likes. */
  backfill(server: string, roomId: string, eventId: string, limit: number, signal: AbortSignal) {
    return this.#remote.request(server, {
      method: 'GET',
      path: `/_matrix/federation/v1/backfill/${encodeURIComponent(roomId)}?v=${encodeURIComponent(eventId)}&limit=${limit}`,
      timeoutMs: SMALL_TIMEOUT_MS,
      maxBytes: BACKFILL_BYTES,
      signal,
      ignoreBackOff: true,
    });
  }

  /** Whether the server is there at all. */
  async version(server: string): Promise<void> {
    await this.#small(server, 'GET', '/_matrix/federation/v1/version');
  }

  /** Keeps a peek alive without sending the room again. */
  renew(server: string, roomId: string, peekId: string): Promise<JsonObject> {
    return this.#small(server, 'POST', `${peekPath(roomId, peekId)}/renew`);
  }

  delete(server: string, roomId: string, peekId: string): Promise<JsonObject> {
    return this.#small(server, 'DELETE', peekPath(roomId, peekId));
  }

  #whole(server: string, method: 'PUT' | 'GET', path: string, options: LargeOptions): Promise<JsonObject> {
    const versions = SUPPORTED_ROOM_VERSIONS.map((version) => `ver=${encodeURIComponent(version)}`).join('&');
    return this.#remote.request(server, {
      method,
      path: `${path}?${versions}`,
      ...(method === 'GET' ? {} : { body: {} }),
      timeoutMs: PUT_TIMEOUT_MS,
      maxBytes: MOST_ANSWER_BYTES,
      maxValues: MOST_ANSWER_VALUES,
      ...options,
      ignoreBackOff: true,
    });
  }

  #small(server: string, method: 'GET' | 'POST' | 'DELETE', path: string): Promise<JsonObject> {
    return this.#remote.request(server, {
      method,
      path,
      ...(method === 'GET' ? {} : { body: {} }),
      timeoutMs: SMALL_TIMEOUT_MS,
      maxBytes: SMALL_BYTES,
      ignoreBackOff: true,
    });
  }
}

export type LargeOptions = Pick<RemoteRequest, 'signal' | 'beforeLarge' | 'readLarge'>;

function peekPath(roomId: string, peekId: string): string {
  return `/_matrix/federation/v1/peek/${encodeURIComponent(roomId)}/${encodeURIComponent(peekId)}`;
}
