import { isIP } from 'node:net';
import ipaddr from 'ipaddr.js';

type Address = ipaddr.IPv4 | ipaddr.IPv6;

/** A network: its first address and the length of its prefix. */
export type Cidr = readonly [Address, number];

/**
 * Networks that no server of the open federation lives in: private, loopback, link-local, documentation,
 * multicast, translated and reserved ones (IANA special-purpose address registries).
 */
export const SPECIAL_NETWORKS: readonly string[] = [
  '0.0.0.0/8',
  '10.0.0.0/8',
  '100.64.0.0/10',
  '127.0.0.0/8',
  '169.254.0.0/16',
  '172.16.0.0/12',
  '192.0.0.0/24',
  '192.0.2.0/24',
  '192.88.99.0/24',
  '192.168.0.0/16',
  '198.18.0.0/15',
  '198.51.100.0/24',
  '203.0.113.0/24',
  '224.0.0.0/4',
  '240.0.0.0/4',
  // Unspecified (::), loopback (::1) and the old IPv4-compatible form.
  '::/96',
  '::ffff:0:0/96',
  '::ffff:0:0:0/96',
  '64:ff9b::/96',
  '64:ff9b:1::/48',
  '100::/64',
  '100:0:0:1::/64',
  '2001::/32',
  '2001:2::/48',
  '2001:10::/28',
  '2001:20::/28',
  '2001:db8::/32',
  '2002::/16',
  '3fff::/20',
  '5f00::/16',
  'fc00::/7',
  'fe80::/10',
  'fec0::/10',
  'ff00::/8',
];

/** Where the IPv4 address sits (in bytes) within addresses that stand for one. */
const EMBEDDING_NETWORKS: readonly (readonly [Cidr, number])[] = [
  [parseCidr('::ffff:0:0/96'), 12],
  [parseCidr('64:ff9b::/96'), 12],
  [parseCidr('2002::/16'), 2],
];

const SPECIAL: readonly Cidr[] = SPECIAL_NETWORKS.map(parseCidr);

/** Which addresses we connect to on the word of somebody else. */
export interface AddressGuard {
  /** An IP address in plain notation (an IPv6 one without brackets). Anything else is refused. */
  permits(address: string): boolean;
  /**
   * A host as it stands in a server name or URL, before it is looked up: false for a refused literal and for
   * what only looks like a name but is read as an address by resolvers (`2130706433`, `0x7f.1`).
   */
  permitsHost(host: string): boolean;
}

/** Refuses the special networks save what lies in `allowed`. */
export function addressGuard(allowed: readonly Cidr[] = []): AddressGuard {
  const permitsAddress = (address: Address): boolean => {
    if (!within(address, SPECIAL)) return true;
    if (!within(address, allowed)) return false;
    const embedded = embeddedAddress(address);
    return embedded === null || permitsAddress(embedded);
  };
  const permits = (address: string): boolean => {
    if (isIP(address) === 0 || address.includes('%')) return false;
    return permitsAddress(ipaddr.parse(address));
  };
  return {
    permits,
    permitsHost(host) {
      const bare = host.startsWith('[') && host.endsWith(']') ? host.slice(1, -1) : host;
      if (bare !== host || isIP(bare) !== 0) return permits(bare);
      return !looksNumeric(bare);
    },
  };
}

/**
 * Networks separated by commas or white space; a bare address is the network of itself alone.
 * Throws `MalformedCidrError` naming the first that is none.
 */
export function parseCidrs(text: string): Cidr[] {
  return text
    .split(/[\s,]+/)
    .filter((part) => part !== '')
    .map(parseCidr);
}

export class MalformedCidrError extends Error {
  override readonly name = 'MalformedCidrError';
}

function parseCidr(text: string): Cidr {
  const parts = /^([0-9A-Fa-f:.]+)(?:\/(0|[1-9]\d{0,2}))?$/.exec(text);
  const family = isIP(parts?.[1] ?? '');
  if (parts?.[1] === undefined || family === 0) {
    throw new MalformedCidrError(`${JSON.stringify(text)} is neither an IP address nor a network (CIDR)`);
  }
  const width = family === 4 ? 32 : 128;
  const bits = parts[2] === undefined ? width : Number(parts[2]);
  if (bits > width) throw new MalformedCidrError(`${text}: the prefix is longer than ${width} bits`);
  const address = ipaddr.parse(parts[1]);
  if (!isFirst(address.toByteArray(), bits)) {
    throw new MalformedCidrError(`${text} is not the first address of a network of ${bits} bits`);
  }
  return [address, bits];
}

function isFirst(bytes: number[], bits: number): boolean {
  return bytes.every((byte, i) => {
    const kept = Math.min(8, Math.max(0, bits - 8 * i));
    return (byte & (0xff >> kept)) === 0;
  });
}

function within(address: Address, networks: readonly Cidr[]): boolean {
  return networks.some(([first, bits]) => first.kind() === address.kind() && address.match(first, bits));
}

function embeddedAddress(address: Address): Address | null {
  for (const [network, offset] of EMBEDDING_NETWORKS) {
    if (within(address, [network])) {
      return new ipaddr.IPv4(address.toByteArray().slice(offset, offset + 4));
    }
  }
  return null;
}

/** The last label decides, as in the URL standard: a number, decimal or hexadecimal, makes it an address. */
function looksNumeric(host: string): boolean {
  const last = host.replace(/\.$/, '').split('.').at(-1) ?? '';
  return /^(\d+|0x[0-9a-f]*)$/i.test(last);
}
