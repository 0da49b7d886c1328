import { clampRenewal, PeekAnswerUnusable } from '../feeds/answers/peek-answer.ts';
import type { RemoteFeed } from '../feeds/remote/remote-feed.ts';
import type { JsonObject } from '../matrix/json.ts';
import type { Clock } from '../platform/clock.ts';
import type { Logger } from '../platform/log.ts';
import type { Metrics } from '../platform/metrics.ts';
import { RemoteRefusal } from '../remote-servers/remote-servers.ts';

import { type OutboundPeek, type RoomLog, type Store, StoreDownError } from '../store/store.ts';
import { NobodyLetsUs } from './candidates.ts';
import type { Companions } from './companions.ts';
import type { Endings } from './endings.ts';
import { Patience } from './patience.ts';
import type { PeekRequests } from './peek-requests.ts';
import type { PeekedThrough } from './peeked-through.ts';
import { isSilent, renewAt } from './renewal.ts';
import type { Standing } from './standing.ts';
import type { Subscriber } from './subscriber.ts';
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

interface Parts {
  readonly requests: PeekRequests;
  readonly through: PeekedThrough;
  readonly subscriber: Subscriber;
  readonly companions: Companions;
  readonly endings: Endings;
  readonly standing: Standing;
  /** By room: since when nobody lets us. */
  readonly patience: Patience;
}

/** Keeps the peeks on one room alive, moves them to other servers, or sees them off. */
export class Upkeep {
  readonly #deps: UpkeepDeps;
  readonly #parts: Parts;
  /** By room: when it may be asked for as a whole again because it needs to catch up. */
  readonly #pace = new Patience();
  readonly #whom: WhomToAsk;

  constructor(deps: UpkeepDeps, parts: Parts) {
    this.#deps = deps;
    this.#parts = parts;
    this.#whom = new WhomToAsk(deps, parts.standing);
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
      for (const peek of live) if (peek.begunAt + LOG_WITHIN_MS <= now) await this.letGo(peek);
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
    for (const peek of live) if (!there.includes(peek)) await this.letGo(peek);
    return there;
  }

  /**
   * The whole room, as its events are not enough; not too often, as the whole of a large one is dear to its server.
   * Where nothing but the state may be another, it is compared, if the server gives what is needed for that.
   */
  async #catchUp(peek: OutboundPeek): Promise<void> {
    const { clock, feed } = this.#deps;
    const began = clock.now();
    if (!(await feed.compare(peek.roomId, peek.server))) await this.#putAgain(peek);
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
      if (patience.mayTry(roomId, now)) await this.#putAgain(peek);
      return;
    }
    if ((due && patience.mayTry(roomId, now)) || ask) await this.#renew(peek, now, due);
  }

  /** Its server says that the peek has ended there. */
  async expired(peek: OutboundPeek): Promise<void> {
    if (!isCompanion(peek, await this.#whom.others(peek))) return this.#putAgain(peek);
    await this.#renewCompanion(peek, this.#deps.clock.now());
  }

  async #renewCompanion(peek: OutboundPeek, now: number): Promise<void> {
    if ((await this.#parts.companions.renew(peek, now)) === 'refused') await this.letGo(peek);
  }

  /** The `DELETE` is sent at once, and nobody waits for it. */
  async letGo(peek: OutboundPeek): Promise<void> {
    const { store } = this.#deps;
    if (!(await store.outboundPeeks.update(peek.roomId, peek.peekId, { phase: 'ending' }))) return;
    await this.#parts.through.learn(peek.roomId);
    this.#parts.endings.finishQuietly({ ...peek, phase: 'ending' });
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
    } catch (error) {
      if (error instanceof StoreDownError) throw error;
      const limited = error instanceof RemoteRefusal && error.status === 429;
      if (error instanceof RemoteRefusal && error.status < 500 && !limited) {
        standing.heard(server);
        return this.#putAgain(peek);
      }
      if (!limited) standing.failed(server, now);
      logger.warn(
        { room: roomId, server, reason: String(error) },
        'a peek could not be renewed; it is tried again, and then through another server',
      );
      if (!due) return;
      if (!limited && (await this.#whom.servers(peek)).some((other) => other !== server))
        return this.#putAgain(peek);
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
    if ((await this.#whom.others(peek)).length > 0) await this.letGo(peek);
    else await this.#putAgain(peek, true);
  }

  /** The room has closed, or its ACL shuts us out: its log closes where it stands, and the peeks on it end. */
  async #shutOut(peek: OutboundPeek): Promise<void> {
    const { store, logger } = this.#deps;
    logger.info(
      { room: peek.roomId, server: peek.server },
      'the room may no longer be peeked; its peeks end',
    );
    await store.logs.append(peek.roomId, { entries: [], close: { reason: 'refused' } });
    await this.letGo(peek);
  }

  /**
   * Asks for the whole room again: at the same server, or else at another candidate, or else at a server of the
   * room's members. `elsewhere`: not at the same server. Meanwhile the room is read from what we have.
   */
  async #putAgain(peek: OutboundPeek, elsewhere = false): Promise<void> {
    const { store, clock, logger, metrics } = this.#deps;
    const { subscriber, standing, patience } = this.#parts;
    const { roomId, server, peekId } = peek;
    try {
      const servers = (await this.#whom.servers(peek)).filter((one) => !elsewhere || one !== server);
      await subscriber.subscribe(roomId, servers, peek);
      patience.succeeded(roomId);
      const held = await store.outboundPeeks.ofRoom(roomId);
      if (!held.some((one) => one.server === server && one.phase === 'live')) {
        metrics.failovers.inc({ outcome: 'moved' });
      }
    } catch (error) {
      if (error instanceof PeekAnswerUnusable) return;
      if (!(error instanceof NobodyLetsUs)) throw error;
      const said = error.by(server);
      if (said?.kind === 'forbidden') {
        return (await this.#whom.others(peek)).length > 0 ? this.letGo(peek) : this.#shutOut(peek);
      }
      if (said?.answered === false) standing.failed(server, clock.now());
      metrics.failovers.inc({ outcome: 'nobody' });
      const again = patience.failed(roomId, clock.now());
      await store.outboundPeeks.update(roomId, peekId, { renewAt: again });
      logger.warn(
        { room: roomId, server, reason: error.message, again: new Date(again).toISOString() },
        'the room can be peeked through no server just now: it is read from what is here, and tried again',
      );
    }
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
