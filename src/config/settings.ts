import {
  choice,
  count,
  duration,
  httpOrigin,
  type Kind,
  listenAddress,
  networks,
  path,
  rate,
  redisUrl,
  secret,
  serverName,
  serverNames,
} from './kinds.ts';

/** One setting: all that the checks, the help, the tables and the sample file know about it. */
export interface Setting<T = unknown> {
  readonly name: `PEEK_${string}`;
  readonly kind: Kind<T>;
  /** Text that stands in when it is not set; null where it is required or may be left out. */
  readonly default: string | null;
  readonly required: boolean;
  /** What it means, in a sentence. */
  readonly doc: string;
  readonly example: string;
}

interface Required<T> extends Setting<T> {
  readonly required: true;
}
interface Defaulted<T> extends Setting<T> {
  readonly required: false;
  readonly default: string;
}
interface Optional<T> extends Setting<T> {
  readonly required: false;
  readonly default: null;
}

/** What a setting gives: its kind's value, and null too where it may be left out. */
export type ValueOf<S> =
  S extends Required<infer T>
    ? T
    : S extends Defaulted<infer T>
      ? T
      : S extends Optional<infer T>
        ? T | null
        : never;

type Name = Setting['name'];

function required<T>(name: Name, kind: Kind<T>, example: string, doc: string): Required<T> {
  return { name, kind, default: null, required: true, doc, example };
}

function defaulted<T>(
  name: Name,
  kind: Kind<T>,
  fallback: string,
  example: string,
  doc: string,
): Defaulted<T> {
  return { name, kind, default: fallback, required: false, doc, example };
}

function optional<T>(name: Name, kind: Kind<T>, example: string, doc: string): Optional<T> {
  return { name, kind, default: null, required: false, doc, example };
}

/** The settings, in the order in which they are shown, under the names that the code knows them by. */
export const SETTINGS = {
  homeserverUrl: required(
    'PEEK_HOMESERVER_URL',
    httpOrigin,
    'http://127.0.0.1:8008',
    "Where the homeserver's client and federation APIs are.",
  ),
  serverName: required('PEEK_SERVER_NAME', serverName, 'example.org', "The homeserver's `server_name`."),
  signingKeyPath: required(
    'PEEK_SIGNING_KEY_PATH',
    path,
    '/etc/matrix-synapse/homeserver.signing.key',
    "The homeserver's signing key file.",
  ),
  registrationPath: optional(
    'PEEK_REGISTRATION_PATH',
    path,
    '/etc/matrix-synapse/peek-registration.yaml',
    'The appservice registration that the homeserver has loaded too; it gives the reader user.',
  ),
  readerToken: optional(
    'PEEK_READER_TOKEN',
    secret,
    'syt_of_an_ordinary_account',
    'Instead of a registration: access token of an ordinary account kept for reading. With neither, peeking into rooms of this homeserver is off.',
  ),
  listen: defaulted(
    'PEEK_LISTEN',
    listenAddress,
    '0.0.0.0:8090',
    '127.0.0.1:8090',
    'Where clients and other servers come in (plain HTTP). By default on all interfaces, as a container needs it; behind a reverse proxy of the same machine, name the loopback.',
  ),
  tlsListen: optional(
    'PEEK_TLS_LISTEN',
    listenAddress,
    '0.0.0.0:8448',
    'The same over TLS, for who has no reverse proxy; needs the certificate and its key.',
  ),
  tlsCertPath: optional(
    'PEEK_TLS_CERT_PATH',
    path,
    '/etc/ssl/example.org/fullchain.pem',
    'Certificate chain (PEM) for `PEEK_TLS_LISTEN`.',
  ),
  tlsKeyPath: optional(
    'PEEK_TLS_KEY_PATH',
    path,
    '/etc/ssl/example.org/privkey.pem',
    'Private key (PEM) for `PEEK_TLS_LISTEN`.',
  ),
  opsListen: defaulted(
    'PEEK_OPS_LISTEN',
    listenAddress,
    '127.0.0.1:8091',
    '127.0.0.1:8091',
    'Where `/health`, `/ready`, `/metrics` and the status page are.',
  ),
  redisUrl: optional(
    'PEEK_REDIS_URL',
    redisUrl,
    'redis://127.0.0.1:6379',
    'Redis, Sentinel (`redis+sentinel://host,host/master`) or Cluster (`redis+cluster://host,host`), for more than one process; `rediss…` for TLS. Without it SQLite in `PEEK_DATA_DIR`.',
  ),
  dataDir: defaulted(
    'PEEK_DATA_DIR',
    path,
    './data',
    '/var/lib/matrix-peek-proxy',
    'Folder of the SQLite file, where Redis is not used.',
  ),
  federationCaPath: optional(
    'PEEK_FEDERATION_CA_PATH',
    path,
    '/etc/ssl/private-ca.pem',
    'A further certificate authority (PEM) that is trusted towards other servers.',
  ),
  federationAllow: optional(
    'PEEK_FEDERATION_ALLOW',
    networks,
    '10.0.0.0/8,fd00::/8',
    'Private addresses that other servers may be reached at all the same; by default none.',
  ),
  federationDomains: optional(
    'PEEK_FEDERATION_DOMAINS',
    serverNames,
    'example.org,matrix.org',
    "Servers that may peek us and be peeked, as the homeserver's own whitelist has it; by default all.",
  ),
  trustedProxies: optional(
    'PEEK_TRUSTED_PROXIES',
    networks,
    '127.0.0.1,10.0.0.0/8',
    'Reverse proxies whose forwarded-for header is believed; by default none.',
  ),
  sincelessSync: defaulted(
    'PEEK_SINCELESS_SYNC',
    choice(['delivered', 'all', 'none']),
    'delivered',
    'all',
    'Which peeks a sync without `since` cancels: those already delivered, all, or none.',
  ),
  dormantAfter: defaulted(
    'PEEK_DORMANT_AFTER',
    duration,
    '10m',
    '30m',
    'How long after the last sync of a device its peeks fall asleep.',
  ),
  expireAfter: defaulted(
    'PEEK_EXPIRE_AFTER',
    duration,
    '7d',
    '14d',
    'How long after the last sync of a device its peeks end.',
  ),
  renewalInterval: defaulted(
    'PEEK_RENEWAL_INTERVAL',
    duration,
    '1h',
    '30m',
    'How often a server that peeks into our rooms has to renew.',
  ),
  maxPerDevice: defaulted(
    'PEEK_MAX_PER_DEVICE',
    count,
    '50',
    '20',
    'How many rooms a device may peek at once.',
  ),
  maxPerServer: defaulted(
    'PEEK_MAX_PER_SERVER',
    count,
    '1000',
    '200',
    'How many peeks another server may hold into our rooms.',
  ),
  serversPerRoom: defaulted(
    'PEEK_SERVERS_PER_ROOM',
    choice(['1', '2']),
    '1',
    '2',
    'Through how many servers a room of others is peeked at once; with 2, what one withholds the other gives, and their states are compared.',
  ),
  rateLimit: defaulted(
    'PEEK_RATE_LIMIT',
    rate,
    '10/m',
    '60/m',
    'How often a user may call `/peek`, or a server start a peek. Renewals of a client and calls that are refused count too; ten times as many `/unpeek`, and previews of rooms that have to be opened, are counted apart. All users together may do a hundred times as much.',
  ),
  logLevel: defaulted(
    'PEEK_LOG_LEVEL',
    choice(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent']),
    'info',
    'debug',
    'How much is logged.',
  ),
} as const;

/** Every setting, for checks of the documentation. */
export const settingList: readonly Setting[] = Object.values(SETTINGS);
