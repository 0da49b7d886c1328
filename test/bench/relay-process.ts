import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { createOutside } from '../../src/app/outside.ts';
import { loadConfig } from '../../src/config/config.ts';
import type { Homeserver } from '../../src/homeserver/homeserver.ts';
import { InboundPeeks } from '../../src/inbound-peeks/inbound-peeks.ts';
import { encodeBase64 } from '../../src/matrix/base64.ts';
import type { Pdu } from '../../src/matrix/pdu.ts';
import { systemClock } from '../../src/platform/clock.ts';
import { createLogger } from '../../src/platform/log.ts';
import { createMetrics } from '../../src/platform/metrics.ts';
import { systemRandom } from '../../src/platform/random.ts';
import type { RemoteRequest, RemoteServers } from '../../src/remote-servers/remote-servers.ts';
import { newEntry } from '../../src/rooms/log-entries.ts';
import { openStore } from '../../src/store/open-store.ts';
import { testCertificates } from '../support/certificates.ts';
import { serveParent } from './child.ts';
import { cpuSince, message, pause, type RelayRun, ROOM } from './relay-room.ts';

/** Our sender with all that stands under it: the log in a file, cursors, discovery, guarded HTTPS. */
// In memory where there is such a place: how long a disk takes to sync is not what is measured.
const dir = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'peek-bench-'));
process.on('exit', () => rmSync(dir, { recursive: true, force: true }));
const keyPath = join(dir, 'signing.key');
writeFileSync(keyPath, `ed25519 bench ${encodeBase64(systemRandom.bytes(32))}\n`);
const config = loadConfig({
  PEEK_HOMESERVER_URL: 'http://127.0.0.1:1',
  PEEK_SERVER_NAME: 'bench.test',
  PEEK_SIGNING_KEY_PATH: keyPath,
  PEEK_FEDERATION_CA_PATH: (await testCertificates()).ca,
  PEEK_FEDERATION_ALLOW: '127.0.0.1/32,::1/128',
});
const logger = createLogger('silent');
const metrics = createMetrics();
const store = await openStore({ redisUrl: null, dataDir: dir, clock: systemClock, logger });
const { remote } = createOutside(config, { clock: systemClock, random: systemRandom, logger, metrics });

let arrived = 0;
let expected = 0;
let allArrived: () => void = () => {};
const counting: RemoteServers = {
  software: (server) => remote.software(server),
  availableIn: (server) => remote.availableIn(server),
  async request(server: string, request: RemoteRequest) {
    const answer = await remote.request(server, request);
    if (++arrived >= expected) allArrived();
    return answer;
  },
};
const common = { state_key: '', sender: '@a:bench.test', depth: 1, origin_server_ts: 1 };
const state: Pdu[] = [
  { ...common, type: 'm.room.create', content: { room_version: '11' } },
  { ...common, type: 'm.room.history_visibility', content: { history_visibility: 'world_readable' } },
];
const inbound = new InboundPeeks({
  store,
  // All that is asked by the sender.
  homeserver: { stateBefore: async () => ({ state, authChain: [] }) } as Partial<Homeserver> as Homeserver,
  remote: counting,
  clock: systemClock,
  random: systemRandom,
  logger,
  metrics,
  serverName: 'bench.test',
  owner: 'bench',
  limits: { maxPerServer: 1000, maxTotal: 1_000_000, renewalIntervalMs: 3_600_000 },
  openLog: () => Promise.reject(new Error('no peek begins here')),
  released: () => {},
});
await store.logs.open({ roomId: ROOM, roomVersion: '11', feed: 'resident', openedAt: 0, firstPosition: 1 });
await inbound.start();

let said = 0;
async function say(): Promise<void> {
  const pdu = message(said);
  const entry = newEntry({ eventId: `$${said++}`, pdu, replaces: null }, Date.now(), {
    shown: true,
    applied: true,
  });
  await store.logs.append(ROOM, { entries: [entry] });
}

async function peek(server: string): Promise<void> {
  const now = Date.now();
  const times = { createdAt: now, renewedAt: now, expiresAt: now + 3_600_000 };
  const head = (await store.logs.get(ROOM))?.head ?? 0;
  await store.inboundPeeks.put({ server, roomId: ROOM, peekId: 'p', ...times }, head, 1000);
}

async function run({ events, ports }: RelayRun): Promise<number> {
  for (const peek of await store.inboundPeeks.all()) {
    await store.inboundPeeks.remove(peek.server, ROOM, peek.peekId);
  }
  for (const port of ports) await peek(`localhost:${port}`);
  await nextTurn();
  const before = process.cpuUsage();
  for (let n = 0; n < events; n++) {
    arrived = 0;
    expected = ports.length;
    const all = new Promise<void>((resolve) => {
      allArrived = resolve;
    });
    await say();
    if (ports.length > 0) await all;
    await pause();
  }
  // What is still to be written down is ours too.
  for (let i = 0; i < 5; i++) await nextTurn();
  return cpuSince(before);
}

serveParent(0, async (question) => {
  const asked = question as RelayRun | { idle: number };
  if (!('idle' in asked)) return run(asked);
  for (let n = 0; n < asked.idle; n++) await peek(`idle${n}.example.org`);
  return null;
});
