import type { RemoteFeed } from '../feeds/remote/remote-feed.ts';
import type { Clock } from '../platform/clock.ts';
import { Gate } from '../platform/gate.ts';
import type { Logger } from '../platform/log.ts';
import type { Metrics } from '../platform/metrics.ts';
import type { Random } from '../platform/random.ts';
import { SingleFlight } from '../platform/single-flight.ts';
import type { RemoteServers } from '../remote-servers/remote-servers.ts';
import type { MemberServers } from '../rooms/member-servers.ts';
import type { VerifyWorkers } from '../rooms/verify-workers.ts';
import type { OutboundPeek, RoomLog, Store } from '../store/store.ts';
import { AskRoom } from './ask-room.ts';
import { orderedCandidates } from './candidates.ts';
import { Companions } from './companions.ts';
import { Endings } from './endings.ts';
import { Patience } from './patience.ts';
import { PeekRequests } from './peek-requests.ts';
import { countFailing, type PeekedRoom, peekedRooms } from './peeked-rooms.ts';
import { PeekedThrough } from './peeked-through.ts';
import { serversOf } from './servers-of.ts';
import { SharedAttempts } from './shared-attempts.ts';
import { Standing } from './standing.ts';
import { type RoomRace, Subscriber } from './subscriber.ts';
import { Upkeep } from './upkeep.ts';

export interface OutboundPeeksDeps {
  readonly store: Store;
  readonly remote: RemoteServers;
  readonly workers: VerifyWorkers;
  readonly feed: RemoteFeed;
  readonly memberServers: MemberServers;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly serverName: string;
  /** Through how many servers each room is peeked at once: 1 or 2. */
  readonly serversPerRoom: number;
}

/** Rooms tended at once: servers that never answer hold up few others. */
const TENDED_AT_ONCE = 8;
/** … and of those that are peeked through one server. */
const TENDED_OF_ONE = 4;
/** A sweep that takes longer goes on beside the next one. */
const SWEEP_WAITS_MS = 30_000;
/** A room is not put again for `expired_peeks` more often than this. */
const EXPIRED_PAUSE_MS = 60_000;
/** As many rooms as one transaction may say have expired. */
const MOST_EXPIRED = 100;
/** That a room's server was heard is written down so often, and not with each transaction. */
const HEARD_EVERY_MS = 60_000;

/** The rooms of other servers that we peek into: through whom, until when. */
export class OutboundPeeks {
  readonly #deps: OutboundPeeksDeps;
  readonly #through: PeekedThrough;
  readonly #standing = new Standing();
  readonly #subscriber: Subscriber;
  readonly #upkeep: Upkeep;
  readonly #attempts: SharedAttempts;
  readonly #tending = new SingleFlight<void>();
  readonly #gate = new Gate(TENDED_AT_ONCE, Number.POSITIVE_INFINITY, { running: TENDED_OF_ONE });
  /** Room ID → when it was last put again since its peek had expired. */
  readonly #expiredAt = new Map<string, number>();

  constructor(deps: OutboundPeeksDeps) {
    this.#deps = deps;
    const requests = new PeekRequests(deps.remote, deps.random);
    const endings = new Endings(deps, requests);
    const through = new PeekedThrough(deps.store);
    const standing = this.#standing;
    const patience = new Patience();
    const subscriber = new Subscriber(deps, {
      rooms: new AskRoom(deps, requests),
      through,
      standing,
      endings,
    });
    const companions = new Companions(deps, { subscriber, standing });
    this.#through = through;
    this.#subscriber = subscriber;
    this.#attempts = new SharedAttempts({
      clock: deps.clock,
      race: () => subscriber.race(),
      open: (roomId, race) => this.#open(roomId, race),
    });
    this.#upkeep = new Upkeep(deps, {
      requests,
      through,
      subscriber,
      companions,
      endings,
      standing,
      patience,
    });
  }

  /** Learns the live peeks from the store and keeps up with it; `peeksThrough` answers from memory. */
  start(): Promise<void> {
    return this.#through.start();
  }

  /**
   * Peeks into a room through the first candidate that lets us, unless that is done already. Several callers share one
   * attempt: the servers that a later one names are asked beside those that are asked already. `owner`: for whom, so
   * that nobody takes the places of others. Takes 45 seconds at most until somebody lets us. Rejects with
   * `MatrixError` (403, 404 or 502; the text names each server that this caller named, and why).
   */
  subscribe(roomId: string, servers: readonly string[], owner = ''): Promise<RoomLog> {
    return this.#attempts.join(roomId, servers, owner);
  }

  /**
   * The log of a room that is peeked already, for who names these servers; null where it has to be opened. Rejects with
   * `StoreDownError`.
   */
  async opened(roomId: string, servers: readonly string[]): Promise<RoomLog | null> {
    const [first] = await this.#live(roomId);
    const log = await this.#deps.store.logs.get(roomId);
    if (first === undefined || log === null || log.closed !== null) return null;
    await this.#learnCandidates(first, servers);
    if (log.asleep !== null) await this.#deps.store.logs.setFeed(roomId, { asleep: null });
    return log;
  }

  async #open(roomId: string, race: RoomRace): Promise<RoomLog> {
    const { store, serverName, memberServers } = this.#deps;
    const held = await this.opened(roomId, race.candidates);
    if (held !== null) return held;
    for (const peek of await this.#live(roomId)) await this.#upkeep.letGo(peek);
    const log = await store.logs.get(roomId);
    const known = log === null ? [] : [...(log.asleep?.via ?? []), ...(await memberServers.of(roomId))];
    const order = (servers: readonly string[]) =>
      orderedCandidates(roomId, [...servers, ...known], serverName);
    const opened = await this.#subscriber.open(roomId, race, order, async () => {
      const now = await store.logs.get(roomId);
      // Our homeserver has come into the room while it was asked for, and feeds it.
      return log?.feed !== 'resident' && now?.feed === 'resident' && now.closed === null ? now : null;
    });
    if (opened.feed === 'resident') await this.letGo(roomId);
    if (log !== null && log.asleep !== null) await store.logs.setFeed(roomId, { asleep: null });
    return opened;
  }

  /** The servers through which the room is peeked, and those that it might be; none where it is not. */
  async via(roomId: string): Promise<string[]> {
    const live = await this.#live(roomId);
    return [...new Set(live.flatMap(({ server, candidates }) => [server, ...candidates]))];
  }

  /** Servers that a later caller names are there for the day when the present one is gone. */
  async #learnCandidates(peek: OutboundPeek, servers: readonly string[]): Promise<void> {
    const { store, serverName } = this.#deps;
    const candidates = orderedCandidates(peek.roomId, [...peek.candidates, ...servers], serverName);
    if (candidates.every((server) => peek.candidates.includes(server))) return;
    await store.outboundPeeks.update(peek.roomId, peek.peekId, { candidates });
  }

  /** Whether events of the room may come from this server. */
  peeksThrough(roomId: string, server: string): boolean {
    return this.#through.peeks(roomId, server);
  }

  /** Whether we peek into any room through this server: only then are its transactions looked at. */
  anyThrough(server: string): boolean {
    return this.#through.peeksAny(server);
  }

  /** Whether servers are being asked for the room, by whomever. */
  isOpening(roomId: string): boolean {
    return this.#attempts.has(roomId);
  }

  isPeeked(roomId: string): boolean {
    return this.#through.isPeeked(roomId) || this.#attempts.has(roomId);
  }

  /** From memory: the servers that the room is peeked through, then other candidates, at most `mostOthers`. */
  servers(roomId: string, mostOthers: number): string[] {
    return serversOf(this.#through.of(roomId), mostOthers, (server) => this.#standing.isTroubled(server));
  }

  /** How many rooms are peeked into, for health. */
  get count(): number {
    return this.#through.count;
  }

  /** The rooms and their servers, those with a failing server first, at most `limit`; for health. */
  rooms(limit: number): PeekedRoom[] {
    return peekedRooms(this.#through.rooms(), this.#standing, limit);
  }

  /** How many rooms are peeked through no server but failing ones, as far as this process has tried. */
  get failing(): number {
    return countFailing(this.#through.rooms(), this.#standing);
  }

  /** The server has sent events of the room. */
  async heard(roomId: string, server: string): Promise<void> {
    this.#standing.heard(server);
    const peek = this.#through.live(roomId, server);
    const heardAt = this.#deps.clock.now();
    if (peek === null || heardAt < peek.heardAt + HEARD_EVERY_MS) return;
    await this.#deps.store.outboundPeeks.update(roomId, peek.peekId, { heardAt });
  }

  /** Nobody reads the room here any more: the `DELETE` is sent now, and by later sweeps until it has arrived. */
  async letGo(roomId: string): Promise<void> {
    for (const peek of await this.#live(roomId)) await this.#upkeep.letGo(peek);
  }

  /** The server is in the room no longer, and sends nothing more of it: another one is asked. Rejects with `StoreDownError`. */
  async serverLeft(roomId: string, server: string): Promise<void> {
    const peek = (await this.#live(roomId)).find((held) => held.server === server);
    if (peek !== undefined) await this.#tend(roomId, server, () => this.#upkeep.serverLeft(peek));
  }

  async #live(roomId: string): Promise<OutboundPeek[]> {
    const peeks = await this.#deps.store.outboundPeeks.ofRoom(roomId);
    return peeks.filter(({ phase }) => phase === 'live');
  }

  /** Renews what is due, leaves servers that are lost, and finishes what is ending, room beside room. */
  async sweep(now: number): Promise<void> {
    const { store, remote } = this.#deps;
    for (const [roomId, at] of this.#expiredAt) {
      if (at + EXPIRED_PAUSE_MS <= now) this.#expiredAt.delete(roomId);
    }
    const peeks = await store.outboundPeeks.all();
    const rooms = Map.groupBy(peeks, ({ roomId }) => roomId);
    this.#upkeep.prune(new Set(rooms.keys()));
    const live = peeks.filter(({ phase }) => phase === 'live');
    const toAsk = this.#standing.toAsk(live, (server) => remote.availableIn(server) > 0, now);
    const logs = new Map((await store.logs.all()).map((log) => [log.roomId, log]));
    const tended = [...rooms]
      .filter(([roomId, held]) => this.#upkeep.isDue(held, logs.get(roomId), now, toAsk))
      .filter(([roomId]) => !this.#attempts.has(roomId) && !this.#tending.has(roomId))
      .filter(([roomId]) => !this.#deps.feed.isCompleting(roomId))
      .map(([roomId, [first]]) =>
        this.#tend(roomId, first?.server, () => this.#upkeep.tend(roomId, now, toAsk)),
      );
    await this.#forAWhile(Promise.allSettled(tended));
  }

  /** One after the other for each room; of the rooms, and of those of one server, a few at once. */
  #tend(roomId: string, server: string | undefined, work: () => Promise<void>): Promise<void> {
    return this.#tending.run(roomId, () => this.#gate.run(work, undefined, server));
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
    const { clock, logger } = this.#deps;
    const last = this.#expiredAt.get(roomId) ?? Number.NEGATIVE_INFINITY;
    if (this.#through.live(roomId, server) === null || last + EXPIRED_PAUSE_MS > clock.now()) return;
    try {
      const peek = (await this.#live(roomId)).find((held) => held.peekId === peekId);
      if (peek?.server !== server) return;
      this.#expiredAt.set(roomId, clock.now());
      await this.#tend(roomId, server, () => this.#upkeep.expired(peek));
    } catch (error) {
      logger.warn({ room: roomId, server, reason: String(error) }, 'an expired peek could not be put again');
    }
  }
}
