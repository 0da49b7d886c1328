import { Allowance } from '../client-api/allowance.ts';
import { HistoryTokens } from '../client-api/history-tokens.ts';
import { JoinServers } from '../client-api/join-servers.ts';
import { JoinWatch } from '../client-api/join-watch.ts';
import { PeekedReads } from '../client-api/peeked-reads.ts';
import { Peekers } from '../client-api/peekers.ts';
import { PeekersReceipts } from '../client-api/peekers-receipts.ts';
import { PreviewRoutes } from '../client-api/preview-routes.ts';
import { ReadLimits } from '../client-api/read-limits.ts';
import { ResidentReads } from '../client-api/resident-reads.ts';
import { RoomSummaries } from '../client-api/room-summaries.ts';
import { createClientRouter } from '../client-api/router.ts';
import { SessionWatch } from '../client-api/session-watch.ts';
import { TrafficHints } from '../client-api/traffic-hints.ts';
import { DeviceSectionReader } from '../client-sync/device-sections.ts';
import { HeldAnswers } from '../client-sync/held-answers.ts';
import { HeldSyncs } from '../client-sync/held-syncs.ts';
import { Joins } from '../client-sync/joins.ts';
import { PeekLedger } from '../client-sync/peek-ledger.ts';
import { PeekingSync } from '../client-sync/peeking-sync.ts';
import { RoomSections } from '../client-sync/room-sections.ts';
import { SyncHandler } from '../client-sync/sync-handler.ts';
import { SyncRace } from '../client-sync/sync-race.ts';
import type { TokenMode } from '../client-sync/sync-token.ts';
import { UpstreamPolls } from '../client-sync/upstream-polls.ts';
import { DeviceFilters } from '../client-view/device-filters.ts';
import { IgnoredUsers } from '../client-view/ignored-users.ts';
import type { Config } from '../config/config.ts';
import type { DevicePeeks } from '../device-peeks/device-peeks.ts';
import type { RawForwarder } from '../forward/raw-forwarder.ts';
import type { TrustedProxies } from '../forward/trusted-proxies.ts';
import type { Homeserver } from '../homeserver/homeserver.ts';
import type { LearnedServers } from '../outbound-peeks/learned-servers.ts';
import type { OutboundPeeks } from '../outbound-peeks/outbound-peeks.ts';
import type { BecomingResident } from '../peeking/becoming-resident.ts';
import type { Dormancy } from '../peeking/dormancy.ts';
import type { GoneDevices } from '../peeking/gone-devices.ts';
import type { Peeking } from '../peeking/peeking.ts';
import type { Previewing } from '../peeking/previewing.ts';
import type { Residency } from '../peeking/residency.ts';
import type { Clock } from '../platform/clock.ts';
import type { Logger } from '../platform/log.ts';
import type { Metrics } from '../platform/metrics.ts';
import { InitialSync } from '../previews/initial-sync.ts';
import { Previews } from '../previews/previews.ts';
import { RoomEvents } from '../previews/room-events.ts';
import { ShownEvents } from '../previews/shown-events.ts';
import type { KeyRing, RemoteServers } from '../remote-servers/remote-servers.ts';
import { ReadPlaces } from '../room-reads/read-places.ts';
import { ReplicaSummaries } from '../room-reads/replica-summaries.ts';
import type { RoomWakes } from '../rooms/room-wakes.ts';
import { StateAt } from '../rooms/state-at.ts';
import { WholeState } from '../rooms/whole-state.ts';
import type { Store } from '../store/store.ts';
import { createRoomAnswers } from './room-answers.ts';

export interface ClientSideDeps {
  readonly store: Store;
  readonly homeserver: Homeserver;
  readonly remote: RemoteServers;
  readonly keys: KeyRing;
  readonly forwarder: RawForwarder;
  readonly trusted: TrustedProxies;
  readonly wakes: RoomWakes;
  readonly devicePeeks: DevicePeeks;
  readonly outbound: OutboundPeeks;
  readonly learned: LearnedServers;
  readonly peeking: Peeking;
  readonly previewing: Previewing;
  readonly dormancy: Dormancy;
  readonly gone: GoneDevices;
  readonly residency: Residency;
  readonly becomingResident: BecomingResident;
  readonly clock: Clock;
  readonly metrics: Metrics;
  readonly logger: Logger;
  /** How our part rides on the homeserver's tokens. */
  readonly tokenMode: () => TokenMode;
}

/** What answers clients, built once. */
export function createClientSide(config: Config, deps: ClientSideDeps) {
  const { store, homeserver, forwarder, trusted, devicePeeks, outbound, peeking, dormancy } = deps;
  const { learned, previewing, residency, becomingResident, clock, metrics, logger } = deps;

  const ignoredUsers = new IgnoredUsers(homeserver, clock);
  const held = new HeldSyncs();
  const polls = new UpstreamPolls(clock);
  const stateAt = new StateAt(store, homeserver, clock);
  const rooms = new RoomSections(store, homeserver, stateAt, clock);
  const race = new SyncRace({
    store,
    devicePeeks,
    sections: new DeviceSectionReader(store, rooms, logger),
    filters: new DeviceFilters(homeserver),
    ignoredUsers,
    ledger: new PeekLedger({ store, peeking, devicePeeks, dormancy, sincelessSync: config.sincelessSync }),
    wakes: deps.wakes,
    held,
    clock,
    logger,
    metrics,
  });
  const peekingSync = new PeekingSync({
    homeserver,
    forwarder,
    race,
    joins: new Joins(peeking),
    polls,
    held,
    answers: new HeldAnswers(),
    ignoredUsers,
    logger,
    tokenMode: deps.tokenMode,
  });
  const sync = new SyncHandler({
    forwarder,
    homeserver,
    devicePeeks,
    peekingSync,
    held,
    clock,
    metrics,
    logger,
    trusted,
  });

  const limits = new ReadLimits();
  const summaries = new ReplicaSummaries({ store, clock });
  const peekers = new Peekers({ homeserver, devicePeeks, trusted, viewers: [previewing] });
  const peekedReads = new PeekedReads({
    store,
    outbound,
    residency,
    peekers,
    answers: createRoomAnswers({ ...deps, stateAt, ignoredUsers, summaries }),
    limits,
    clock,
    metrics,
    logger,
  });
  const residentReads = new ResidentReads({
    store,
    homeserver,
    forwarder,
    peekers,
    ignoredUsers,
    limits,
    logger,
  });

  const roomSummaries = new RoomSummaries({
    forwarder,
    homeserver,
    summaries,
    outbound,
    learned,
    trusted,
    clock,
    logger,
  });
  const shownEvents = new ShownEvents({ stateAt, clock });
  const initialSync = new InitialSync({
    store,
    previewing,
    stateAt,
    shownEvents,
    wholeState: new WholeState(deps),
    ignoredUsers,
    clock,
  });
  const previews = new Previews({
    homeserver,
    previewing,
    residency,
    learned,
    initialSync,
    clock,
    metrics,
    logger,
    reads: limits,
    places: new ReadPlaces(),
    openings: new Allowance(config.rateLimit.count, config.rateLimit.perMs),
  });
  const roomEvents = new RoomEvents({
    store,
    previewing,
    wakes: deps.wakes,
    shownEvents,
    ignoredUsers,
    clock,
  });

  return {
    sync,
    peekers,
    peekedReads,
    historyTokens: new HistoryTokens({ homeserver, trusted, logger }),
    residentReads,
    peekersReceipts: new PeekersReceipts({ forwarder, homeserver, outbound, residency, peekers, clock }),
    roomSummaries,
    held,
    ignoredUsers,
    router: createClientRouter({ homeserver, peeking, trusted, rate: config.rateLimit, logger }),
    previews: new PreviewRoutes({
      previews,
      roomEvents,
      homeserver,
      forwarder,
      held,
      trusted,
      clock,
      logger,
    }),
    trafficHints: new TrafficHints(learned),
    joinServers: new JoinServers({ outbound, devicePeeks, store }),
    sessionWatch: new SessionWatch({
      homeserver,
      gone: deps.gone,
      anyPeeks: () => devicePeeks.anyPeeks || previewing.anyone,
      trusted,
      clock,
      logger,
    }),
    joinWatch: new JoinWatch({ homeserver, outbound, residency, becomingResident }),
    close: () => polls.close(),
  };
}
