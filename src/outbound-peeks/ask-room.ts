import type { PeekAnswer } from '../feeds/peek-answer.ts';
import type { RemoteFeed } from '../feeds/remote-feed.ts';
import { eventIdOf } from '../matrix/event-id.ts';
import { isObject, type Json, type JsonObject } from '../matrix/json.ts';
import { roomVersion } from '../matrix/room-versions.ts';
import type { Logger } from '../platform/log.ts';
import type { RemoteServers } from '../remote-servers/remote-servers.ts';
import type { OutboundPeek, Store } from '../store/store.ts';
import { isUnrecognized } from './candidates.ts';
import { LargeAnswers } from './large-answers.ts';
import type { PeekRequests } from './peek-requests.ts';
import { takesEachPutAnew } from './peer-manners.ts';

/** What a first timeline shows, and some to spare. */
const BACKFILLED = 50;

export interface AskRoomDeps {
  readonly store: Store;
  readonly remote: RemoteServers;
  readonly feed: RemoteFeed;
  readonly logger: Logger;
}

/** A room as one server gave it, and the peek that was begun with that. */
export interface Asked {
  readonly answer: PeekAnswer;
  readonly peekId: string;
  readonly how: OutboundPeek['how'];
}

/** Asks one server for a room, in the manner in which that server can be asked, and verifies its answer. */
export class AskRoom {
  readonly #deps: AskRoomDeps;
  readonly #requests: PeekRequests;
  readonly #large = new LargeAnswers();

  constructor(deps: AskRoomDeps, requests: PeekRequests) {
    this.#deps = deps;
    this.#requests = requests;
  }

  /**
   * `held`: our live peek on the room through this server, which is asked for again. `begins` is told the peek ID
   * before anything is sent that begins a peek. Rejects with what the request or the reading of its answer failed
   * with.
   */
  async ask(
    roomId: string,
    server: string,
    held: OutboundPeek | null,
    signal: AbortSignal,
    begins: (peekId: string) => void,
  ): Promise<Asked> {
    const anew = held?.how === 'anew' || (await takesEachPutAnew(this.#deps.remote, server));
    signal.throwIfAborted();
    const peekId = held === null || anew ? this.#requests.newPeekId() : held.peekId;
    const turn = this.#large.turn();
    const options = { signal, beforeLarge: turn.enter };
    try {
      let how: OutboundPeek['how'] = anew ? 'anew' : 'put';
      begins(peekId);
      let body: JsonObject;
      try {
        body = await this.#requests.put(server, roomId, peekId, options);
      } catch (error) {
        if (!isUnrecognized(error)) throw error;
        how = 'get';
        body = await this.#requests.snapshot(server, roomId, options);
      }
      return { answer: await this.#read(roomId, server, body, signal), peekId, how };
    } finally {
      turn.leave();
    }
  }

  async #read(roomId: string, server: string, body: JsonObject, signal: AbortSignal): Promise<PeekAnswer> {
    const whole = Array.isArray(body.messages) ? body : await this.#withEarlier(roomId, server, body, signal);
    const answer = await this.#deps.feed.read(whole, roomId, server, signal);
    return { ...answer, isSeamless: answer.isSeamless && whole === body };
  }

  /**
   * An answer that tells no more than the newest event (Dendrite's): what came before it is asked for. Such a
   * server gives that event in clear whatever its visibility; what may be shown is decided here, as always.
   */
  async #withEarlier(
    roomId: string,
    server: string,
    body: JsonObject,
    signal: AbortSignal,
  ): Promise<JsonObject> {
    const { store, logger } = this.#deps;
    const latest = latestOf(body);
    if (latest === null || (await store.logs.positions(roomId, [latest])).size > 0) return body;
    try {
      const { pdus } = await this.#requests.backfill(server, roomId, latest, BACKFILLED, signal);
      if (!Array.isArray(pdus)) return body;
      return { ...body, messages: byDepth(pdus.slice(0, 2 * BACKFILLED)) };
    } catch (error) {
      signal.throwIfAborted();
      logger.info(
        { room: roomId, server, reason: String(error) },
        'the events before the newest one could not be had; the timeline begins with that',
      );
      return body;
    }
  }
}

/** The ID of the newest event, as far as the answer has one that can be named. */
function latestOf(body: JsonObject): string | null {
  const rules = roomVersion(typeof body.room_version === 'string' ? body.room_version : '1');
  if (rules === undefined || !isObject(body.latest_event)) return null;
  try {
    return eventIdOf(body.latest_event, rules);
  } catch {
    return null;
  }
}

/** Oldest first, as far as their depths tell: the newest are kept. */
function byDepth(events: readonly Json[]): Json[] {
  const depth = (event: Json) => (isObject(event) && typeof event.depth === 'number' ? event.depth : 0);
  return events.toSorted((a, b) => depth(a) - depth(b));
}
