import { clampRenewal, PeekAnswerUnusable, readPeekAnswer } from '../feeds/peek-answer.ts';
import type { RemoteFeed } from '../feeds/remote-feed.ts';
import type { Clock } from '../platform/clock.ts';
import type { Logger } from '../platform/log.ts';
import type { Random } from '../platform/random.ts';
import {
  type KeyRing,
  RemoteRefusal,
  type RemoteServers,
  RemoteUnreachable,
} from '../remote-servers/remote-servers.ts';
import { type OutboundPeek, type RoomLog, type Store, StoreDownError } from '../store/store.ts';
import { classifyRefusal, combinedRefusal, type Failure, orderedCandidates } from './candidates.ts';
import { PeekRequests } from './peek-requests.ts';

export interface OutboundPeeksDeps {
  readonly store: Store;
  readonly remote: RemoteServers;
  readonly keys: KeyRing;
  readonly feed: RemoteFeed;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly serverName: string;
}

/** Renewed after this part of the interval, so that one lost request does not cost the peek. */
const RENEW_AT = 0.75;
const RETRY_RENEWAL_MS = 60_000;

/** The rooms of other servers that we peek into: through whom, until when. One peek for each room. */
export class OutboundPeeks {
  readonly #deps: OutboundPeeksDeps;
  readonly #requests: PeekRequests;
  /** Rooms being subscribed, and through which server just now. */
  readonly #subscribing = new Map<string, { readonly result: Promise<RoomLog>; server: string }>();

  /** Live peeks: room ID → the server peeked through. */
  readonly #live = new Map<string, string>();

  constructor(deps: OutboundPeeksDeps) {
    this.#deps = deps;
    this.#requests = new PeekRequests(deps.remote, deps.random);
  }

  /**
   * Peeks into a room through the first candidate that lets us, unless that is done already. Several callers
   * share one attempt. Rejects with `MatrixError` (403, 404 or 502; the text names each server and why).
   */
  subscribe(roomId: string, servers: readonly string[]): Promise<RoomLog> {
    const running = this.#subscribing.get(roomId);
    if (running !== undefined) return running.result;
    const entry = { server: '', result: Promise.resolve().then(() => this.#subscribe(roomId, servers)) };
    this.#subscribing.set(roomId, entry);
    const done = () => this.#subscribing.delete(roomId);
    entry.result.then(done, done);
    return entry.result;
  }

  async #subscribe(roomId: string, servers: readonly string[]): Promise<RoomLog> {
    const { store, serverName } = this.#deps;
    const held = await store.outboundPeeks.get(roomId);
    if (held?.phase === 'live') {
      const log = await store.logs.get(roomId);
      if (log !== null && log.closed === null) return log;
    }
    const candidates = orderedCandidates(servers, serverName);
    const failures: Failure[] = [];
    for (const server of candidates) {
      try {
        return await this.#through(roomId, server, this.#requests.newPeekId(), candidates);
      } catch (error) {
        if (error instanceof StoreDownError) throw error;
        failures.push(this.#explain(roomId, server, error));
      }
    }
    throw combinedRefusal(failures);
  }

  /** One `PUT`, its answer verified and made a log. A room that turns out unusable is let go again. */
  #through(roomId: string, server: string, peekId: string, candidates: readonly string[]): Promise<RoomLog> {
    const { store, keys, feed, clock, logger } = this.#deps;
    const subscribing = this.#subscribing.get(roomId);
    if (subscribing !== undefined) subscribing.server = server;
    return feed.seed(roomId, async () => {
      const body = await this.#requests.put(server, roomId, peekId);
      try {
        const answer = await readPeekAnswer(body, roomId, {
          keys,
          clock,
          rejected: (error) => {
            logger.warn(
              { room: roomId, server, reason: error.reason, why: error.message },
              'an event of a peek answer was dropped',
            );
          },
        });
        const now = clock.now();
        await store.outboundPeeks.put({
          roomId,
          server,
          peekId,
          candidates,
          renewalIntervalMs: answer.renewalIntervalMs,
          renewAt: now + answer.renewalIntervalMs * RENEW_AT,
          heardAt: now,
          phase: 'live',
        });
        this.#live.set(roomId, server);
        return answer;
      } catch (error) {
        void this.#sendDelete({ server, roomId, peekId });
        throw error;
      }
    });
  }

  /** Learns the live peeks from the store and keeps up with it; `peeksThrough` answers from memory. */
  async start(): Promise<void> {
    this.#deps.store.subscribe((notice) => {
      if (notice.kind === 'outbound') void this.#learn(notice.roomId).catch(() => undefined);
    });
    for (const peek of await this.#deps.store.outboundPeeks.all()) this.#note(peek.roomId, peek);
  }

  async #learn(roomId: string): Promise<void> {
    this.#note(roomId, await this.#deps.store.outboundPeeks.get(roomId));
  }

  #note(roomId: string, peek: OutboundPeek | null): void {
    if (peek?.phase === 'live') this.#live.set(roomId, peek.server);
    else this.#live.delete(roomId);
  }

  /** Whether events of the room may come from this server. */
  peeksThrough(roomId: string, server: string): boolean {
    return this.#live.get(roomId) === server || this.#subscribing.get(roomId)?.server === server;
  }

  /** Whether we peek into any room through this server: only then are its transactions looked at. */
  anyThrough(server: string): boolean {
    for (const current of this.#live.values()) if (current === server) return true;
    for (const { server: current } of this.#subscribing.values()) if (current === server) return true;
    return false;
  }

  isPeeked(roomId: string): boolean {
    return this.#live.has(roomId) || this.#subscribing.has(roomId);
  }

  /** How many rooms are peeked into, for health. */
  get count(): number {
    return this.#live.size;
  }

  async heard(roomId: string): Promise<void> {
    const peek = await this.#deps.store.outboundPeeks.get(roomId);
    if (peek === null) return;
    await this.#deps.store.outboundPeeks.update(roomId, peek.peekId, { heardAt: this.#deps.clock.now() });
  }

  /** Nobody reads the room here any more: the `DELETE` is sent, now or by a later sweep. */
  async letGo(roomId: string): Promise<void> {
    const { store } = this.#deps;
    const peek = await store.outboundPeeks.get(roomId);
    if (peek === null) return;
    await store.outboundPeeks.update(roomId, peek.peekId, { phase: 'ending' });
    this.#live.delete(roomId);
    await this.#finish(peek, this.#deps.clock.now());
  }

  /** Renews what is due and finishes what is ending. */
  async sweep(now: number): Promise<void> {
    for (const peek of await this.#deps.store.outboundPeeks.all()) {
      if (peek.phase === 'ending') await this.#finish(peek, now);
      else if (await this.#needsCatchUp(peek.roomId)) await this.#putAgain(peek);
      else if (peek.renewAt <= now) await this.#renew(peek, now);
    }
  }

  async #needsCatchUp(roomId: string): Promise<boolean> {
    const log = await this.#deps.store.logs.get(roomId);
    return log !== null && log.feed === 'remote' && log.needsCatchUp;
  }

  /** The peeked server says that it has evicted this peek: it is asked for again. */
  async expired(roomId: string, peekId: string, server: string): Promise<void> {
    const peek = await this.#deps.store.outboundPeeks.get(roomId);
    if (peek === null || peek.peekId !== peekId || peek.server !== server || peek.phase !== 'live') return;
    await this.#putAgain(peek);
  }

  async #renew(peek: OutboundPeek, now: number): Promise<void> {
    const { store, logger } = this.#deps;
    try {
      const answer = await this.#requests.renew(peek.server, peek.roomId, peek.peekId);
      const interval = clampRenewal(answer.renewal_interval);
      await store.outboundPeeks.update(peek.roomId, peek.peekId, {
        renewalIntervalMs: interval,
        renewAt: now + interval * RENEW_AT,
      });
    } catch (error) {
      if (error instanceof StoreDownError) throw error;
      const unknown =
        error instanceof RemoteRefusal &&
        (error.status === 404 || error.status === 405 || error.errcode === 'M_UNRECOGNIZED');
      const elsewhere = error instanceof RemoteUnreachable && peek.candidates.length > 1;
      if (unknown || elsewhere) return this.#putAgain(peek);
      logger.warn(
        { room: peek.roomId, server: peek.server, reason: String(error) },
        'a peek could not be renewed; it is tried again',
      );
      await store.outboundPeeks.update(peek.roomId, peek.peekId, { renewAt: now + RETRY_RENEWAL_MS });
    }
  }

  /** Through the same server, or else the next candidate. Meanwhile the room is read from what we have. */
  async #putAgain(peek: OutboundPeek): Promise<void> {
    const { store, clock } = this.#deps;
    const { roomId, candidates } = peek;
    for (const server of new Set([peek.server, ...candidates])) {
      try {
        const peekId = server === peek.server ? peek.peekId : this.#requests.newPeekId();
        await this.#through(roomId, server, peekId, candidates);
        return;
      } catch (error) {
        if (error instanceof StoreDownError) throw error;
        this.#explain(roomId, server, error);
      }
    }
    await store.outboundPeeks.update(roomId, peek.peekId, { renewAt: clock.now() + RETRY_RENEWAL_MS });
  }

  async #finish(peek: OutboundPeek, now: number): Promise<void> {
    // By then the peeked server has evicted it for want of renewal.
    const evicted = peek.renewAt + peek.renewalIntervalMs <= now;
    if (evicted || (await this.#sendDelete(peek)))
      await this.#deps.store.outboundPeeks.remove(peek.roomId, peek.peekId);
  }

  /** True when the peek is gone at the other end. */
  async #sendDelete(peek: Pick<OutboundPeek, 'server' | 'roomId' | 'peekId'>): Promise<boolean> {
    try {
      await this.#requests.delete(peek.server, peek.roomId, peek.peekId);
      return true;
    } catch (error) {
      if (error instanceof RemoteRefusal && error.status < 500 && error.status !== 429) return true;
      this.#deps.logger.info(
        { room: peek.roomId, server: peek.server, reason: String(error) },
        'a peek could not be ended at the peeked server; it is tried again',
      );
      return false;
    }
  }

  #explain(roomId: string, server: string, error: unknown): Failure {
    const failure: Failure =
      error instanceof PeekAnswerUnusable
        ? { server, kind: error.kind === 'forbidden' ? 'forbidden' : 'failed', reason: error.message }
        : classifyRefusal(server, error);
    this.#deps.logger.info(
      { room: roomId, server, reason: failure.reason },
      'a server could not be peeked through',
    );
    return failure;
  }
}
