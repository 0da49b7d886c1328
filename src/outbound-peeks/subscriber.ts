import { type PeekAnswer, PeekAnswerUnusable, readPeekAnswer } from '../feeds/peek-answer.ts';
import type { RemoteFeed } from '../feeds/remote-feed.ts';
import type { Clock } from '../platform/clock.ts';
import type { Logger } from '../platform/log.ts';
import type { KeyRing, RemoteServers } from '../remote-servers/remote-servers.ts';
import type { OutboundPeek, RoomLog, Store } from '../store/store.ts';
import { combinedRefusal, type Failure, failureOf } from './candidates.ts';
import type { Endings } from './endings.ts';
import { firstAcceptable } from './first-acceptable.ts';
import { LargeAnswers } from './large-answers.ts';
import type { PeekRequests } from './peek-requests.ts';
import type { PeekedThrough } from './peeked-through.ts';
import { takesEachPutAnew } from './peer-manners.ts';
import { renewAt } from './renewal.ts';

/** A server that takes longer than this has the next one beside it. */
const SLOW_MS = 3_000;
/** For a whole subscription: every candidate, its answer and the verifying of it. */
const WITHIN_MS = 45_000;

export interface SubscriberDeps {
  readonly store: Store;
  readonly remote: RemoteServers;
  readonly keys: KeyRing;
  readonly feed: RemoteFeed;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Makes a room's log out of the answer of the first server that lets us peek into it. */
export class Subscriber {
  readonly #deps: SubscriberDeps;
  readonly #requests: PeekRequests;
  readonly #through: PeekedThrough;
  readonly #endings: Endings;
  readonly #large = new LargeAnswers();

  constructor(deps: SubscriberDeps, requests: PeekRequests, through: PeekedThrough, endings: Endings) {
    this.#deps = deps;
    this.#requests = requests;
    this.#through = through;
    this.#endings = endings;
  }

  /**
   * Asks the servers in their order. `held` is the peek that this one continues, if it does: its server is asked
   * under the same peek ID. Rejects with `MatrixError` (403, 404, 502) when none can be peeked through.
   */
  subscribe(roomId: string, servers: readonly string[], held: OutboundPeek | null): Promise<RoomLog> {
    return this.#deps.feed.seed(roomId, async () => {
      try {
        return await this.#obtain(roomId, servers, held);
      } finally {
        this.#through.settled(roomId);
      }
    });
  }

  async #obtain(roomId: string, servers: readonly string[], held: OutboundPeek | null): Promise<PeekAnswer> {
    const peekIds = new Map<string, string>();
    const ask = async (server: string, signal: AbortSignal) => {
      this.#through.asked(roomId, server);
      const peekId = await this.#peekIdFor(server, held);
      signal.throwIfAborted();
      peekIds.set(server, peekId);
      return this.#ask(roomId, server, peekId, signal);
    };
    const times = { clock: this.#deps.clock, nextAfterMs: SLOW_MS, withinMs: WITHIN_MS };
    const { winner, failures, losers } = await firstAcceptable(servers, ask, times);
    const explained = failures.map(({ server, error }) => this.#explain(roomId, server, error));
    const unusable = failures.filter(({ error }) => error instanceof PeekAnswerUnusable);
    // A peek that was not heard of in time may go on, when no other takes its place.
    const begun = winner === null ? losers.filter((server) => server !== held?.server) : losers;
    for (const server of [...begun, ...unusable.map(({ server }) => server)]) {
      this.#endings.endQuietly(roomId, server, peekIds.get(server));
    }
    if (winner === null) throw combinedRefusal(explained);
    const { server, value: answer } = winner;
    try {
      await this.#keep(roomId, server, peekIds.get(server) ?? '', servers, answer, held);
    } catch (error) {
      this.#endings.endQuietly(roomId, server, peekIds.get(server));
      throw error;
    }
    return answer;
  }

  async #peekIdFor(server: string, held: OutboundPeek | null): Promise<string> {
    const again = held !== null && server === held.server;
    if (again && !(await takesEachPutAnew(this.#deps.remote, server))) return held.peekId;
    return this.#requests.newPeekId();
  }

  /** One `PUT`, and its answer verified. */
  async #ask(roomId: string, server: string, peekId: string, signal: AbortSignal): Promise<PeekAnswer> {
    const { keys, clock, logger } = this.#deps;
    const turn = this.#large.turn();
    try {
      const body = await this.#requests.put(server, roomId, peekId, { signal, beforeLarge: turn.enter });
      return await readPeekAnswer(body, roomId, {
        keys,
        clock,
        signal,
        rejected: (error) => {
          logger.warn(
            { room: roomId, server, reason: error.reason, why: error.message },
            'an event of a peek answer was dropped',
          );
        },
      });
    } finally {
      turn.leave();
    }
  }

  async #keep(
    roomId: string,
    server: string,
    peekId: string,
    candidates: readonly string[],
    { renewalIntervalMs }: PeekAnswer,
    held: OutboundPeek | null,
  ): Promise<void> {
    const { store, clock } = this.#deps;
    if (held !== null) {
      const now = await store.outboundPeeks.get(roomId);
      if (now?.phase !== 'live' || now.peekId !== held.peekId) {
        throw new PeekAnswerUnusable('invalid', 'the peek was let go meanwhile');
      }
    }
    const now = clock.now();
    const peek: OutboundPeek = {
      roomId,
      server,
      peekId,
      candidates,
      renewalIntervalMs,
      renewAt: renewAt(now, renewalIntervalMs),
      heardAt: now,
      phase: 'live',
    };
    await store.outboundPeeks.put(peek);
    this.#through.note(roomId, peek);
  }

  #explain(roomId: string, server: string, error: unknown): Failure {
    const failure = failureOf(server, error);
    this.#deps.logger.info(
      { room: roomId, server, reason: failure.reason },
      'a server could not be peeked through',
    );
    return failure;
  }
}
