import type { Clock, Timer } from '../../platform/clock.ts';
import type { Logger } from '../../platform/log.ts';
import type { Notice, Store } from '../store.ts';
import { RedisConnection } from './connection.ts';
import { RedisDevicePeeks } from './device-peeks.ts';
import { RedisInboundPeeks } from './inbound-peeks.ts';
import { Indexes } from './indexes.ts';
import { probeKey, roomKeys } from './keys.ts';
import { RedisLeases } from './leases.ts';
import { RedisOutboundPeeks } from './outbound-peeks.ts';
import { RedisNotices } from './redis-notices.ts';
import type { RedisTarget } from './redis-url.ts';
import { RedisReplicas } from './replicas.ts';
import { mapBounded } from './replies.ts';
import { RoomIndex } from './room-index.ts';
import { RedisRoomLogs } from './room-logs.ts';
import { scripts } from './scripts.ts';

const RECONCILE_EVERY_MS = 15_000;
/** So many that in a cluster of some nodes each of them gets one. */
const PROBES_IN_CLUSTER = 16;
/** As long as an event may be: memory that has room for less is full. */
const PROBE = 'x'.repeat(65_536);
const PROBE_MS = 1000;

/** The store of several processes: one Redis (6.2 or newer), its Sentinels, or a Cluster. */
export class RedisStore implements Store {
  readonly kind = 'redis';
  readonly logs: RedisRoomLogs;
  readonly replicas: RedisReplicas;
  readonly devicePeeks: RedisDevicePeeks;
  readonly inboundPeeks: RedisInboundPeeks;
  readonly outboundPeeks: RedisOutboundPeeks;
  readonly leases: RedisLeases;
  readonly #redis: RedisConnection;
  readonly #notices: RedisNotices;
  readonly #indexes: Indexes;
  readonly #rooms: RoomIndex;
  readonly #clock: Clock;
  readonly #probes: number;
  #timer: Timer;
  #closed = false;

  /** Begins to connect. `graceMs`: see `Indexes`. */
  constructor(target: RedisTarget, clock: Clock, logger: Logger, graceMs?: number) {
    const redis = new RedisConnection(target, logger);
    this.#redis = redis;
    this.#clock = clock;
    this.#probes = target.kind === 'cluster' ? PROBES_IN_CLUSTER : 1;
    this.#notices = new RedisNotices(redis, target, logger);
    this.#indexes = new Indexes(redis, clock, graceMs);
    this.#rooms = this.#indexes.register(new RoomIndex(redis));
    this.logs = new RedisRoomLogs(redis, this.#indexes, this.#rooms, this.#notices);
    this.replicas = new RedisReplicas(redis, this.#indexes, this.#rooms);
    this.devicePeeks = new RedisDevicePeeks(redis, this.#indexes, this.#notices);
    this.inboundPeeks = new RedisInboundPeeks(redis, this.#indexes, this.#notices);
    this.outboundPeeks = new RedisOutboundPeeks(redis, this.#indexes, this.#notices);
    this.leases = new RedisLeases(redis);
    this.#timer = this.#reconcileLater();
  }

  /** Waits for the first answer, at most `ms`. Rejects with `StoreDownError`; the store goes on trying. */
  ready(ms: number): Promise<void> {
    return this.#redis.ready(ms);
  }

  subscribe(listener: (notice: Notice) => void): () => void {
    return this.#notices.subscribe(listener);
  }

  async ping(): Promise<void> {
    await this.#redis.call('PING');
  }

  async probe(): Promise<void> {
    for (let n = 0; n < this.#probes; n++) {
      await this.#redis.call('SET', probeKey(n), PROBE, 'PX', PROBE_MS);
    }
  }

  async size(): Promise<number> {
    const roomIds = await this.#indexes.members(this.#rooms);
    const rooms = await mapBounded(roomIds, async (roomId) => {
      const { log, entries, stateEvents, auth } = roomKeys(roomId);
      return Number(await this.#redis.run(scripts.roomSize, [log, entries, stateEvents, auth], []));
    });
    const servers = await this.inboundPeeks.servers();
    const announcements = await mapBounded(servers, (server) => this.inboundPeeks.toAnnounce(server));
    const peeks = await Promise.all([
      this.devicePeeks.all(),
      this.inboundPeeks.all(),
      this.inboundPeeks.cursors(),
      this.outboundPeeks.all(),
    ]);
    const others = [...announcements, ...peeks].reduce((sum, list) => sum + list.length, 0);
    return rooms.reduce((sum, held) => sum + held, others);
  }

  /** Takes leftovers out of the indexes; see `Indexes`. Done by itself from time to time. */
  reconcile(): Promise<void> {
    return this.#indexes.reconcile();
  }

  /** Policies of `maxmemory` under which the nodes may throw away what we store; empty when there is none. */
  async evictionPolicies(): Promise<string[]> {
    const infos = await this.#redis.info('memory');
    const policies = infos.map((info) => /^maxmemory_policy:(\S+)/m.exec(info)?.[1] ?? 'noeviction');
    const bounded = infos.map((info) => Number(/^maxmemory:(\d+)/m.exec(info)?.[1] ?? 0) > 0);
    return policies.filter((policy, node) => bounded[node] && policy !== 'noeviction');
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#timer.cancel();
    this.#notices.close();
    await this.#redis.close();
  }

  #reconcileLater(): Timer {
    return this.#clock.after(RECONCILE_EVERY_MS, () => {
      this.reconcile()
        // Redis is away: the checks are still listed when it is back.
        .catch(() => {})
        .finally(() => {
          if (!this.#closed) this.#timer = this.#reconcileLater();
        });
    });
  }
}
