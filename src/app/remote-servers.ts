import { readFileSync } from 'node:fs';
import type { Config } from '../config/config.ts';
import type { Homeserver } from '../homeserver/homeserver.ts';
import type { SigningKey } from '../matrix/signing-key.ts';
import { addressGuard, parseCidrs } from '../platform/address-guard.ts';
import type { Clock } from '../platform/clock.ts';
import { systemDns } from '../platform/dns.ts';
import { GuardedAgent } from '../platform/guarded-agent.ts';
import type { Logger } from '../platform/log.ts';
import type { Metrics } from '../platform/metrics.ts';
import type { Random } from '../platform/random.ts';
import { directKeys } from '../remote-servers/direct-keys.ts';
import { federationDomains } from '../remote-servers/federation-domains.ts';
import { FederationKeyRing } from '../remote-servers/key-ring.ts';
import { ServerHttp } from '../remote-servers/server-http.ts';
import { ServerResolver } from '../remote-servers/server-resolver.ts';
import { SignedClient } from '../remote-servers/signed-client.ts';
import { SrvTargets } from '../remote-servers/srv-targets.ts';
import { WellKnown } from '../remote-servers/well-known.ts';

/** Everything that has to do with other servers: how they are found, asked and believed. */
export function createRemoteServers(
  config: Config,
  around: {
    readonly homeserver: Homeserver;
    readonly signingKey: SigningKey;
    readonly clock: Clock;
    readonly random: Random;
    readonly logger: Logger;
    readonly metrics: Metrics;
  },
) {
  const { clock, random, logger, metrics, homeserver, signingKey } = around;
  const { serverName } = config;
  const dns = systemDns({ clock });
  const https = new GuardedAgent({
    guard: addressGuard(parseCidrs((config.federationAllow ?? []).join(','))),
    dns,
    clock,
    ...(config.federationCaPath === null ? {} : { extraCa: readFileSync(config.federationCaPath, 'utf8') }),
  });
  const resolver = new ServerResolver({
    wellKnown: new WellKnown(https, clock),
    srv: new SrvTargets({ dns, clock, random }),
  });
  const servers = new ServerHttp({ resolver, https, clock });
  const domains = federationDomains(serverName, config.federationDomains);
  const remote = new SignedClient({
    serverName,
    signingKey,
    domains,
    servers,
    clock,
    random,
    metrics,
  });
  const keys = new FederationKeyRing({
    serverName,
    ownKey: signingKey,
    ownAnswer: () => homeserver.ownKeys(),
    notary: (server, keyId, until) => homeserver.notaryKeys(server, keyId, until),
    direct: directKeys(servers),
    clock,
    logger,
    metrics,
  });
  return { remote, keys, domains, close: () => https.close() };
}
