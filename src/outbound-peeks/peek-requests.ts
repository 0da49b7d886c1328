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
  put(
    server: string,
    roomId: string,
    peekId: string,
    options: Pick<RemoteRequest, 'signal' | 'beforeLarge'>,
  ): Promise<JsonObject> {
    const versions = SUPPORTED_ROOM_VERSIONS.map((version) => `ver=${encodeURIComponent(version)}`).join('&');
    return this.#remote.request(server, {
      method: 'PUT',
      path: `${peekPath(roomId, peekId)}?${versions}`,
      body: {},
      timeoutMs: PUT_TIMEOUT_MS,
      maxBytes: MOST_ANSWER_BYTES,
      maxValues: MOST_ANSWER_VALUES,
      ...options,
      ignoreBackOff: true,
    });
  }

  /** Keeps a peek alive without sending the room again. */
  renew(server: string, roomId: string, peekId: string): Promise<JsonObject> {
    return this.#small(server, 'POST', `${peekPath(roomId, peekId)}/renew`);
  }

  delete(server: string, roomId: string, peekId: string): Promise<JsonObject> {
    return this.#small(server, 'DELETE', peekPath(roomId, peekId));
  }

  #small(server: string, method: 'POST' | 'DELETE', path: string): Promise<JsonObject> {
    return this.#remote.request(server, {
      method,
      path,
      body: {},
      timeoutMs: SMALL_TIMEOUT_MS,
      maxBytes: SMALL_BYTES,
      ignoreBackOff: true,
    });
  }
}

function peekPath(roomId: string, peekId: string): string {
  return `/_matrix/federation/v1/peek/${encodeURIComponent(roomId)}/${encodeURIComponent(peekId)}`;
}
