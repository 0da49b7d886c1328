import { pino } from 'pino';
import { onTestFinished } from 'vitest';
import {
  DeviceSectionReader,
  type DeviceSections,
  type SectionRequest,
} from '../../src/client-sync/device-sections.ts';
import { Joins } from '../../src/client-sync/joins.ts';
import { PeekLedger, type SincelessSync } from '../../src/client-sync/peek-ledger.ts';
import { RoomSections } from '../../src/client-sync/room-sections.ts';
import { DeviceFilters } from '../../src/client-view/device-filters.ts';
import { NO_FILTER, parseFilter } from '../../src/client-view/filter.ts';
import { IgnoredUsers, NOBODY_IGNORED } from '../../src/client-view/ignored-users.ts';
import { DevicePeeks } from '../../src/device-peeks/device-peeks.ts';
import { RemoteFeed } from '../../src/feeds/remote/remote-feed.ts';
import { ResidentFeeds } from '../../src/feeds/resident/resident-feeds.ts';
import { RoomQueues } from '../../src/feeds/room-queues.ts';
import type { Identity } from '../../src/homeserver/homeserver.ts';
import { InboundPeeks } from '../../src/inbound-peeks/inbound-peeks.ts';
import type { JsonObject } from '../../src/matrix/json.ts';
import { LearnedServers } from '../../src/outbound-peeks/learned-servers.ts';
import { OutboundPeeks } from '../../src/outbound-peeks/outbound-peeks.ts';
import { BecomingRemote } from '../../src/peeking/becoming-remote.ts';
import { BecomingResident } from '../../src/peeking/becoming-resident.ts';
import { Dormancy } from '../../src/peeking/dormancy.ts';
import { type Peeker, Peeking } from '../../src/peeking/peeking.ts';
import { MOST_PREVIEWS_OF_USER, Previewing } from '../../src/peeking/previewing.ts';
import { Residency } from '../../src/peeking/residency.ts';
import { RoomChanges } from '../../src/peeking/room-changes.ts';
import { RoomOpening } from '../../src/peeking/room-opening.ts';
import { RoomReaders } from '../../src/peeking/room-readers.ts';
import { Sweeps } from '../../src/peeking/sweeps.ts';
import { Waking } from '../../src/peeking/waking.ts';
import { createMetrics } from '../../src/platform/metrics.ts';
import { systemRandom } from '../../src/platform/random.ts';
import { ReplicaSummaries } from '../../src/room-reads/replica-summaries.ts';
import { MemberServers } from '../../src/rooms/member-servers.ts';
import { RoomWakes } from '../../src/rooms/room-wakes.ts';
import { StateAt } from '../../src/rooms/state-at.ts';
import type { VerifyWorkers } from '../../src/rooms/verify-workers.ts';
import { openStore } from '../../src/store/open-store.ts';
import type { OutboundPeek, RoomLog, Store } from '../../src/store/store.ts';
import { ManualClock } from './manual-clock.ts';
import { type RoomBuilder, TestKeyRing } from './room-builder.ts';
import { RoomHomeserver } from './room-homeserver.ts';
import { ScriptedRemote } from './scripted-remote.ts';
import { ScriptedWorkers } from './scripted-workers.ts';

export const HOUR = 3_600_000;
export const DAY = 24 * HOUR;
export const EXPIRE_AFTER = 7 * DAY;
export const PEER = 'there.test';
export const ALICE: Peeker = {
  userId: '@alice:here.test',
  deviceId: 'PHONE',
  isGuest: false,
  caller: { authorization: 'Bearer alice', query: '', userAgent: null, forwardedFor: null },
};

export interface HouseOptions {
  readonly perDevice?: number;
  readonly sincelessSync?: SincelessSync;
  /** Default: nobody falls asleep. */
  readonly dormantAfterMs?: number;
  readonly serversPerRoom?: number;
  /** Default: SQLite in memory. */
  readonly store?: Store;
  /** Who reads and verifies large answers. Default: this thread. */
  readonly workers?: VerifyWorkers;
  /** Resolves when what the store was asked has come to rest; see `ManualClock`. */
  readonly settled?: () => Promise<void>;
}

/**
 * All of peeking on a real store in memory, between a homeserver and other servers that a test scripts. Time
 * stands still until it is moved.
 */
export class PeekingHouse {
  readonly clock: ManualClock;
  readonly store: Store;
  readonly homeserver = new RoomHomeserver();
  readonly remote = new ScriptedRemote();
  readonly keys = new TestKeyRing();
  readonly logger = pino({ level: 'silent' });
  readonly metrics = createMetrics();
  readonly wakes: RoomWakes;
  readonly residentFeeds: ResidentFeeds;
  readonly remoteFeed: RemoteFeed;
  readonly devicePeeks: DevicePeeks;
  readonly outbound: OutboundPeeks;
  readonly inbound: InboundPeeks;
  readonly readers: RoomReaders;
  readonly becomingResident: BecomingResident;
  readonly becomingRemote: BecomingRemote;
  readonly learned: LearnedServers;
  readonly opening: RoomOpening;
  readonly waking: Waking;
  readonly dormancy: Dormancy;
  readonly peeking: Peeking;
  readonly previewing: Previewing;
  readonly roomChanges: RoomChanges;
  readonly residency: Residency;
  readonly sweeps: Sweeps;
  readonly stateAt: StateAt;
  readonly sections: DeviceSectionReader;
  readonly filters: DeviceFilters;
  readonly ignoredUsers: IgnoredUsers;
  readonly summaries: ReplicaSummaries;
  readonly ledger: PeekLedger;
  readonly joins: Joins;

  static async open(options: HouseOptions = {}): Promise<PeekingHouse> {
    const clock = new ManualClock(Date.UTC(2026, 5, 1), options.settled);
    const store = options.store ?? (await storeInMemory(clock));
    onTestFinished(() => store.close());
    return PeekingHouse.on(store, clock, options);
  }

  /** On a store that is there already: what a restart finds. */
  static async on(store: Store, clock: ManualClock, options: HouseOptions = {}): Promise<PeekingHouse> {
    const house = new PeekingHouse(store, clock, options);
    const stopClosing = house.readers.watchClosing();
    const stopChanges = house.roomChanges.watch();
    await house.devicePeeks.start();
    await house.previewing.start();
    await house.outbound.start();
    await house.inbound.start();
    onTestFinished(async () => {
      stopClosing();
      stopChanges();
      await house.stop();
    });
    return house;
  }

  private constructor(store: Store, clock: ManualClock, options: HouseOptions) {
    this.clock = clock;
    this.store = store;
    const { homeserver, remote, keys, logger, metrics } = this;
    const common = { store, homeserver, remote, keys, clock, logger, metrics, random: systemRandom };
    this.wakes = new RoomWakes(store);
    this.residentFeeds = new ResidentFeeds({
      ...common,
      owner: 'this process',
      left: (roomId) => {
        this.residency.left(roomId);
        void this.becomingRemote.left(roomId);
      },
    });
    const members = new MemberServers({ store, clock, serverName: 'here.test' });
    this.remoteFeed = new RemoteFeed({ ...common, otherServers: (roomId) => members.of(roomId) });
    this.devicePeeks = new DevicePeeks(store, clock, {
      perDevice: options.perDevice ?? 50,
      expireAfterMs: EXPIRE_AFTER,
    });
    this.outbound = new OutboundPeeks({
      ...common,
      workers: options.workers ?? new ScriptedWorkers(),
      feed: this.remoteFeed,
      memberServers: new MemberServers({ store, clock, serverName: 'here.test' }),
      serverName: 'here.test',
      serversPerRoom: options.serversPerRoom ?? 1,
    });
    this.inbound = new InboundPeeks({
      ...common,
      serverName: 'here.test',
      owner: 'this process',
      limits: { maxPerServer: 1000, maxTotal: 1000, renewalIntervalMs: HOUR },
      openLog: (roomId) => this.readers.openForServer(roomId),
      released: (roomId) => void this.readers.releaseQuietly(roomId),
    });
    const { residentFeeds, outbound, inbound, devicePeeks } = this;
    this.readers = new RoomReaders({
      ...common,
      residentFeeds,
      remoteFeed: this.remoteFeed,
      outbound,
      inbound,
      queues: new RoomQueues(),
    });
    const { readers } = this;
    const moving = { ...common, residentFeeds, outbound, readers };
    this.becomingResident = new BecomingResident({ ...moving, remoteFeed: this.remoteFeed });
    this.becomingRemote = new BecomingRemote({ ...moving, inbound, serverName: 'here.test' });
    const { becomingResident } = this;
    this.learned = new LearnedServers('here.test');
    this.opening = new RoomOpening({ ...common, outbound, readers, becomingResident });
    const { learned, opening } = this;
    this.waking = new Waking({
      ...common,
      readers,
      opening,
      left: (roomId) => void this.becomingRemote.left(roomId),
    });
    const { waking } = this;
    const dormantAfterMs = options.dormantAfterMs ?? EXPIRE_AFTER;
    this.dormancy = new Dormancy({ ...common, readers, waking, dormantAfterMs });
    this.peeking = new Peeking({ ...common, learned, devicePeeks, readers, opening, becomingResident });
    this.previewing = new Previewing({
      ...common,
      outbound,
      peeking: this.peeking,
      devicePeeks,
      readers,
      queues: readers.queues,
      mostOfUser: Math.min(MOST_PREVIEWS_OF_USER, options.perDevice ?? MOST_PREVIEWS_OF_USER),
    });
    const { previewing } = this;
    this.roomChanges = new RoomChanges({
      ...common,
      outbound,
      inbound,
      peeking: this.peeking,
      previewing,
      serverName: 'here.test',
    });
    this.residency = new Residency(homeserver, clock, (roomId) => becomingResident.suspect(roomId));
    const { peeking, dormancy } = this;
    this.sweeps = new Sweeps({
      ...common,
      peeking,
      previewing,
      readers,
      becomingResident,
      dormancy,
      waking,
      inbound,
      outbound,
      owner: 'this process',
      expireAfterMs: EXPIRE_AFTER,
    });
    this.stateAt = new StateAt(store, homeserver, clock);
    const rooms = new RoomSections(store, homeserver, this.stateAt, clock);
    this.sections = new DeviceSectionReader(store, rooms, logger);
    this.filters = new DeviceFilters(homeserver);
    this.ignoredUsers = new IgnoredUsers(homeserver, clock);
    this.summaries = new ReplicaSummaries({ store, clock });
    const sincelessSync = options.sincelessSync ?? 'delivered';
    this.ledger = new PeekLedger({ store, peeking, devicePeeks, dormancy, sincelessSync });
    this.joins = new Joins(peeking);
  }

  /** Ends what runs by itself; the store stays. */
  async stop(): Promise<void> {
    this.becomingResident.stop();
    this.becomingRemote.stop();
    await Promise.all([this.residentFeeds.stopAll(), this.inbound.stop()]);
    this.wakes.close();
  }

  /** Our homeserver is in this room. */
  resident(builder: RoomBuilder): RoomBuilder {
    this.homeserver.add(builder);
    return builder;
  }

  /** `PEER` lets this room be peeked, and answers what it has at that moment. A server without a member gets one. */
  remoteRoom(builder: RoomBuilder, server = PEER): RoomBuilder {
    if (!builder.hasMemberOf(server)) builder.member(`@resident:${server}`, 'join');
    this.remote.on(server, 'PUT', `/peek/${builder.roomId}/`, () => builder.peekAnswer());
    this.remote.on(server, 'DELETE', `/peek/${builder.roomId}/`, {});
    this.remote.on(server, 'POST', `/peek/${builder.roomId}/`, { renewal_interval: HOUR });
    return builder;
  }

  async peek(roomId: string, who: Identity = ALICE, servers: readonly string[] = [PEER]): Promise<void> {
    await this.peeking.peek({ caller: ALICE.caller, ...who }, roomId, servers);
    await this.settle();
  }

  /** Lets resident feeds and notices do what the last change started. */
  async settle(ms = 0): Promise<void> {
    this.homeserver.wake();
    await this.clock.advance(ms);
    await this.clock.advance(0);
    await this.clock.advance(0);
  }

  async log(roomId: string): Promise<RoomLog> {
    const log = await this.store.logs.get(roomId);
    if (log === null) throw new Error(`${roomId} has no log`);
    return log;
  }

  /** Our peek on a room of another server: the live one, or the one that ends; null without any. */
  async outboundPeek(roomId: string): Promise<OutboundPeek | null> {
    const peeks = await this.store.outboundPeeks.ofRoom(roomId);
    return peeks.find(({ phase }) => phase === 'live') ?? peeks[0] ?? null;
  }

  /** What a peeked server sends us of a room. */
  ingest(builder: RoomBuilder, events: readonly { readonly pdu: JsonObject }[], origin = PEER) {
    return this.remoteFeed.ingest(
      builder.roomId,
      origin,
      events.map(({ pdu }) => pdu),
    );
  }
}

function storeInMemory(clock: ManualClock): Promise<Store> {
  const logger = pino({ level: 'silent' });
  return openStore({ redisUrl: null, dataDir: ':memory:', clock, logger });
}

/** A device as its syncs see it: books and reads as `/sync` does, and keeps the position of its token. */
export class TestDevice {
  read: ReadonlyMap<number, number> | null = null;
  readonly who: Identity;
  readonly #house: PeekingHouse;

  constructor(house: PeekingHouse, who: Identity = ALICE) {
    this.#house = house;
    this.who = who;
  }

  /** One sync, whose token the device keeps. */
  async sync(filter: JsonObject | null = null, more: Partial<SectionRequest> = {}): Promise<DeviceSections> {
    const answer = await this.lostSync(filter, more);
    this.read = answer.read;
    return answer;
  }

  /** One sync whose answer does not reach the device. */
  async lostSync(
    filter: JsonObject | null = null,
    more: Partial<SectionRequest> = {},
  ): Promise<DeviceSections> {
    const { ledger, devicePeeks, sections } = this.#house;
    await ledger.book(this.who, this.read);
    return sections.read(await devicePeeks.of(this.who), {
      read: this.read,
      homeserverToken: this.read === null ? null : 's0',
      filter: filter === null ? NO_FILTER : parseFilter(filter),
      filterText: filter === null ? null : JSON.stringify(filter),
      ignored: NOBODY_IGNORED,
      fullState: false,
      stateName: 'state',
      ...more,
    });
  }
}

/** A section of an answer in short: bodies of messages, `type=value` of state. */
export function brief(section: JsonObject | undefined) {
  const parts = section as unknown as Section | undefined;
  if (parts === undefined) return undefined;
  const state = parts.state ?? parts['org.matrix.msc4222.state_after'];
  return {
    timeline: (parts.timeline?.events ?? []).map(inShort),
    state: (state?.events ?? []).map(inShort).toSorted(),
    limited: parts.timeline?.limited,
  };
}

interface Section {
  readonly timeline?: { readonly events: JsonObject[]; readonly limited: boolean };
  readonly state?: { readonly events: JsonObject[] };
  readonly 'org.matrix.msc4222.state_after'?: { readonly events: JsonObject[] };
}

function inShort(event: JsonObject): string {
  const content = event.content as JsonObject;
  if (event.type === 'm.room.message') return String(content.body);
  const value = content.topic ?? content.name ?? content.membership ?? content.history_visibility ?? '';
  return `${String(event.type).replace('m.room.', '')}${event.state_key ? ` ${event.state_key}` : ''}=${value}`;
}
