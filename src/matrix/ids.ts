import { isIPv4, isIPv6 } from 'node:net';

/** The longest an identifier may be, in bytes of UTF-8, sigil and domain included. */
export const MAX_ID_BYTES = 255;

const HOST_AND_PORT = /^(\[[0-9A-Fa-f:.]{2,45}\]|[0-9A-Za-z.-]{1,255})(?::([0-9]{1,5}))?$/;
const DOTTED_QUAD = /^[0-9]{1,3}(?:\.[0-9]{1,3}){3}$/;
/** A room ID without a domain (room version 12 on): the create event's hash. */
const HASH_ROOM_ID = /^![A-Za-z0-9_-]{43}$/;

export interface ServerAddress {
  /** A DNS name, an IPv4 literal, or an IPv6 literal in brackets, as it was written. */
  readonly host: string;
  readonly port: number | null;
}

/** Takes a server name apart (specification, appendix "Server Name"); null if it is none. */
export function parseServerName(name: string): ServerAddress | null {
  if (name.length > MAX_ID_BYTES) return null;
  const match = HOST_AND_PORT.exec(name);
  const host = match?.[1];
  if (host === undefined) return null;
  const port = match?.[2] === undefined ? null : Number(match[2]);
  if (port !== null && port > 65_535) return null;
  if (host.startsWith('[') && !isIPv6(host.slice(1, -1))) return null;
  if (DOTTED_QUAD.test(host) && !isIPv4(host)) return null;
  return { host, port };
}

export function isServerName(name: string): boolean {
  return parseServerName(name) !== null;
}

/** Whether the host of a server name is an IPv4 or IPv6 literal. */
export function isIpLiteral(host: string): boolean {
  return host.startsWith('[') || isIPv4(host);
}

/** A user ID, the historical ones included: any localpart without `:` and NUL, even an empty one. */
export function isUserId(id: string): boolean {
  return id.startsWith('@') && hasLocalpartAndDomain(id, 0);
}

/** A room ID, either with a domain (room versions 1–11) or the hash of the create event (12 on). */
export function isRoomId(id: string): boolean {
  return id.startsWith('!') && (HASH_ROOM_ID.test(id) || hasLocalpartAndDomain(id, 1));
}

/** A room ID of the form that has no domain. */
export function isHashRoomId(id: string): boolean {
  return HASH_ROOM_ID.test(id);
}

export function isRoomAlias(id: string): boolean {
  return id.startsWith('#') && hasLocalpartAndDomain(id, 1);
}

/** The server in an identifier of the form `&localpart:server`; null where there is none. */
export function serverNameOf(id: string): string | null {
  const colon = id.indexOf(':');
  if (colon < 1) return null;
  const server = id.slice(colon + 1);
  return isServerName(server) ? server : null;
}

/** Whether a text is UTF-8-clean and at most that many bytes long. */
export function fitsBytes(text: string, maxBytes: number): boolean {
  if (text.length > maxBytes) return false;
  return text.isWellFormed() && (text.length * 3 <= maxBytes || Buffer.byteLength(text) <= maxBytes);
}

function hasLocalpartAndDomain(id: string, minLocalpart: number): boolean {
  if (!fitsBytes(id, MAX_ID_BYTES) || id.includes('\u0000')) return false;
  const colon = id.indexOf(':');
  return colon > minLocalpart && isServerName(id.slice(colon + 1));
}

/**
 * The last two labels of a server name, in lower case; all addresses are one, `address`. Who has one name has all
 * below it, and an address costs nothing to make up: what is shared among many servers is shared among these.
 */
export function domainOf(server: string): string {
  const host = parseServerName(server)?.host.toLowerCase() ?? '';
  return isIpLiteral(host) ? 'address' : host.replace(/\.+$/, '').split('.').slice(-2).join('.');
}
