import { LRUCache } from 'lru-cache';
import type { ServerKey } from './server-keys.ts';

const MAX_SERVERS = 10_000;
const MAX_KEYS_PER_SERVER = 200;

/** Checked keys, by server and key ID. Servers without any have no entry: names cost no room. */
export class KeyCache {
  readonly #servers = new LRUCache<string, Map<string, ServerKey>>({ max: MAX_SERVERS });

  get(server: string, keyId: string): ServerKey | undefined {
    return this.#servers.get(server)?.get(keyId);
  }

  /** Takes over keys: all of an answer that came from the server itself, of a copy only what is newer. */
  admit(server: string, keys: ReadonlyMap<string, ServerKey>, firstHand: boolean): void {
    const known = this.#servers.get(server) ?? new Map<string, ServerKey>();
    for (const [keyId, key] of keys) {
      const before = known.get(keyId);
      if (before === undefined || firstHand || supersedes(key, before)) known.set(keyId, key);
    }
    for (const keyId of known.keys()) {
      if (known.size <= MAX_KEYS_PER_SERVER) break;
      known.delete(keyId);
    }
    if (known.size > 0) this.#servers.set(server, known);
  }
}

/** A copy may be older than what is known: a key that was given up stays so, and a later end counts. */
function supersedes(key: ServerKey, before: ServerKey): boolean {
  if (key.expired && !before.expired) return true;
  return !before.expired && key.validUntil >= before.validUntil;
}
