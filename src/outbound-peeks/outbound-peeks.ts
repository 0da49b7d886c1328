import type { RemoteFeed } from '../feeds/remote-feed.ts';
import type { Clock } from '../platform/clock.ts';
import { Gate } from '../platform/gate.ts';
import type { Logger } from '../platform/log.ts';
import type { Random } from '../platform/random.ts';
import { SingleFlight } from '../platform/single-flight.ts';
import type { KeyRing, RemoteServers } from '../remote-servers/remote-servers.ts';
import type { RoomLog, Store } from '../store/store.ts';
import { orderedCandidates } from './candidates.ts';
import { Endings } from './endings.ts';
import { PeekRequests } from './peek-requests.ts';
import { PeekedThrough } from './peeked-through.ts';
import { Subscriber } from './subscriber.ts';
import { Upkeep } from './upkeep.ts';

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

/** Rooms tended at once: servers that never answer hold up few others. */
const TENDED_AT_ONCE = 8;
/** A sweep that takes longer goes on beside the next one. */
const SWEEP_WAITS_MS = 30_000;
/** A room is not put again for `expired_peeks` more often than this. */
const EXPIRED_PAUSE_MS = 60_000;
/** As many rooms as one transaction may say have expired. */
const MOST_EXPIRED = 100;

/** The rooms of other servers that we peek into: through whom, until when. One peek for each room. */
export class OutboundPeeks {
  readonly #deps: OutboundPeeksDeps;
  readonly #through: PeekedThrough;
  readonly #subscriber: Subscriber;
  readonly #upkeep: Upkeep;
  readonly #subscribing = new SingleFlight<RoomLog>();
  readonly #tending = new SingleFlight<void>();
  readonly #gate = new Gate(TENDED_AT_ONCE);
  /** Room ID → when it was last put again since its peek had expired. */
  readonly #expiredAt = new Map<string, number>();

  constructor(deps: OutboundPeeksDeps) {
    this.#deps = deps;
    const requests = new PeekRequests(deps.remote, deps.random);
    const endings = new Endings(deps, requests);
    this.#through = new PeekedThrough(deps.store);
    this.#subscriber = new Subscriber(deps, requests, this.#through, endings);
    this.#upkeep = new Upkeep(deps, requests, this.#through, this.#subscriber, endings);
  }

  /** Learns the live peeks from the store and keeps up with it; `peeksThrough` answers from memory. */
  start(): Promise<void> {
    return this.#through.start();
  }

  /**
   * Peeks into a room through the first candidate that lets us, unless that is done already. Several callers
   * share one attempt. Rejects with `MatrixError` (403, 404 or 502; the text names each server and why).
   */
  subscribe(roomId: string, servers: readonly string[]): Promise<RoomLog> {
    return this.#subscribing.run(roomId, async () => {
      const { store, serverName } = this.#deps;
      const held = await store.outboundPeeks.get(roomId);
      if (held?.phase === 'live') {
        const log = await store.logs.get(roomId);
        if (log !== null && log.closed === null) return log;
      }
      return this.#subscriber.subscribe(roomId, orderedCandidates(roomId, servers, serverName), null);
    });
  }

  /** Whether events of the room may come from this server. */
  peeksThrough(roomId: string, server: string): boolean {
    return this.#through.peeks(roomId, server);
  }

  /** Whether we peek into any room through this server: only then are its transactions looked at. */
  anyThrough(server: string): boolean {
    return this.#through.peeksAny(server);
  }

  isPeeked(roomId: string): boolean {
    return this.#through.isPeeked(roomId) || this.#subscribing.has(roomId);
  }

  /** How many rooms are peeked into, for health. */
  get count(): number {
    return this.#through.count;
  }

  async heard(roomId: string): Promise<void> {
    const peek = await this.#deps.store.outboundPeeks.get(roomId);
    if (peek === null) return;
    await this.#deps.store.outboundPeeks.update(roomId, peek.peekId, { heardAt: this.#deps.clock.now() });
  }

  /** Nobody reads the room here any more: the `DELETE` is sent now, and by later sweeps until it has arrived. */
  async letGo(roomId: string): Promise<void> {
    const peek = await this.#deps.store.outboundPeeks.get(roomId);
    if (peek !== null) await this.#upkeep.letGo(peek);
  }

  /** Renews what is due and finishes what is ending, room beside room. */
  async sweep(now: number): Promise<void> {
    for (const [roomId, at] of this.#expiredAt) {
      if (at + EXPIRED_PAUSE_MS <= now) this.#expiredAt.delete(roomId);
    }
    const peeks = await this.#deps.store.outboundPeeks.all();
    const tended = peeks
      .filter(({ roomId }) => !this.#subscribing.has(roomId) && !this.#tending.has(roomId))
      .map(({ roomId }) => this.#tend(roomId, () => this.#upkeep.tend(roomId, now)));
    await this.#forAWhile(Promise.allSettled(tended));
  }

  /** One after the other for each room; of the rooms, a few at once. */
  #tend(roomId: string, work: () => Promise<void>): Promise<void> {
    return this.#tending.run(roomId, () => this.#gate.run(work));
  }

  /** Rejects with what the first of them failed with, if it did so in time. */
  async #forAWhile(work: Promise<PromiseSettledResult<void>[]>): Promise<void> {
    const done = new AbortController();
    const results = await Promise.race([work, this.#deps.clock.sleep(SWEEP_WAITS_MS, done.signal)]);
    done.abort();
    const failed = results?.find((result) => result.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
  }

  /**
   * The server says that it has evicted these peeks: those that are live through it are asked for again. Never
   * rejects; what fails is made up for when the peek is due for renewal.
   */
  async expired(
    server: string,
    peeks: readonly { readonly roomId: string; readonly peekId: string }[],
  ): Promise<void> {
    const rooms = new Map(peeks.slice(0, MOST_EXPIRED).map(({ roomId, peekId }) => [roomId, peekId]));
    await Promise.all([...rooms].map(([roomId, peekId]) => this.#expired(server, roomId, peekId)));
  }

  async #expired(server: string, roomId: string, peekId: string): Promise<void> {
    const { store, clock, logger } = this.#deps;
    const last = this.#expiredAt.get(roomId) ?? Number.NEGATIVE_INFINITY;
    if (!this.#through.isLive(roomId, server) || last + EXPIRED_PAUSE_MS > clock.now()) return;
    try {
      const peek = await store.outboundPeeks.get(roomId);
      if (peek?.peekId !== peekId || peek.server !== server || peek.phase !== 'live') return;
      this.#expiredAt.set(roomId, clock.now());
      await this.#tend(roomId, () => this.#upkeep.putAgain(peek));
    } catch (error) {
      logger.warn({ room: roomId, server, reason: String(error) }, 'an expired peek could not be put again');
    }
  }
}
