import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createRemoteServers } from '../../src/app/remote-servers.ts';
import { loadConfig } from '../../src/config/config.ts';
import { DevicePeeks } from '../../src/device-peeks/device-peeks.ts';
import { RemoteFeed } from '../../src/feeds/remote/remote-feed.ts';
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
import { createVerifyWorkers } from '../../src/rooms/verify-workers.ts';
import { openStore } from '../../src/store/open-store.ts';
import { testCertificates } from '../support/certificates.ts';
import { keyOf } from '../support/room-builder.ts';

export const SERVER_NAME = 'bench.test';

export type PeekingSide = Awaited<ReturnType<typeof createPeekingSide>>;

/**
 * What peeks into rooms of other servers, as the proxy builds it: the network, the keys, the workers, by default a
 * file of SQLite. The homeserver is in no room, and its notary knows the test key of every server.
 */
export async function createPeekingSide(dataDir = mkdtempSync(join(tmpdir(), 'peek-bench-'))) {
  const clock = systemClock;
  const random = systemRandom;
  const logger = createLogger('silent');
  const metrics = createMetrics();
  const store = await openStore({ redisUrl: null, dataDir, clock, logger });
  const homeserver = {
    ownKeys: async () => ({}),
    notaryKeys: async (server: string) => [keysOf(server)],
    membership: async () => 'absent',
  } as unknown as Homeserver;
  const config = loadConfig({
    PEEK_HOMESERVER_URL: 'http://127.0.0.1:1',
    PEEK_SERVER_NAME: SERVER_NAME,
    PEEK_SIGNING_KEY_PATH: '/dev/null',
    PEEK_FEDERATION_ALLOW: '127.0.0.0/8,::1/128',
    PEEK_FEDERATION_CA_PATH: (await testCertificates()).ca,
  });
  const signingKey = signingKeyFromSeed('ed25519:bench', random.bytes(32));
  const {
    remote,
    keys,
    domains,
    close: closeRemote,
  } = createRemoteServers(config, {
    homeserver,
    signingKey,
    clock,
    random,
    logger,
    metrics,
  });
  const common = { store, remote, keys, clock, logger, metrics, random, homeserver, serverName: SERVER_NAME };
  const memberServers = new MemberServers(common);
  const feed = new RemoteFeed({ ...common, otherServers: (roomId) => memberServers.of(roomId) });
  const workers = createVerifyWorkers(2, clock);
  const outbound = new OutboundPeeks({ ...common, feed, workers, memberServers, serversPerRoom: 1 });
  const devicePeeks = new DevicePeeks(store, clock, { perDevice: 50, expireAfterMs: 1e9 });
  await devicePeeks.start();
  await outbound.start();
  const close = async () => {
    await Promise.all([workers.close(), closeRemote()]);
    await store.close();
  };
  return { ...common, domains, feed, outbound, devicePeeks, close };
}

/** The notary is warm: the keys of these servers are known. */
export async function warmKeys({ keys }: PeekingSide, servers: Iterable<string>): Promise<void> {
  for (const server of servers) await keys.publicKey(server, 'ed25519:test', Date.now(), 'request');
}

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
