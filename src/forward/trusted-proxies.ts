import ipaddr from 'ipaddr.js';

type Address = ReturnType<typeof ipaddr.process>;
type Range = [Address, number];

/** Verdicts are remembered; peers that are worth remembering (reverse proxies) are few. */
const MAX_REMEMBERED = 256;

/**
 * The peers whose `X-Forwarded-*` headers are believed: addresses and CIDR ranges, IPv4 and IPv6.
 * An IPv4 address that arrives mapped into IPv6 counts as IPv4. Throws on text that is neither.
 */
export class TrustedProxies {
  readonly #ranges: Range[];
  readonly #verdicts = new Map<string, boolean>();

  constructor(entries: readonly string[] = []) {
    this.#ranges = entries.map(parseRange);
  }

  has(address: string): boolean {
    if (this.#ranges.length === 0) return false;
    const known = this.#verdicts.get(address);
    if (known !== undefined) return known;
    const verdict = this.#matches(address);
    if (this.#verdicts.size >= MAX_REMEMBERED) this.#verdicts.clear();
    this.#verdicts.set(address, verdict);
    return verdict;
  }

  #matches(address: string): boolean {
    if (!ipaddr.isValid(address)) return false;
    const peer = ipaddr.process(address);
    return this.#ranges.some(([base, bits]) => base.kind() === peer.kind() && peer.match(base, bits));
  }
}

function parseRange(entry: string): Range {
  if (entry.includes('/')) return ipaddr.parseCIDR(entry);
  const address = ipaddr.process(entry);
  return [address, address.kind() === 'ipv4' ? 32 : 128];
}
