import ipaddr from 'ipaddr.js';
import { z } from 'zod';
import { isServerName } from '../matrix/ids.ts';
import { Secret } from './secret.ts';

/** How the text of an environment variable becomes a value, and what that text looks like. */
export interface Kind<T> {
  /** For readers: what may be written, e.g. `duration (30s, 10m, 1h, 7d)`. */
  readonly label: string;
  readonly schema: z.ZodType<T, string>;
  /** The text must not be repeated in messages. */
  readonly secret: boolean;
}

/** Said of a text that is not of its kind; the sentence goes on after the setting's name. */
class BadValueError extends Error {
  override readonly name = 'BadValueError';
}

export function kind<T>(label: string, parse: (text: string) => T, secret = false): Kind<T> {
  const schema = z.string({ error: 'is required' }).transform((text, context): T => {
    try {
      return parse(text);
    } catch (error) {
      if (!(error instanceof BadValueError)) throw error;
      context.addIssue({ code: 'custom', message: error.message });
      return z.NEVER;
    }
  });
  return { label, schema, secret };
}

/** Ends the parsing of a value. */
export function refuse(message: string): never {
  throw new BadValueError(message);
}

const UNIT_MS = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;
const LONGEST_MS = 365 * UNIT_MS.d;

function unitMs(unit: string | undefined): number {
  return UNIT_MS[(unit ?? 's') as keyof typeof UNIT_MS];
}

/** Milliseconds. */
export const duration = kind('duration, e.g. 30s, 10m, 1h, 7d', (text) => {
  const match = /^([1-9][0-9]{0,8})([smhd])$/.exec(text);
  if (match === null) return refuse('must be a whole number with a unit s, m, h or d, e.g. 10m');
  const ms = Number(match[1]) * unitMs(match[2]);
  return ms <= LONGEST_MS ? ms : refuse('must not be longer than 365d');
});

/** So many in so long a time. */
export interface Rate {
  readonly count: number;
  readonly perMs: number;
}

export const rate = kind('rate, e.g. 10/m', (text): Rate => {
  const match = /^([1-9][0-9]{0,6})\/([smhd])$/.exec(text);
  if (match === null) return refuse('must be a whole number per s, m, h or d, e.g. 10/m');
  return { count: Number(match[1]), perMs: unitMs(match[2]) };
});

export const count = kind('whole number from 1', (text) => {
  return /^[1-9][0-9]{0,8}$/.test(text) ? Number(text) : refuse('must be a whole number from 1 to 999999999');
});

/** Where to listen. `host` has no brackets; port 0 asks the system for a free one. */
export interface ListenAddress {
  readonly host: string;
  readonly port: number;
}

export const listenAddress = kind('host:port or [IPv6]:port', (text): ListenAddress => {
  const match = /^(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9.-]+)):([0-9]{1,5})$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  if (match === null || host === undefined) return refuse('must be host:port or [IPv6 address]:port');
  if (match[1] !== undefined && !ipaddr.IPv6.isValid(host))
    return refuse('has no IPv6 address in its brackets');
  if (/^[0-9.]+$/.test(host) && !ipaddr.IPv4.isValidFourPartDecimal(host)) {
    return refuse('has no IPv4 address before its port');
  }
  const port = Number(match[3]);
  return port <= 65_535 ? { host, port } : refuse('has a port above 65535');
});

/** The origin of an `http:` or `https:` URL, e.g. `http://127.0.0.1:8008`, without a slash at its end. */
export const httpOrigin = kind('http(s) URL without a path', (text) => {
  const url = URL.parse(text);
  if (url === null || (url.protocol !== 'http:' && url.protocol !== 'https:')) {
    return refuse('must be an http:// or https:// URL');
  }
  if (url.username !== '' || url.password !== '') return refuse('must not carry a user name or password');
  const bare = url.pathname === '/' && url.search === '' && url.hash === '' && !/[?#]/.test(text);
  return bare ? url.origin : refuse('must not have a path, query or fragment');
});

export const serverName = kind('server name', (text) => {
  return isServerName(text) ? text : refuse('must be a Matrix server name, e.g. example.org');
});

export const serverNames = kind('server names, separated by commas', (text) => {
  const names = list(text);
  const bad = names.filter((name) => !isServerName(name));
  return bad.length === 0 ? names : refuse(`holds what is no Matrix server name: ${bad.join(', ')}`);
});

export const path = kind('path', (text) => {
  return text.includes('\0') ? refuse('must not contain a NUL character') : text;
});

/** Networks in CIDR notation, normalised: `10.0.0.0/8`, `fd00::/8`; a bare address becomes a network of one. */
export const networks = kind('addresses or networks (CIDR), separated by commas', (text) => {
  return list(text).map(network);
});

export function choice<const T extends string>(values: readonly T[]): Kind<T> {
  return kind(values.join(', '), (text) => {
    return values.find((value) => value === text) ?? refuse(`must be one of ${values.join(', ')}`);
  });
}

export const secret = kind(
  'secret',
  (text) => {
    return /^[\x21-\x7e]+$/.test(text) ? new Secret(text) : refuse('must be printable ASCII without spaces');
  },
  true,
);

const REDIS_URL =
  /^rediss?(\+sentinel|\+cluster)?:\/\/(?:(?:[^@%\s]|%[0-9A-Fa-f]{2})*@)?([^@/?#\s]+)(?:\/([^/?#\s]*))?(?:\/([0-9]{1,5}))?$/;
const REDIS_HOST = /^(?:\[[0-9A-Fa-f:.]+\]|[^[\]:]+)(?::([0-9]{1,5}))?$/;

/** A URL of one server, of Sentinels (with the master's name) or of a cluster. May hold a password. */
export const redisUrl = kind(
  'redis://host:port/database, redis+sentinel://host,host/master/database or redis+cluster://host,host',
  (text) => {
    const match = REDIS_URL.exec(text);
    if (match === null) return refuse('must be a redis://, redis+sentinel:// or redis+cluster:// URL');
    const [, variant, hosts = '', first = '', second] = match;
    const ports = hosts.split(',').map((host) => REDIS_HOST.exec(host)?.slice(1));
    if (ports.some((port) => port === undefined)) return refuse('has a host that cannot be read');
    if (ports.some((port) => Number(port?.[0] ?? 1) < 1 || Number(port?.[0] ?? 1) > 65_535)) {
      return refuse('has a port that is not between 1 and 65535');
    }
    if (variant === '+sentinel') {
      return first === '' ? refuse('must name the master after the Sentinels') : new Secret(text);
    }
    if (second !== undefined || !/^[0-9]{0,5}$/.test(first)) {
      return refuse('has a database that is not a number');
    }
    const cluster = variant === '+cluster' || hosts.includes(',');
    return cluster && Number(first) !== 0
      ? refuse('names a database, but a cluster has only 0')
      : new Secret(text);
  },
  true,
);

function list(text: string): string[] {
  const items = text.split(',').map((item) => item.trim());
  return items.every((item) => item !== '') ? items : refuse('has an empty place between its commas');
}

function network(text: string): string {
  const [host = '', prefix, ...rest] = text.split('/');
  const known = ipaddr.IPv4.isValidFourPartDecimal(host) || ipaddr.IPv6.isValid(host);
  if (!known || host.includes('%') || rest.length > 0) return refuse(`holds what is no network: ${text}`);
  const address = ipaddr.parse(host);
  const width = address.kind() === 'ipv4' ? 32 : 128;
  if (prefix !== undefined && !/^(0|[1-9][0-9]{0,2})$/.test(prefix)) {
    return refuse(`holds what is no network: ${text}`);
  }
  const bits = prefix === undefined ? width : Number(prefix);
  if (bits > width) return refuse(`has a prefix longer than its address: ${text}`);
  const bytes = address.toByteArray();
  const inside = bytes.map((byte, i) => byte & (0xff << Math.max(0, 8 - Math.max(0, bits - i * 8))));
  const start = ipaddr.fromByteArray(inside.map((byte) => byte & 0xff)).toString();
  if (start !== address.toString())
    return refuse(`has address bits beyond its prefix: ${text}, not ${start}/${bits}`);
  return `${start}/${bits}`;
}
