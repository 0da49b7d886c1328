import { randomBytes } from 'node:crypto';
import { access, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Certificates } from './certificates.ts';

export interface SynapseOptions {
  /** With an explicit port, so that others neither ask .well-known nor DNS: `localhost:23456`. */
  readonly serverName: string;
  /** Database, key, media and log; kept between restarts. */
  readonly dir: string;
  /** Where its client and federation APIs are, plain HTTP on 127.0.0.1. */
  readonly httpPort: number;
  /** An appservice registration to load. */
  readonly registrationPath?: string;
  /** Further ones. */
  readonly appservices?: readonly string[];
  /** Serve TLS on the server name's port itself, for a homeserver without the proxy. */
  readonly tls?: boolean;
  /** Default: Synapse's own. */
  readonly defaultRoomVersion?: string;
  /** Inbound federation limits; default: Synapse's own, which refuse more than 50 queued requests. */
  readonly rcFederation?: Readonly<Record<string, number>>;
  /** Further top-level settings, over all others. */
  readonly settings?: Readonly<Record<string, unknown>>;
}

export const REGISTRATION_SHARED_SECRET = 'test-registration';

const UNLIMITED = { per_second: 10_000, burst_count: 10_000 };

/** A complete `homeserver.yaml` as a JSON value (JSON is YAML). */
export function synapseConfig(options: SynapseOptions, certificates: Certificates): Record<string, unknown> {
  const listener = { bind_addresses: ['127.0.0.1'], type: 'http' };
  const resources = [{ names: ['client', 'federation'] }];
  const listeners: unknown[] = [
    { ...listener, port: options.httpPort, tls: false, x_forwarded: true, resources },
  ];
  if (options.tls) listeners.push({ ...listener, port: portOf(options.serverName), tls: true, resources });
  return {
    server_name: options.serverName,
    pid_file: join(options.dir, 'homeserver.pid'),
    signing_key_path: signingKeyPath(options.dir),
    media_store_path: join(options.dir, 'media'),
    database: { name: 'sqlite3', args: { database: join(options.dir, 'homeserver.db') } },
    listeners,
    ...(options.tls && {
      tls_certificate_path: certificates.certificate,
      tls_private_key_path: certificates.key,
    }),
    federation_custom_ca_list: [certificates.ca],
    ip_range_blacklist: [],
    trusted_key_servers: [],
    report_stats: false,
    enable_registration: true,
    enable_registration_without_verification: true,
    registration_shared_secret: REGISTRATION_SHARED_SECRET,
    macaroon_secret_key: 'test-macaroon',
    form_secret: 'test-form',
    bcrypt_rounds: 4,
    room_list_publication_rules: [{ action: 'allow' }],
    rc_message: UNLIMITED,
    rc_registration: UNLIMITED,
    rc_login: { address: UNLIMITED, account: UNLIMITED, failed_attempts: UNLIMITED },
    rc_joins: { local: UNLIMITED, remote: UNLIMITED },
    rc_joins_per_room: UNLIMITED,
    rc_invites: { per_room: UNLIMITED, per_user: UNLIMITED, per_issuer: UNLIMITED },
    rc_room_creation: UNLIMITED,
    ...(options.rcFederation && { rc_federation: options.rcFederation }),
    ...(options.defaultRoomVersion && { default_room_version: options.defaultRoomVersion }),
    app_service_config_files: [options.registrationPath ?? [], options.appservices ?? []].flat(),
    ...options.settings,
  };
}

/** The path of the signing key of a homeserver kept in `dir`. */
export function signingKeyPath(dir: string): string {
  return join(dir, 'signing.key');
}

/** Writes a new Ed25519 signing key in Synapse's text form, unless one is there. */
export async function ensureSigningKey(dir: string): Promise<string> {
  const path = signingKeyPath(dir);
  const present = await access(path).then(
    () => true,
    () => false,
  );
  if (!present) {
    const seed = randomBytes(32).toString('base64').replaceAll('=', '');
    await writeFile(path, `ed25519 a_${randomBytes(2).toString('hex')} ${seed}\n`, { mode: 0o600 });
  }
  return path;
}

/** The port in `localhost:23456`. */
export function portOf(serverName: string): number {
  const port = Number(serverName.split(':').at(-1));
  if (!Number.isInteger(port)) throw new Error(`${serverName} has no port`);
  return port;
}
