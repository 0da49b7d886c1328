import { hostname } from 'node:os';
import type { Config } from '../config/config.ts';
import { DevicePeeks } from '../device-peeks/device-peeks.ts';
import { createFederationRouter } from '../federation-api/router.ts';
import { SendTap } from '../federation-api/send-tap.ts';
import type { Authenticate } from '../federation-api/signed-request.ts';
import { RemoteFeed } from '../feeds/remote/remote-feed.ts';
import { ResidentFeeds } from '../feeds/resident/resident-feeds.ts';
import { RoomQueues } from '../feeds/room-queues.ts';
import { createPassThrough } from '../forward/pass-through.ts';
import { RawForwarder } from '../forward/raw-forwarder.ts';
import { TrustedProxies } from '../forward/trusted-proxies.ts';
import { InboundPeeks } from '../inbound-peeks/inbound-peeks.ts';
import { PeerReads } from '../inbound-peeks/peer-reads.ts';
import { isObject } from '../matrix/json.ts';
import { LearnedServers } from '../outbound-peeks/learned-servers.ts';
import { OutboundPeeks } from '../outbound-peeks/outbound-peeks.ts';
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
import { createMetrics, type Metrics } from '../platform/metrics.ts';
import type { Random } from '../platform/random.ts';
import { RequestAuthenticator } from '../remote-servers/request-authenticator.ts';
import { MemberServers } from '../rooms/member-servers.ts';
import { RoomWakes } from '../rooms/room-wakes.ts';
import { createVerifyWorkers } from '../rooms/verify-workers.ts';
import type { Store } from '../store/store.ts';
import { createClientSide } from './client-side.ts';
import { HomeserverWatch } from './homeserver-watch.ts';
import { createOutside, type Outside } from './outside.ts';
import { PeekingSwitch } from './peeking-switch.ts';
import { createRouteTable } from './route-table.ts';

export interface Surroundings {
  readonly store: Store;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** Default: a registry of its own, with the figures of the process. */
  readonly metrics?: Metrics;
}

/** Peeks of all servers together; a room's cursor is a few hundred bytes. */
const MOST_INBOUND_PEEKS = 100_000;

/** Threads that read and verify large answers. They start when the first one comes. */
const VERIFY_WORKERS = 2;

/** Every object of the proxy, built once, by hand, from the ground floor up. */
export type Context = ReturnType<typeof createContext>;

export function createContext(
  config: Config,
  { store, clock, random, logger, metrics = createMetrics({ processMetrics: true }) }: Surroundings,
  outside: Outside = createOutside(config, { clock, random, logger, metrics }),
) {
  const { serverName } = config;
  const { homeserver, upstream, remote, keys, domains } = outside;
  // Named so that a process which comes back after a crash takes up its own leases at once.
  const owner = `${hostname()}/${config.listen.host}:${config.listen.port}`;

  const trusted = new TrustedProxies(config.trustedProxies ?? []);
  const forwarder = new RawForwarder(upstream, trusted);
  const passThrough = createPassThrough(config.homeserverUrl, trusted);

  const authenticator = new RequestAuthenticator({ serverName, domains, keyRing: keys, clock });
  const authenticate: Authenticate = (request, signal) =>
    authenticator.authenticate(
      { ...request, content: isObject(request.content) ? request.content : undefined },
      signal,
    );

  const wakes = new RoomWakes(store);
  const queues = new RoomQueues();
  const residentFeeds: ResidentFeeds = new ResidentFeeds({
    store,
    homeserver,
    clock,
    logger,
    metrics,
    owner,
    left: (roomId) => {
      residency.left(roomId);
      void becomingRemote.left(roomId);
    },
  });
  const memberServers = new MemberServers({ store, clock, serverName });
  const remoteFeed = new RemoteFeed({
    store,
    remote,
    keys,
    clock,
    logger,
    metrics,
    otherServers: (roomId) => memberServers.of(roomId),
  });
  const devicePeeks = new DevicePeeks(store, clock, {
    perDevice: config.maxPerDevice,
    expireAfterMs: config.expireAfter,
  });
  const workers = createVerifyWorkers(VERIFY_WORKERS, clock);
  const outbound = new OutboundPeeks({
    store,
    remote,
    workers,
    feed: remoteFeed,
    memberServers,
    clock,
    random,
    logger,
    metrics,
    serverName,
    serversPerRoom: Number(config.serversPerRoom),
  });
  const inbound: InboundPeeks = new InboundPeeks({
    store,
    homeserver,
    remote,
    clock,
    random,
    logger,
    metrics,
    serverName,
    owner,
    limits: {
      maxPerServer: config.maxPerServer,
      maxTotal: MOST_INBOUND_PEEKS,
      renewalIntervalMs: config.renewalInterval,
    },
    openLog: (roomId) => readers.openForServer(roomId),
    released: (roomId) => void readers.releaseQuietly(roomId),
  });
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

  const peekingSwitch = new PeekingSwitch();
  const watch = new HomeserverWatch({ probe: () => homeserver.probe(), peekingSwitch, clock, logger });
  const clients = createClientSide(config, {
    store,
    homeserver,
    remote,
    keys,
    forwarder,
    trusted,
    wakes,
    devicePeeks,
    outbound,
    learned,
    peeking,
    previewing,
    dormancy,
    gone: new GoneDevices(store, readers),
    residency,
    becomingResident,
    clock,
    metrics,
    logger,
    tokenMode: () => (watch.report?.groupsFieldAccepted === false ? 'suffix' : 'ninth-field'),
  });
  const handle = createRouteTable({
    homeserver,
    forwarder,
    passThrough,
    sync: clients.sync,
    sendTap: new SendTap({
      forwarder,
      authenticate,
      outbound,
      feed: remoteFeed,
      residency,
      store,
      clock,
      metrics,
      logger,
      serverName,
    }),
    clientRouter: clients.router,
    federationRouter: createFederationRouter({
      inboundPeeks: inbound,
      peerReads: new PeerReads({ store, homeserver }),
      authenticate,
      rate: config.rateLimit,
      forwarder,
      clock,
      logger,
    }),
    joinServers: clients.joinServers,
    joinWatch: clients.joinWatch,
    sessionWatch: clients.sessionWatch,
    previews: clients.previews,
    trafficHints: clients.trafficHints,
    ignoredUsers: clients.ignoredUsers,
    peekedReads: clients.peekedReads,
    historyTokens: clients.historyTokens,
    residentReads: clients.residentReads,
    peekersReceipts: clients.peekersReceipts,
    roomSummaries: clients.roomSummaries,
    peekingSwitch,
    lookAgain: () => watch.lookAgain(),
    logger,
    clock,
    random,
  });

  return {
    store,
    homeserver,
    metrics,
    residentFeeds,
    devicePeeks,
    outbound,
    inbound,
    readers,
    roomChanges,
    previewing,
    sweeps,
    held: clients.held,
    peekingSwitch,
    watch,
    handle,
    /** Ends what runs by itself; the store is the caller's. */
    async close(): Promise<void> {
      watch.stop();
      clients.close();
      becomingResident.stop();
      becomingRemote.stop();
      await Promise.all([inbound.stop(), residentFeeds.stopAll()]);
      wakes.close();
      passThrough.close();
      await Promise.all([outside.close(), workers.close()]);
    },
  };
}
