import { type PeekAnswer, PeekAnswerUnusable } from '../feeds/answers/peek-answer.ts';
import type { RemoteFeed } from '../feeds/remote/remote-feed.ts';
import type { Clock } from '../platform/clock.ts';
import type { Logger } from '../platform/log.ts';
import { certificateAdvice } from '../platform/untrusted-certificate.ts';
import { RemoteRefusal } from '../remote-servers/remote-servers.ts';
import type { OutboundPeek, RoomLog, Store } from '../store/store.ts';
import type { Asked, AskRoom } from './ask-room.ts';
import { CandidateRace } from './candidate-race.ts';
import { combinedRefusal, type Failure, failureOf, MOST_CANDIDATES } from './candidates.ts';
import type { Endings } from './endings.ts';
import type { PeekedThrough } from './peeked-through.ts';
import { AskedLately, RecentFailures } from './recent-failures.ts';
import { intervalOf, renewAt } from './renewal.ts';
import type { Standing } from './standing.ts';

/** A server that takes longer than this has the next one beside it. */
const SLOW_MS = 3_000;
/** For a whole subscription: every candidate, its answer and the verifying of it. */
export const WITHIN_MS = 45_000;

/** Asks servers for a room, until one lets us. */
export type RoomRace = CandidateRace<Asked>;

export interface SubscriberDeps {
  readonly store: Store;
  readonly feed: RemoteFeed;
  readonly clock: Clock;
  readonly logger: Logger;
}

interface Parts {
  readonly rooms: AskRoom;
  readonly through: PeekedThrough;
  readonly standing: Standing;
  readonly endings: Endings;
}

/** Peeks into a room through the first of several servers that lets us. */
export class Subscriber {
  readonly #deps: SubscriberDeps;
  readonly #parts: Parts;
  readonly #recent: RecentFailures;

  constructor(deps: SubscriberDeps, parts: Parts) {
    this.#deps = deps;
    this.#parts = parts;
    this.#recent = new RecentFailures(deps.clock);
  }

  /**
   * Asks the servers in their order, and makes the room's log out of the answer, or goes on with it. `held` is the
   * peek that this one continues: its server is asked under the same peek ID, and when another server lets us, it
   * ends. Rejects with `NobodyLetsUs` (403, 404, 502), `PeekAnswerUnusable` when the held one was let go meanwhile,
   * or `StoreDownError`.
   */
  async subscribe(roomId: string, servers: readonly string[], held: OutboundPeek): Promise<RoomLog> {
    return this.#deps.feed.seed(roomId, async () => (await this.obtain(roomId, servers, held)).answer);
  }

  /** A race that has not begun, which callers may join. */
  race(): RoomRace {
    const { clock } = this.#deps;
    return new CandidateRace({ clock, nextAfterMs: SLOW_MS, withinMs: WITHIN_MS });
  }

  /**
   * The same for a room that nobody peeks yet: those are asked whom the callers of `race` name, as `order` puts them.
   * What `overtaken` gives once there is an answer takes the place of it, and the peek is let go. Rejects as
   * `subscribe`; whom each caller named, and why they failed, `race` tells each.
   */
  async open(
    roomId: string,
    race: RoomRace,
    order: (servers: readonly string[]) => readonly string[],
    overtaken: () => Promise<RoomLog | null>,
  ): Promise<RoomLog> {
    let instead: RoomLog | null = null;
    try {
      return await this.#deps.feed.seed(roomId, async () => {
        const { answer } = await this.#settling(roomId, () => this.#obtain(roomId, race, order, null, null));
        instead = await overtaken().catch((error: unknown) => {
          answer.rest?.end();
          throw error;
        });
        if (instead === null) return answer;
        answer.rest?.end();
        throw new PeekAnswerUnusable('invalid', 'the room has been opened in another way meanwhile');
      });
    } catch (error) {
      if (instead === null) throw error;
      return instead;
    }
  }

  /**
   * Asks without touching the room's log; the caller ends the answer's rest. `held` null: beside the peeks that the
   * room has. `candidates` are kept for the day when the server is gone.
   */
  obtain(
    roomId: string,
    servers: readonly string[],
    held: OutboundPeek | null,
    candidates: readonly string[] = held?.candidates ?? servers,
  ): Promise<{ server: string; answer: PeekAnswer }> {
    const race = this.race();
    void race.join({ owner: '', servers, until: this.#deps.clock.now() + WITHIN_MS });
    const inOrder = (named: readonly string[]) => named;
    return this.#settling(roomId, () => this.#obtain(roomId, race, inOrder, held, candidates));
  }

  async #settling<T>(roomId: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } finally {
      this.#parts.through.settled(roomId);
    }
  }

  async #obtain(
    roomId: string,
    race: RoomRace,
    order: (servers: readonly string[]) => readonly string[],
    held: OutboundPeek | null,
    candidates: readonly string[] | null,
  ): Promise<{ server: string; answer: PeekAnswer }> {
    const { rooms, through, standing, endings } = this.#parts;
    const peekIds = new Map<string, string>();
    let isBusy = false;
    const ask = async (server: string, signal: AbortSignal): Promise<Asked> => {
      const again = server === held?.server ? held : null;
      if (isBusy) throw new AskedLately('not asked, since the present server only asks for patience');
      if (again === null) this.#recent.check(server, roomId);
      through.asked(roomId, server);
      try {
        return await rooms.ask(roomId, server, again, signal, (peekId) => peekIds.set(server, peekId));
      } catch (error) {
        isBusy ||= again !== null && error instanceof RemoteRefusal && error.status === 429;
        throw error;
      }
    };
    const { winner: first, failures, losers } = await race.run(ask, order);
    const explained = failures.map(({ server, error }) => this.#explain(roomId, server, error));
    const unusable = failures.filter(({ error }) => error instanceof PeekAnswerUnusable);
    // What the held server's answer shows to be closed is closed, whoever still shows it open.
    const winner = unusable.some(({ server, error }) => server === held?.server && isClosed(error))
      ? null
      : first;
    if (winner === null && first !== null) {
      first.value.answer.rest?.end();
      endings.endQuietly(roomId, first.server, peekIds.get(first.server));
    }
    for (const server of [...losers, ...unusable.map(({ server }) => server)]) {
      // What we hold ends in its own time, if it does.
      if (server !== held?.server) endings.endQuietly(roomId, server, peekIds.get(server));
    }
    if (winner === null) throw combinedRefusal(explained);
    const { server, value: asked } = winner;
    this.#recent.succeeded(server, roomId);
    standing.heard(server);
    try {
      const kept = candidates ?? [server, ...race.candidates.filter((one) => one !== server)];
      await this.#keep(roomId, server, kept.slice(0, MOST_CANDIDATES), asked, held);
    } catch (error) {
      asked.answer.rest?.end();
      if (asked.how !== 'get') endings.endQuietly(roomId, server, asked.peekId);
      throw error;
    }
    return { server, answer: asked.answer };
  }

  async #keep(
    roomId: string,
    server: string,
    candidates: readonly string[],
    { answer, peekId, how }: Asked,
    held: OutboundPeek | null,
  ): Promise<void> {
    const { store, clock, logger } = this.#deps;
    const { through, endings } = this.#parts;
    const now = clock.now();
    const renewalIntervalMs = intervalOf(how, answer.renewalIntervalMs);
    const peek: OutboundPeek = {
      roomId,
      server,
      peekId,
      candidates,
      renewalIntervalMs,
      renewAt: renewAt(now, renewalIntervalMs),
      heardAt: now,
      begunAt: peekId === held?.peekId ? held.begunAt : now,
      how,
      phase: 'live',
    };
    const moved = held !== null && held.server !== server;
    const over =
      held === null ? undefined : ({ peekId: held.peekId, becomes: moved ? 'ending' : 'forgotten' } as const);
    if (!(await store.outboundPeeks.put(peek, over))) {
      throw new PeekAnswerUnusable('invalid', 'the peek was let go meanwhile');
    }
    await through.learn(roomId);
    if (!moved) return;
    logger.info(
      { room: roomId, server: held.server, to: server },
      'the room is peeked through another server from now on',
    );
    endings.finishQuietly({ ...held, phase: 'ending' });
  }

  /** Why a server failed, noted for everybody who might ask it next. */
  #explain(roomId: string, server: string, error: unknown): Failure {
    const failure = failureOf(server, error);
    if (error instanceof AskedLately) return failure;
    this.#recent.failed(server, roomId, error);
    this.#deps.logger.info(
      { room: roomId, server, reason: failure.reason, ...certificateAdvice(error) },
      'a server could not be peeked through',
    );
    return failure;
  }
}

/** The room as it was given, every event verified, is not open to peeking. */
function isClosed(error: unknown): boolean {
  return error instanceof PeekAnswerUnusable && error.kind === 'forbidden';
}
