import { isIpLiteral, parseServerName } from './ids.ts';
import type { Json, JsonObject } from './json.ts';

/** An ACL is one event and cannot hold more; a longer one is not a valid one, and lets nobody in. */
const MAX_CHARACTERS = 65_536;
/** Answers kept per compiled ACL, so that a costly one costs once per server. */
const MAX_REMEMBERED = 1000;

/**
 * What `m.room.server_acl` says of a server name (specification, client-server API, "Server ACLs"). `content`
 * null: the room has no such event, everybody is allowed. Globs are matched without back-tracking over more
 * than the last `*`, ports are not looked at, case does not count; lists that are no arrays count as empty and
 * entries that are no strings do not count, so without a usable `allow` nobody is allowed.
 */
export function compileServerAcl(content: JsonObject | null): (serverName: string) => boolean {
  if (content === null) return () => true;
  const size = characters(content.allow) + characters(content.deny);
  if (size > MAX_CHARACTERS) return () => false;
  const allow = new GlobSet(content.allow);
  const deny = new GlobSet(content.deny);
  const ipLiterals = content.allow_ip_literals !== false;
  const remembered = new Map<string, boolean>();
  return (serverName) => {
    const host = parseServerName(serverName)?.host.toLowerCase();
    if (host === undefined) return false;
    const known = remembered.get(host);
    if (known !== undefined) return known;
    const allowed = (ipLiterals || !isIpLiteral(host)) && !deny.matches(host) && allow.matches(host);
    if (remembered.size >= MAX_REMEMBERED) remembered.clear();
    remembered.set(host, allowed);
    return allowed;
  };
}

class GlobSet {
  readonly #names = new Set<string>();
  readonly #globs = new Set<string>();

  constructor(list: Json | undefined) {
    for (const entry of strings(list)) {
      const glob = entry.toLowerCase().replace(/\*+/g, '*');
      if (/[*?]/.test(glob)) this.#globs.add(glob);
      else this.#names.add(glob);
    }
  }

  matches(host: string): boolean {
    if (this.#names.has(host)) return true;
    for (const glob of this.#globs) if (matchesGlob(glob, host)) return true;
    return false;
  }
}

/** `*` any characters, `?` one. At most glob length × text length steps: only the last `*` is ever retried. */
export function matchesGlob(glob: string, text: string): boolean {
  let g = 0;
  let t = 0;
  let star = -1;
  let starText = 0;
  while (t < text.length) {
    if (glob[g] === '*') {
      star = g++;
      starText = t;
    } else if (g < glob.length && (glob[g] === '?' || glob[g] === text[t])) {
      g++;
      t++;
    } else if (star >= 0) {
      g = star + 1;
      t = ++starText;
    } else {
      return false;
    }
  }
  while (glob[g] === '*') g++;
  return g === glob.length;
}

function strings(list: Json | undefined): string[] {
  return Array.isArray(list) ? list.filter((entry) => typeof entry === 'string') : [];
}

function characters(list: Json | undefined): number {
  return strings(list).reduce((sum, entry) => sum + entry.length, 0);
}
