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
import { OutboundPeeks } from '../outbound-peeks/outbound-peeks.ts';
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
import { createStories } from './stories.ts';

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
    left: (roomId) => stories.left(roomId),
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
    openLog: (roomId) => stories.readers.openForServer(roomId),
    released: (roomId) => void stories.readers.releaseQuietly(roomId),
  });
  const stories = createStories(config, {
    store,
    homeserver,
    residentFeeds,
    remoteFeed,
    devicePeeks,
    inbound,
    outbound,
    queues,
    clock,
    metrics,
    logger,
    owner,
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
    ...stories,
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
      residency: stories.residency,
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
    readers: stories.readers,
    roomChanges: stories.roomChanges,
    previewing: stories.previewing,
    sweeps: stories.sweeps,
    held: clients.held,
    peekingSwitch,
    watch,
    handle,
    /** Ends what runs by itself; the store is the caller's. */
    async close(): Promise<void> {
      watch.stop();
      clients.close();
      stories.stop();
      await Promise.all([inbound.stop(), residentFeeds.stopAll()]);
      wakes.close();
      passThrough.close();
      await Promise.all([outside.close(), workers.close()]);
    },
  };
}
