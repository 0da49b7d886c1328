import { clampRenewal } from '../feeds/answers/peek-answer.ts';
import type { RemoteFeed } from '../feeds/remote/remote-feed.ts';
import type { JsonObject } from '../matrix/json.ts';
import type { Clock } from '../platform/clock.ts';
import type { Logger } from '../platform/log.ts';
import type { Metrics } from '../platform/metrics.ts';
import { certificateAdvice } from '../platform/untrusted-certificate.ts';
import { RemoteRefusal } from '../remote-servers/remote-servers.ts';
import { type OutboundPeek, type RoomLog, type Store, StoreDownError } from '../store/store.ts';
import type { Companions } from './companions.ts';
import { Moves, type MovesParts } from './moves.ts';
import { Patience } from './patience.ts';
import type { PeekRequests } from './peek-requests.ts';
import { isSilent, renewAt } from './renewal.ts';
import { WhomToAsk, type WhomToAskDeps } from './whom-to-ask.ts';

/** A peek is stored shortly before its log is. Without one after this time it is left from a crash. */
const LOG_WITHIN_MS = 60_000;
/** A room that needs its state again and again is asked for so often … */
const CATCH_UP_EVERY_MS = 60_000;
/** … and where the whole of it takes long, so many times as seldom as it takes. */
const CATCH_UP_SHARE = 20;
/** A server that asks for patience gets no more than this. */
const LONGEST_WAIT_MS = 10 * 60_000;

export interface UpkeepDeps extends WhomToAskDeps {
  readonly store: Store;
  readonly feed: RemoteFeed;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: Metrics;
}

interface Parts extends MovesParts {
  readonly requests: PeekRequests;
  readonly companions: Companions;
}

/** Keeps the peeks on one room alive, moves them to other servers, or sees them off. */
export class Upkeep {
  readonly #deps: UpkeepDeps;
  readonly #parts: Parts;
  /** By room: when it may be asked for as a whole again because it needs to catch up. */
  readonly #pace = new Patience();
  readonly #whom: WhomToAsk;
  readonly #moves: Moves;

  constructor(deps: UpkeepDeps, parts: Parts) {
    this.#deps = deps;
    this.#parts = parts;
    this.#whom = new WhomToAsk(deps, parts.standing);
    this.#moves = new Moves(deps, parts, this.#whom);
  }

  /** Whether a room needs anything at `now`: so that quiet ones cost a sweep nothing more. */
  isDue(
    peeks: readonly OutboundPeek[],
    log: RoomLog | undefined,
    now: number,
    toAsk: ReadonlySet<string>,
  ): boolean {
    const { standing, companions } = this.#parts;
    if (log === undefined || (log.feed === 'remote' && log.needsCatchUp)) return true;
    return (
      companions.isMissing(peeks) ||
      peeks.some(
        (peek) =>
          peek.phase === 'ending' ||
          peek.renewAt <= now ||
          isSilent(peek, now) ||
          toAsk.has(peek.peekId) ||
          standing.isLost(peek.server),
      )
    );
  }

  /**
   * What the peeks on a room need at `now`, if anything; `toAsk` are the IDs of peeks whose server ought to be
   * asked whether it is there. Rejects with `StoreDownError` alone.
   */
  async tend(roomId: string, now: number, toAsk: ReadonlySet<string>): Promise<void> {
    const { store } = this.#deps;
    const { endings } = this.#parts;
    const peeks = await store.outboundPeeks.ofRoom(roomId);
    const ending = peeks.filter(({ phase }) => phase === 'ending').map((peek) => endings.finish(peek, now));
    const [tended, ...ended] = await Promise.allSettled([this.#tendLive(peeks, now, toAsk), ...ending]);
    for (const result of [tended, ...ended]) if (result.status === 'rejected') throw result.reason;
  }

  async #tendLive(peeks: readonly OutboundPeek[], now: number, toAsk: ReadonlySet<string>): Promise<void> {
    const { store } = this.#deps;
    const { patience, companions } = this.#parts;
    const live = await this.#withoutLost(peeks.filter(({ phase }) => phase === 'live'));
    const [first] = live;
    if (first === undefined) return;
    const { roomId } = first;
    const log = await store.logs.get(roomId);
    if (log === null) {
      for (const peek of live) if (peek.begunAt + LOG_WITHIN_MS <= now) await this.#moves.letGo(peek);
      return;
    }
    if (
      log.feed === 'remote' &&
      log.needsCatchUp &&
      patience.mayTry(roomId, now) &&
      this.#pace.mayTry(roomId, now)
    ) {
      return this.#catchUp(first);
    }
    for (const peek of live) await this.#keepUp(peek, live, log, now, toAsk.has(peek.peekId));
    if (log.feed === 'remote' && log.closed === null) {
      await companions.complete(roomId, now, () => this.#whom.servers(first));
    }
  }

  /** Where the room is peeked through another server as well, nothing has to be asked for in place of a lost one. */
  async #withoutLost(live: readonly OutboundPeek[]): Promise<readonly OutboundPeek[]> {
    const { standing } = this.#parts;
    const there = live.filter(({ server }) => !standing.isLost(server));
    if (there.length === 0 || there.length === live.length) return live;
    for (const peek of live) if (!there.includes(peek)) await this.#moves.letGo(peek);
    return there;
  }

  /**
   * The whole room, as its events are not enough; not too often, as the whole of a large one is dear to its server.
   * Where nothing but the state may be another, it is compared, if the server gives what is needed for that.
   */
  async #catchUp(peek: OutboundPeek): Promise<void> {
    const { clock, feed } = this.#deps;
    const began = clock.now();
    if (!(await feed.compare(peek.roomId, peek.server))) await this.#moves.putAgain(peek);
    const now = clock.now();
    this.#pace.rest(peek.roomId, now + Math.max(CATCH_UP_EVERY_MS, CATCH_UP_SHARE * (now - began)));
  }

  async #keepUp(
    peek: OutboundPeek,
    live: readonly OutboundPeek[],
    log: RoomLog,
    now: number,
    ask: boolean,
  ): Promise<void> {
    const { standing, patience } = this.#parts;
    const { roomId, server } = peek;
    const others = live.filter((other) => other !== peek);
    const lost = standing.isLost(server);
    const due = peek.renewAt <= now;
    const stale = isSilent(peek, now) || (due && peek.how !== 'put');
    if (isCompanion(peek, others)) {
      if (due || stale) await this.#renewCompanion(peek, now);
      else if (ask) await this.#renew(peek, now, false);
      return;
    } else if ((lost || stale) && log.feed === 'remote') {
      if (patience.mayTry(roomId, now)) await this.#moves.putAgain(peek);
      return;
    }
    if ((due && patience.mayTry(roomId, now)) || ask) await this.#renew(peek, now, due);
  }

  /** Its server says that the peek has ended there. */
  async expired(peek: OutboundPeek): Promise<void> {
    if (!isCompanion(peek, await this.#whom.others(peek))) return this.#moves.putAgain(peek);
    await this.#renewCompanion(peek, this.#deps.clock.now());
  }

  async #renewCompanion(peek: OutboundPeek, now: number): Promise<void> {
    if ((await this.#parts.companions.renew(peek, now)) === 'refused') await this.#moves.letGo(peek);
  }

  async #renew(peek: OutboundPeek, now: number, due: boolean): Promise<void> {
    const { store, logger } = this.#deps;
    const { standing, patience } = this.#parts;
    const { roomId, server, peekId } = peek;
    try {
      const answer = await this.#ask(peek);
      standing.heard(server);
      if (answer === null) return;
      const interval = clampRenewal(answer.renewal_interval);
      const times = { renewalIntervalMs: interval, renewAt: renewAt(now, interval) };
      await store.outboundPeeks.update(roomId, peekId, times);
      patience.succeeded(roomId);
      standing.letIn(peekId);
    } catch (error) {
      if (error instanceof StoreDownError) throw error;
      const limited = error instanceof RemoteRefusal && error.status === 429;
      if (error instanceof RemoteRefusal && error.status < 500 && !limited) {
        standing.heard(server);
        // Only asked whether it is there: it is, and the room is asked for when its time comes.
        if (!due && !patience.mayTry(roomId, now)) return;
        return this.#moves.putAgain(peek);
      }
      if (!limited) standing.failed(server, now);
      logger.warn(
        { room: roomId, server, reason: String(error), ...certificateAdvice(error) },
        'a peek could not be renewed; it is tried again, and then through another server',
      );
      if (!due) return;
      if (!limited && (await this.#whom.servers(peek)).some((other) => other !== server))
        return this.#moves.putAgain(peek);
      const again = limited ? now + waitOf(error) : patience.failed(roomId, now);
      await store.outboundPeeks.update(roomId, peekId, { renewAt: again });
    }
  }

  /** The answer to a renewal; null from a server that knows none, and is only asked whether it is there. */
  async #ask({ how, server, roomId, peekId }: OutboundPeek): Promise<JsonObject | null> {
    const { requests } = this.#parts;
    if (how === 'put') return requests.renew(server, roomId, peekId);
    await requests.version(server);
    return null;
  }

  /** The server of this peek has left the room: another one takes its place, or is there already. */
  async serverLeft(peek: OutboundPeek): Promise<void> {
    if ((await this.#whom.others(peek)).length > 0) await this.#moves.letGo(peek);
    else await this.#moves.putAgain(peek, true);
  }

  /** The `DELETE` is sent at once, and nobody waits for it. */
  letGo(peek: OutboundPeek): Promise<void> {
    return this.#moves.letGo(peek);
  }

  /** Forgets all rooms but these. */
  prune(roomIds: ReadonlySet<string>): void {
    this.#parts.patience.prune(roomIds);
    this.#pace.prune(roomIds);
    this.#parts.companions.prune(roomIds);
  }
}

/** Whether it is the second of the peeks on its room. */
function isCompanion(peek: OutboundPeek, others: readonly OutboundPeek[]): boolean {
  return others.some((other) => other.begunAt < peek.begunAt);
}

function waitOf(error: unknown): number {
  const asked = error instanceof RemoteRefusal ? error.body.retry_after_ms : null;
  const wait = typeof asked === 'number' && Number.isFinite(asked) ? asked : LOG_WITHIN_MS;
  return Math.min(Math.max(wait, 1000), LONGEST_WAIT_MS);
}
