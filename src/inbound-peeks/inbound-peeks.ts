import { type Homeserver, NotReadable } from '../homeserver/homeserver.ts';
import type { JsonObject } from '../matrix/json.ts';
import type { Clock } from '../platform/clock.ts';
import type { Logger } from '../platform/log.ts';
import { MatrixError } from '../platform/matrix-error.ts';
import type { Metrics } from '../platform/metrics.ts';
import type { Random } from '../platform/random.ts';
import type { RemoteServers } from '../remote-servers/remote-servers.ts';
import type { InboundPeek, RoomLog, Store } from '../store/store.ts';
import { Admission, checkPeekId } from './admission.ts';
import { dropOverdue } from './overdue.ts';
import { PeekQuota, quotaExceeded } from './peek-quota.ts';
import { PeekingServers } from './peeking-servers.ts';
import { RelayChecks } from './relay-check.ts';
import { AnswersUnderWay, type RoomAnswer } from './room-answer.ts';
import { assertOpen, notReadable, RoomGate } from './room-gate.ts';
import { RoomPages } from './room-pages.ts';
import { Sender } from './sender.ts';
import { Snapshots } from './snapshots.ts';
import { TransactionIds } from './transaction.ts';

/** A renewal that is on its way when the interval ends still counts. */
const RENEWAL_GRACE_MS = 60_000;
/** In one sweep; the next one goes on. */
const MOST_EVICTED = 5_000;

export interface InboundPeeksDeps {
  readonly store: Store;
  readonly homeserver: Homeserver;
  readonly remote: RemoteServers;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly metrics: Pick<Metrics, 'sendTransactions'>;
  readonly serverName: string;
  /** Names this process in leases: the same again after a restart, which then need not wait for them to end. */
  readonly owner: string;
  readonly limits: {
    readonly maxPerServer: number;
    readonly maxTotal: number;
    readonly renewalIntervalMs: number;
  };
  /** Opens the room's feed and log, or returns the log there. May reject with `NotReadable`. */
  readonly openLog: (roomId: string) => Promise<RoomLog>;
  /** No peeking server reads this room any more. */
  readonly released: (roomId: string) => void;
}

/** Which servers peek into our rooms (MSC2444), and what they are answered. */
export class InboundPeeks {
  readonly #deps: InboundPeeksDeps;
  readonly #admission: Admission;
  readonly #gate: RoomGate;
  readonly #snapshots: Snapshots;
  readonly #underWay = new AnswersUnderWay();
  readonly #checks: RelayChecks;
  readonly #pages: RoomPages;
  readonly #sender: Sender;
  readonly #servers: PeekingServers;
  readonly #quota: PeekQuota;
  /** Rooms being opened for a peek that is not in the store yet, with how many there are of each. */
  readonly #opening = new Map<string, number>();

  constructor(deps: InboundPeeksDeps) {
    const { store, homeserver } = deps;
    this.#deps = deps;
    this.#admission = new Admission(homeserver);
    this.#gate = new RoomGate(homeserver);
    this.#snapshots = new Snapshots(homeserver, store.logs);
    this.#checks = new RelayChecks({ logs: store.logs, homeserver });
    this.#quota = new PeekQuota(store.inboundPeeks, deps.clock, deps.limits.maxTotal);
    this.#servers = new PeekingServers(store);
    this.#pages = new RoomPages(store, deps.logger);
    this.#sender = new Sender({
      ...deps,
      pages: this.#pages,
      transactionIds: new TransactionIds(deps.random),
      checks: this.#checks,
      finished: (roomId) => void this.#releaseUnread([roomId]),
    });
  }

  /** Takes up what an earlier run left unsent. Rejects with `StoreDownError`. */
  async start(): Promise<void> {
    this.#pages.start();
    await this.#servers.start();
    await this.#sender.start();
  }

  stop(): Promise<void> {
    this.#servers.stop();
    this.#pages.stop();
    return this.#sender.stop();
  }

  /**
   * `PUT /peek/{roomId}/{peekId}`: registers the peek, or renews it, and answers the room. Rejects with
   * `MatrixError` (400, 403, 404, 429, 503), `HomeserverDown` and `StoreDownError`.
   */
  async put(
    server: string,
    roomId: string,
    peekId: string,
    versions: readonly string[],
  ): Promise<RoomAnswer> {
    checkPeekId(peekId);
    await this.#admission.check(server, roomId, versions);
    await this.#quota.check(server, roomId, peekId);
    const created = await this.#register(server, roomId, peekId);
    try {
      return await this.#answer(server, roomId, { peek_id: peekId });
    } catch (error) {
      // It may have ended by itself meanwhile.
      if (created) await this.remove(server, roomId, peekId).catch(() => undefined);
      throw error;
    }
  }

  /** `GET /peek/{roomId}`: the same answer, with nothing registered. Rejects as `put` does. */
  async snapshotOnly(server: string, roomId: string, versions: readonly string[]): Promise<RoomAnswer> {
    await this.#admission.check(server, roomId, versions);
    return this.#answer(server, roomId, {});
  }

  /** `POST …/renew`. Rejects with `MatrixError` 404 when there is no such peek, 403 when it may not go on. */
  async renew(server: string, roomId: string, peekId: string): Promise<JsonObject> {
    const { store } = this.#deps;
    if ((await store.inboundPeeks.get(server, roomId, peekId)) === null) throw noSuchPeek();
    await this.#gate.pass(server, roomId);
    const log = await store.logs.get(roomId);
    const peek = await store.inboundPeeks.get(server, roomId, peekId);
    if (log === null || peek === null) throw noSuchPeek();
    await store.inboundPeeks.put(this.#peek(server, roomId, peekId), log.head, Number.MAX_SAFE_INTEGER);
    return { renewal_interval: this.#deps.limits.renewalIntervalMs };
  }

  /** `DELETE /peek/{roomId}/{peekId}`. Rejects with `MatrixError` 404 when there is no such peek. */
  async remove(server: string, roomId: string, peekId: string): Promise<JsonObject> {
    if (!(await this.#deps.store.inboundPeeks.remove(server, roomId, peekId))) throw noSuchPeek();
    await this.#releaseUnread([roomId]);
    return {};
  }

  /** Whether the server may have a peek; false is certain. Answered from memory. */
  mayPeek(server: string): boolean {
    return this.#servers.has(server);
  }

  /**
   * Ends the peeks that were not renewed in time, and tells each server once, in `expired_peeks`. What a server
   * could not be told or sent for a day is given up.
   */
  async evict(now: number): Promise<void> {
    const { inboundPeeks } = this.#deps.store;
    const rooms = new Set<string>();
    for (const listed of await inboundPeeks.due(now, MOST_EVICTED)) {
      const { server, roomId, peekId } = listed;
      const peek = await inboundPeeks.get(server, roomId, peekId);
      if (peek === null || peek.expiresAt > now) continue;
      await inboundPeeks.announceLater(server, [{ roomId, peekId }], now);
      await inboundPeeks.remove(server, roomId, peekId);
      this.#sender.wake(server, null);
      rooms.add(roomId);
    }
    for (const roomId of await dropOverdue(this.#deps.store, now)) rooms.add(roomId);
    if (rooms.size > 0) await this.#releaseUnread([...rooms]);
  }

  /** The room is no longer open: its peeks end, and what is unsent up to position `at` still goes out. */
  async roomClosed(roomId: string, at: number): Promise<void> {
    const { inboundPeeks } = this.#deps.store;
    for (const { server, peekId } of await inboundPeeks.ofRoom(roomId)) {
      await inboundPeeks.remove(server, roomId, peekId, at);
      this.#sender.wake(server, roomId);
    }
    await this.#releaseUnread([roomId]);
  }

  /** The room shuts the server out: its peeks there end, and it is told so, as it is of peeks that it did not renew. */
  async shutOut(roomId: string, server: string): Promise<void> {
    const { store, clock } = this.#deps;
    const peeks = (await store.inboundPeeks.ofRoom(roomId)).filter((peek) => peek.server === server);
    for (const { peekId } of peeks) {
      await store.inboundPeeks.announceLater(server, [{ roomId, peekId }], clock.now());
      await store.inboundPeeks.remove(server, roomId, peekId);
    }
    if (peeks.length === 0) return;
    this.#sender.wake(server, null);
    await this.#releaseUnread([roomId]);
  }

  /** The feed and the cursor, before anything is read, so that nothing falls between. Tells whether it is new. */
  async #register(server: string, roomId: string, peekId: string): Promise<boolean> {
    const { store, limits } = this.#deps;
    this.#opening.set(roomId, (this.#opening.get(roomId) ?? 0) + 1);
    let outcome: 'created' | 'renewed' | 'full' = 'full';
    try {
      const log = await this.#openLog(roomId);
      outcome = await store.inboundPeeks.put(
        this.#peek(server, roomId, peekId),
        log.head,
        limits.maxPerServer,
      );
    } finally {
      const others = (this.#opening.get(roomId) ?? 1) - 1;
      if (others > 0) this.#opening.set(roomId, others);
      else this.#opening.delete(roomId);
      if (outcome === 'full') await this.#releaseUnread([roomId]);
    }
    if (outcome === 'full') throw quotaExceeded('Your server holds as many peeks as it may');
    if (outcome === 'created') this.#quota.added(server);
    return outcome === 'created';
  }

  async #openLog(roomId: string): Promise<RoomLog> {
    try {
      const log = await this.#deps.openLog(roomId);
      if (log.closed === null) return log;
    } catch (error) {
      if (!(error instanceof NotReadable)) throw error;
    }
    throw notReadable();
  }

  /** `named`: what stands in this answer alone. */
  async #answer(server: string, roomId: string, named: JsonObject): Promise<RoomAnswer> {
    try {
      const snapshot = await this.#snapshots.take(roomId, server);
      assertOpen(snapshot);
      const own = JSON.stringify({ ...named, renewal_interval: this.#deps.limits.renewalIntervalMs });
      const head = Buffer.from(`${own.slice(0, -1)},`);
      return {
        bytes: head.length + snapshot.bytes,
        chunks: [head, ...snapshot.chunks],
        release: this.#underWay.hold(snapshot, snapshot.bytes),
      };
    } catch (error) {
      if (error instanceof NotReadable) throw notReadable();
      throw error;
    }
  }

  #peek(server: string, roomId: string, peekId: string): InboundPeek {
    const now = this.#deps.clock.now();
    const expiresAt = now + this.#deps.limits.renewalIntervalMs + RENEWAL_GRACE_MS;
    return { server, roomId, peekId, createdAt: now, renewedAt: now, expiresAt };
  }

  /** Says of each room that no server reads any more that it is released. */
  async #releaseUnread(roomIds: readonly string[]): Promise<void> {
    const { store, released, logger } = this.#deps;
    try {
      for (const roomId of roomIds) {
        if ((await store.inboundPeeks.hasCursors(roomId)) || this.#opening.has(roomId)) continue;
        this.#checks.forget(roomId);
        released(roomId);
      }
    } catch (error) {
      logger.warn({ err: error }, 'could not look for rooms that no server reads any more');
    }
  }
}

function noSuchPeek(): MatrixError {
  return new MatrixError(404, 'M_NOT_FOUND', 'There is no such peek');
}
