import { readFileSync } from 'node:fs';
import type { Dispatcher } from 'undici';
import type { Config } from '../config/config.ts';
import { createUpstream } from '../forward/upstream.ts';
import type { Homeserver } from '../homeserver/homeserver.ts';
import type { HomeserverReport } from '../homeserver/probe.ts';
import { createHomeserver } from '../homeserver/synapse-homeserver.ts';
import type { Clock } from '../platform/clock.ts';
import type { Logger } from '../platform/log.ts';
import type { Metrics } from '../platform/metrics.ts';
import type { Random } from '../platform/random.ts';
import type { FederationDomains } from '../remote-servers/federation-domains.ts';
import type { KeyRing, RemoteServers } from '../remote-servers/remote-servers.ts';
import { createRemoteServers } from './remote-servers.ts';

/** Everything beyond the process and its store: our own homeserver, and the servers of others. */
export interface Outside {
  readonly homeserver: Homeserver & { probe(): Promise<HomeserverReport> };
  /** The homeserver as requests are forwarded to it. */
  readonly upstream: Dispatcher;
  readonly remote: RemoteServers;
  readonly keys: KeyRing;
  readonly domains: FederationDomains;
  /** Ends all connections, the requests under way with them. */
  close(): Promise<void>;
}

/** What the settings name, over real connections. */
export function createOutside(
  config: Config,
  around: {
    readonly clock: Clock;
    readonly random: Random;
    readonly logger: Logger;
    readonly metrics: Metrics;
  },
): Outside {
  const upstream = createUpstream(config.homeserverUrl);
  const homeserver = createHomeserver({
    url: config.homeserverUrl,
    serverName: config.serverName,
    signingKeyText: readFileSync(config.signingKeyPath, 'utf8'),
    reader: readerOf(config),
    clock: around.clock,
  });
  const { signingKey } = homeserver;
  const { remote, keys, domains, close } = createRemoteServers(config, { ...around, homeserver, signingKey });
  return {
    homeserver,
    upstream,
    remote,
    keys,
    domains,
    close: async () => {
      await Promise.all([upstream.destroy(), homeserver.close(), close()]);
    },
  };
}

function readerOf(config: Config) {
  if (config.reader === null) return null;
  if (config.reader.kind === 'token') return { kind: 'token' as const, token: config.reader.token.reveal() };
  return { kind: 'registration' as const, text: readFileSync(config.reader.path, 'utf8') };
}
