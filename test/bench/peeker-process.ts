import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createRemoteServers } from '../../src/app/remote-servers.ts';
import { DeviceSectionReader } from '../../src/client-sync/device-sections.ts';
import { parseFilter } from '../../src/client-sync/filter.ts';
import { RoomSections } from '../../src/client-sync/room-sections.ts';
import { loadConfig } from '../../src/config/config.ts';
import { DevicePeeks } from '../../src/device-peeks/device-peeks.ts';
import { RemoteFeed } from '../../src/feeds/remote-feed.ts';
import type { Homeserver } from '../../src/homeserver/homeserver.ts';
import { encodeBase64 } from '../../src/matrix/base64.ts';
import { signJson } from '../../src/matrix/signed-json.ts';
import { signingKeyFromSeed } from '../../src/matrix/signing-key.ts';
import { OutboundPeeks } from '../../src/outbound-peeks/outbound-peeks.ts';
import { systemClock } from '../../src/platform/clock.ts';
import { createLogger } from '../../src/platform/log.ts';
import { createMetrics } from '../../src/platform/metrics.ts';
import { systemRandom } from '../../src/platform/random.ts';
import { MemberServers } from '../../src/rooms/member-servers.ts';
import { StateAt } from '../../src/rooms/state-at.ts';
import { createVerifyWorkers } from '../../src/rooms/verify-workers.ts';
import { openStore } from '../../src/store/open-store.ts';
import { testCertificates } from '../support/certificates.ts';
import { keyOf } from '../support/room-builder.ts';
import { MEMBER_SERVERS } from './big-room.ts';
import { serveParent } from './child.ts';
import { LoopWatch } from './loop-watch.ts';

/** What a first peek into a room took, in ms. */
export interface Peeked {
  /** Until `POST /peek` would be answered, and until the first section of a client that loads members lazily. */
  readonly answered: number;
  readonly readable: number;
  /** Until all of the room was verified and stored. */
  readonly whole: number;
  readonly events: number;
  /** The longest stall of the event loop, and the most that was computed here in one go. */
  readonly stall: number;
  readonly work: number;
}

/** The peeking side: everything between a client's `POST /peek` and the peeked server, on a file of SQLite. */
const serverName = 'bench.test';
const signingKey = signingKeyFromSeed('ed25519:bench', systemRandom.bytes(32));
const logger = createLogger('silent');
const metrics = createMetrics();
const dataDir = mkdtempSync(join(tmpdir(), 'peek-bench-'));
const clock = systemClock;
const store = await openStore({ redisUrl: null, dataDir, clock, logger });
const homeserver = {
  ownKeys: async () => ({}),
  notaryKeys: async (server: string) => [keysOf(server)],
} as unknown as Homeserver;
const config = loadConfig({
  PEEK_HOMESERVER_URL: 'http://127.0.0.1:1',
  PEEK_SERVER_NAME: serverName,
  PEEK_SIGNING_KEY_PATH: '/dev/null',
  PEEK_FEDERATION_ALLOW: '127.0.0.0/8,::1/128',
  PEEK_FEDERATION_CA_PATH: (await testCertificates()).ca,
});
const around = { homeserver, signingKey, clock, random: systemRandom, logger, metrics };
const { remote, keys } = createRemoteServers(config, around);
const common = { store, remote, keys, clock, logger, metrics, random: systemRandom, serverName };
const feed = new RemoteFeed(common);
const workers = createVerifyWorkers(2, clock);
const memberServers = new MemberServers(common);
const outbound = new OutboundPeeks({ ...common, feed, workers, memberServers, serversPerRoom: 1 });
const devicePeeks = new DevicePeeks(store, clock, { perDevice: 50, expireAfterMs: 1e9 });
const rooms = new RoomSections(store, homeserver, new StateAt(store, homeserver), clock);
const sections = new DeviceSectionReader(store, rooms, logger);
await devicePeeks.start();
await outbound.start();

function keysOf(server: string) {
  const { keyId, publicKey } = keyOf(server);
  const listed = {
    server_name: server,
    valid_until_ts: Date.now() + 86_400_000,
    verify_keys: { [keyId]: { key: encodeBase64(publicKey) } },
    old_verify_keys: {},
  };
  return signJson(listed, server, keyOf(server));
}

async function peek(roomId: string, server: string): Promise<Peeked> {
  // The notary is warm: every key is known.
  for (const each of [server, ...MEMBER_SERVERS]) await keys.publicKey(each, 'ed25519:test', 0, 'event');
  const device = { userId: '@who:bench.test', deviceId: 'PHONE' };
  const watch = new LoopWatch();
  const began = performance.now();
  await outbound.subscribe(roomId, [server]);
  await devicePeeks.begin(device, roomId);
  const answered = performance.now() - began;
  const filter = parseFilter({ room: { state: { lazy_load_members: true } } });
  const asked = { read: null, homeserverToken: null, filter, fullState: false, useStateAfter: false };
  const { peek: section } = await sections.read(await devicePeeks.of(device), asked);
  if (JSON.stringify([...section]).length < 10_000) throw new Error('The first section is empty');
  const readable = performance.now() - began;
  while (feed.isCompleting(roomId)) await new Promise((resolve) => setTimeout(resolve, 5));
  const whole = performance.now() - began;
  const { stall, work } = watch.end();
  const events = (await store.replicas.state(roomId)).length;
  return { answered, readable, whole, events, stall, work };
}

serveParent(0, (question) => {
  const { roomId, server } = question as { roomId: string; server: string };
  return peek(roomId, server);
});
