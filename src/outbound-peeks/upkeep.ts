import { clampRenewal, PeekAnswerUnusable } from '../feeds/peek-answer.ts';
import type { Clock } from '../platform/clock.ts';
import type { Logger } from '../platform/log.ts';
import { MatrixError } from '../platform/matrix-error.ts';
import { RemoteRefusal, type RemoteServers, RemoteUnreachable } from '../remote-servers/remote-servers.ts';
import { type OutboundPeek, type Store, StoreDownError } from '../store/store.ts';
import { orderedCandidates } from './candidates.ts';
import type { Endings } from './endings.ts';
import type { PeekRequests } from './peek-requests.ts';
import type { PeekedThrough } from './peeked-through.ts';
import { takesEachPutAnew } from './peer-manners.ts';
import { renewAt, renewedAt } from './renewal.ts';
import type { Subscriber } from './subscriber.ts';

const RETRY_RENEWAL_MS = 60_000;
/** A peek is stored shortly before its log is. Without one after this time it is left from a crash. */
const LOG_WITHIN_MS = 60_000;

export interface UpkeepDeps {
  readonly store: Store;
  readonly remote: RemoteServers;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly serverName: string;
}

/** Keeps one peek alive, or sees it off. */
export class Upkeep {
  readonly #deps: UpkeepDeps;
  readonly #requests: PeekRequests;
  readonly #through: PeekedThrough;
  readonly #subscriber: Subscriber;
  readonly #endings: Endings;

  constructor(
    deps: UpkeepDeps,
    requests: PeekRequests,
    through: PeekedThrough,
    subscriber: Subscriber,
    endings: Endings,
  ) {
    this.#deps = deps;
    this.#requests = requests;
    this.#through = through;
    this.#subscriber = subscriber;
    this.#endings = endings;
  }

  /** What the peek needs at `now`, if anything. Rejects with `StoreDownError` alone. */
  async tend(roomId: string, now: number): Promise<void> {
    const { store } = this.#deps;
    const peek = await store.outboundPeeks.get(roomId);
    if (peek === null) return;
    if (peek.phase === 'ending') return this.#endings.finish(peek, now);
    const log = await store.logs.get(roomId);
    if (log === null) {
      if (renewedAt(peek) + LOG_WITHIN_MS <= now) await this.letGo(peek);
    } else if (log.feed === 'remote' && log.needsCatchUp) await this.putAgain(peek);
    else if (peek.renewAt <= now) await this.#renew(peek, now);
  }

  /** The `DELETE` is sent at once, and nobody waits for it. */
  async letGo(peek: OutboundPeek): Promise<void> {
    const { store } = this.#deps;
    if (!(await store.outboundPeeks.update(peek.roomId, peek.peekId, { phase: 'ending' }))) return;
    this.#through.note(peek.roomId, null);
    this.#endings.finishQuietly({ ...peek, phase: 'ending' });
  }

  async #renew(peek: OutboundPeek, now: number): Promise<void> {
    const { store, remote, logger } = this.#deps;
    if (await takesEachPutAnew(remote, peek.server)) return this.putAgain(peek);
    try {
      const answer = await this.#requests.renew(peek.server, peek.roomId, peek.peekId);
      const interval = clampRenewal(answer.renewal_interval);
      await store.outboundPeeks.update(peek.roomId, peek.peekId, {
        renewalIntervalMs: interval,
        renewAt: renewAt(now, interval),
      });
    } catch (error) {
      if (error instanceof StoreDownError) throw error;
      const unknown =
        error instanceof RemoteRefusal &&
        (error.status === 404 || error.status === 405 || error.errcode === 'M_UNRECOGNIZED');
      const refused = error instanceof RemoteRefusal && error.status === 403;
      const elsewhere = error instanceof RemoteUnreachable && peek.candidates.length > 1;
      if (unknown || refused || elsewhere) return this.putAgain(peek);
      logger.warn(
        { room: peek.roomId, server: peek.server, reason: String(error) },
        'a peek could not be renewed; it is tried again',
      );
      await store.outboundPeeks.update(peek.roomId, peek.peekId, { renewAt: now + RETRY_RENEWAL_MS });
    }
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

  /** Through the same server, or else another candidate. Meanwhile the room is read from what we have. */
  async putAgain(peek: OutboundPeek): Promise<void> {
    const { store, clock, serverName } = this.#deps;
    const { roomId, server, candidates } = peek;
    try {
      const servers = orderedCandidates(roomId, [server, ...candidates], serverName);
      await this.#subscriber.subscribe(roomId, servers, peek);
    } catch (error) {
      const nobody = error instanceof MatrixError || error instanceof PeekAnswerUnusable;
      if (!nobody) throw error;
      if (error instanceof MatrixError && error.status === 403) return this.#shutOut(peek);
      await store.outboundPeeks.update(roomId, peek.peekId, { renewAt: clock.now() + RETRY_RENEWAL_MS });
    }
  }
}
