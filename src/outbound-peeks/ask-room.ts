import { type LargeReading, MOST_EVENTS, type PeekAnswer } from '../feeds/answers/peek-answer.ts';
import type { RemoteFeed } from '../feeds/remote/remote-feed.ts';
import { eventIdOf } from '../matrix/event-id.ts';
import { isObject, type Json, type JsonObject } from '../matrix/json.ts';
import { roomVersion } from '../matrix/room-versions.ts';
import type { Logger } from '../platform/log.ts';
import type { RemoteServers } from '../remote-servers/remote-servers.ts';
import { type LargeAnswer, readLargeAnswer } from '../rooms/large-answer.ts';
import type { VerifyWorkers } from '../rooms/verify-workers.ts';
import type { OutboundPeek, Store } from '../store/store.ts';
import { isUnrecognized } from './candidates.ts';
import { LargeAnswers, type Turn } from './large-answers.ts';
import type { LargeOptions, PeekRequests } from './peek-requests.ts';
import { takesEachPutAnew } from './peer-manners.ts';

/** What a first timeline shows, and some to spare. */
const BACKFILLED = 50;

export interface AskRoomDeps {
  readonly store: Store;
  readonly remote: RemoteServers;
  readonly feed: RemoteFeed;
  readonly workers: VerifyWorkers;
  readonly serverName: string;
  readonly logger: Logger;
}

/** A room as one server gave it, and the peek that was begun with that. */
export interface Asked {
  readonly answer: PeekAnswer;
  readonly peekId: string;
  readonly how: OutboundPeek['how'];
}

/** An answer as it came; of a large one, its first part and the way to read it again. */
interface Given {
  readonly body: JsonObject;
  readonly large: {
    readonly answer: LargeAnswer;
    again(recent: readonly Json[]): Promise<LargeAnswer>;
  } | null;
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
   * with. The answer holds a place among the large ones until its rest ends, or `signal` aborts.
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
    const turn = this.#large.turn(server);
    signal.addEventListener('abort', turn.leave, { once: true });
    let kept = false;
    try {
      let how: OutboundPeek['how'] = anew ? 'anew' : 'put';
      begins(peekId);
      let given: Given;
      try {
        given = await this.#given(server, turn, signal, (options) =>
          this.#requests.put(server, roomId, peekId, options),
        );
      } catch (error) {
        if (!isUnrecognized(error)) throw error;
        how = 'get';
        given = await this.#given(server, turn, signal, (options) =>
          this.#requests.snapshot(server, roomId, options),
        );
      }
      const answer = await this.#read(roomId, server, given, signal, turn);
      kept = answer.rest !== null;
      return { answer, peekId, how: how === 'put' && namesRoom(answer, roomId) ? 'anew' : how };
    } finally {
      if (!kept) turn.leave();
    }
  }

  /** Has a large answer read by a worker. */
  async #given(
    server: string,
    turn: Turn,
    signal: AbortSignal,
    request: (options: LargeOptions) => Promise<JsonObject>,
  ): Promise<Given> {
    const { workers, serverName: ownServer } = this.#deps;
    let large: Given['large'] = null;
    const body = await request({
      signal,
      beforeLarge: turn.enter,
      readLarge: async (bytes, { maxValues }) => {
        const limits = { maxValues, maxEvents: MOST_EVENTS, ownServer, answering: server };
        const answer = await readLargeAnswer(workers, bytes, limits, signal);
        large = {
          answer,
          again: (recent) => readLargeAnswer(workers, bytes, { ...limits, recent }, signal),
        };
        return answer.first;
      },
    });
    return { body, large };
  }

  async #read(
    roomId: string,
    server: string,
    { body, large }: Given,
    signal: AbortSignal,
    turn: Turn,
  ): Promise<PeekAnswer> {
    let whole = Array.isArray(body.messages) ? body : await this.#withEarlier(roomId, server, body, signal);
    const isSeamless = whole === body;
    let read = large?.answer;
    if (large !== null && whole !== body && Array.isArray(whole.messages)) {
      // Whom the earlier events are by was not known when it was chosen what comes first.
      read = await large.again(whole.messages);
      whole = read.first;
    }
    const reading: LargeReading | undefined = read && { rest: read.rest, end: turn.leave };
    const answer = await this.#deps.feed.read(whole, roomId, server, signal, reading);
    return { ...answer, isSeamless: answer.isSeamless && isSeamless };
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

/** Dendrite names the peek after the room: so it is known also when it does not say what it is. */
function namesRoom(answer: PeekAnswer, roomId: string): boolean {
  return answer.peekId === roomId;
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
