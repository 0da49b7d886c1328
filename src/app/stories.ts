import type { Config } from '../config/config.ts';
import type { DevicePeeks } from '../device-peeks/device-peeks.ts';
import type { RemoteFeed } from '../feeds/remote/remote-feed.ts';
import type { ResidentFeeds } from '../feeds/resident/resident-feeds.ts';
import type { RoomQueues } from '../feeds/room-queues.ts';
import type { Homeserver } from '../homeserver/homeserver.ts';
import type { InboundPeeks } from '../inbound-peeks/inbound-peeks.ts';
import { LearnedServers } from '../outbound-peeks/learned-servers.ts';
import type { OutboundPeeks } from '../outbound-peeks/outbound-peeks.ts';
import { BecomingRemote } from '../peeking/becoming-remote.ts';
import { BecomingResident } from '../peeking/becoming-resident.ts';
import { Dormancy } from '../peeking/dormancy.ts';
import { GoneDevices } from '../peeking/gone-devices.ts';
import { Peeking } from '../peeking/peeking.ts';
import { MOST_PREVIEWS_OF_USER, Previewing } from '../peeking/previewing.ts';
import { Residency } from '../peeking/residency.ts';
import { RoomChanges } from '../peeking/room-changes.ts';
import { RoomOpening } from '../peeking/room-opening.ts';
import { RoomReaders } from '../peeking/room-readers.ts';
import { Sweeps } from '../peeking/sweeps.ts';
import { Waking } from '../peeking/waking.ts';
import type { Clock } from '../platform/clock.ts';
import type { Logger } from '../platform/log.ts';
import type { Metrics } from '../platform/metrics.ts';
import type { Store } from '../store/store.ts';

export interface StoriesDeps {
  readonly store: Store;
  readonly homeserver: Homeserver;
  readonly residentFeeds: ResidentFeeds;
  readonly remoteFeed: RemoteFeed;
  readonly devicePeeks: DevicePeeks;
  readonly inbound: InboundPeeks;
  readonly outbound: OutboundPeeks;
  readonly queues: RoomQueues;
  readonly clock: Clock;
  readonly metrics: Metrics;
  readonly logger: Logger;
  /** Whose leases the sweeps hold. */
  readonly owner: string;
}

/** The stories that touch feeds, devices and other servers at once, built once. */
export function createStories(config: Config, deps: StoriesDeps) {
  const { store, homeserver, residentFeeds, remoteFeed, devicePeeks, inbound, outbound } = deps;
  const { queues, clock, metrics, logger, owner } = deps;
  const { serverName } = config;

  const readers = new RoomReaders({
    store,
    residentFeeds,
    remoteFeed,
    outbound,
    inbound,
    queues,
    clock,
    logger,
  });
  const moving = { store, homeserver, residentFeeds, outbound, readers, clock, logger };
  const becomingResident = new BecomingResident({ ...moving, remoteFeed });
  const becomingRemote = new BecomingRemote({ ...moving, inbound, serverName });
  const learned = new LearnedServers(serverName);
  const opening = new RoomOpening({ store, homeserver, outbound, readers, becomingResident });
  const waking = new Waking({
    store,
    homeserver,
    readers,
    opening,
    left: (roomId) => void becomingRemote.left(roomId),
    clock,
    logger,
    metrics,
  });
  const dormancy = new Dormancy({ store, readers, waking, clock, dormantAfterMs: config.dormantAfter });
  const peeking = new Peeking({
    store,
    homeserver,
    learned,
    devicePeeks,
    readers,
    opening,
    becomingResident,
    clock,
    logger,
  });
  const previewing = new Previewing({
    store,
    outbound,
    peeking,
    devicePeeks,
    readers,
    queues,
    clock,
    mostOfUser: Math.min(MOST_PREVIEWS_OF_USER, config.maxPerDevice),
  });
  const roomChanges = new RoomChanges({
    store,
    outbound,
    inbound,
    peeking,
    previewing,
    clock,
    logger,
    serverName,
  });
  const residency = new Residency(homeserver, clock, (roomId) => becomingResident.suspect(roomId));
  const sweeps = new Sweeps({
    store,
    peeking,
    previewing,
    readers,
    becomingResident,
    dormancy,
    waking,
    inbound,
    outbound,
    clock,
    logger,
    owner,
    expireAfterMs: config.expireAfter,
  });

  return {
    readers,
    becomingResident,
    learned,
    dormancy,
    peeking,
    previewing,
    roomChanges,
    residency,
    sweeps,
    gone: new GoneDevices(store, readers),
    /** Our homeserver is in this room no longer. */
    left(roomId: string): void {
      residency.left(roomId);
      void becomingRemote.left(roomId);
    },
    stop(): void {
      becomingResident.stop();
      becomingRemote.stop();
    },
  };
}
