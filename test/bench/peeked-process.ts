import { createServer } from 'node:http';
import express from 'express';
import { createFederationRouter } from '../../src/federation-api/router.ts';
import { RawForwarder } from '../../src/forward/raw-forwarder.ts';
import { TrustedProxies } from '../../src/forward/trusted-proxies.ts';
import { createUpstream } from '../../src/forward/upstream.ts';
import { createHomeserver } from '../../src/homeserver/synapse-homeserver.ts';
import { InboundPeeks } from '../../src/inbound-peeks/inbound-peeks.ts';
import { encodeBase64 } from '../../src/matrix/base64.ts';
import { systemClock } from '../../src/platform/clock.ts';
import { createLogger } from '../../src/platform/log.ts';
import { createMetrics } from '../../src/platform/metrics.ts';
import { systemRandom } from '../../src/platform/random.ts';
import { openStore } from '../../src/store/open-store.ts';
import { serveParent } from './child.ts';

/** The peeked side: what answers other servers' `PUT /peek`, but that everybody is believed to be who they say. */
export interface Spent {
  /** Since the question before, in ms. */
  readonly cpu: number;
  /** The most that was computed in one go while the event loop stood still, in ms of CPU time, and how long it stood still. */
  readonly work: number;
  readonly stall: number;
}

const [homeserverUrl = ''] = process.argv.slice(2);
const logger = createLogger('silent');
const store = await openStore({ redisUrl: null, dataDir: ':memory:', clock: systemClock, logger });
const homeserver = createHomeserver({
  url: homeserverUrl,
  serverName: 'bench.test',
  signingKeyText: `ed25519 bench ${encodeBase64(systemRandom.bytes(32))}\n`,
  reader: { kind: 'token', token: 'reader' },
  clock: systemClock,
});
await homeserver.visibleEvent('!room:bench.test', '$warm');
const inbound = new InboundPeeks({
  store,
  homeserver,
  remote: {
    request: async () => ({}),
    software: async () => null,
    availableIn: () => 0,
  },
  clock: systemClock,
  random: systemRandom,
  logger,
  metrics: createMetrics(),
  serverName: 'bench.test',
  owner: 'bench',
  limits: { maxPerServer: 1000, maxTotal: 100_000, renewalIntervalMs: 3_600_000 },
  openLog: (roomId) =>
    store.logs.open({ roomId, roomVersion: '11', feed: 'resident', openedAt: 0, firstPosition: 1 }),
  released: () => {},
});
await inbound.start();

const app = express();
app.use(
  createFederationRouter({
    inboundPeeks: inbound,
    peerReads: { serve: async () => null },
    authenticate: async ({ authorizationHeaders: [server = ''] }) => server,
    forwarder: new RawForwarder(createUpstream(homeserverUrl), new TrustedProxies([])),
    rate: { count: 1000, perMs: 60_000 },
    clock: systemClock,
    logger,
  }),
);
/** Other processes on the machine make the loop stand still too; what we compute meanwhile is ours alone. */
const longest = { work: 0, stall: 0 };
let last = { at: performance.now(), cpu: threadCpu() };
function threadCpu(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1000;
}
setInterval(() => {
  const now = { at: performance.now(), cpu: threadCpu() };
  const stall = now.at - last.at;
  longest.stall = Math.max(longest.stall, stall);
  longest.work = Math.max(longest.work, Math.min(stall, now.cpu - last.cpu));
  last = now;
}, 1);
let cpu = process.cpuUsage();
const server = createServer(app);
server.listen(0, '127.0.0.1', () => {
  const { port } = server.address() as { port: number };
  serveParent(port, (): Spent => {
    const spent = process.cpuUsage(cpu);
    const { work, stall } = longest;
    cpu = process.cpuUsage();
    Object.assign(longest, { work: 0, stall: 0 });
    return { cpu: (spent.user + spent.system) / 1000, work, stall };
  });
});
