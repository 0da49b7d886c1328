import { isObject, type Json } from '../matrix/json.ts';
import type { Clock } from '../platform/clock.ts';
import { withDeadline } from '../platform/deadline.ts';
import type { KeyRing } from '../remote-servers/remote-servers.ts';

/** Servers of one answer that are asked for keys, beside those whose keys are known. */
const MOST_SERVERS = 200;
/** For all of an answer together: many servers of an old room no longer exist, and some may be made to be slow. */
const GATHERED_WITHIN_MS = 20_000;
/** The same for events of a room that is held, whose later events wait. */
export const KEYS_OF_EVENTS_WITHIN_MS = 10_000;
/** A join has two signers, an event of room versions 1 and 2 may have one more. */
const MOST_SIGNERS = 3;
/** A server has one key, or two while it changes them; old ones come with them. */
const MOST_KEYS = 3;

/**
 * Looks up, side by side, the keys that these events are signed with, and gives a key ring that asks nobody:
 * what was not there in time counts as unknown. The servers of earlier events are asked first.
 */
export async function gatherKeys(
  events: Iterable<Json>,
  keys: KeyRing,
  clock: Clock,
  signal?: AbortSignal,
  withinMs = GATHERED_WITHIN_MS,
): Promise<KeyRing> {
  const lookUps: Promise<unknown>[] = [];
  let servers = 0;
  for (const [server, wanted] of wantedKeys(events)) {
    const missing = [...wanted].filter(([keyId, at]) => keys.known(server, keyId, at, 'event') === null);
    if (missing.length === 0) continue;
    if (++servers > MOST_SERVERS) break;
    for (const [keyId, at] of missing) {
      lookUps.push(keys.publicKey(server, keyId, at, 'event').catch(() => null));
    }
  }
  if (lookUps.length > 0) {
    const all = () => Promise.all(lookUps);
    await withDeadline(clock, withinMs, signal, all).catch(() => undefined);
  }
  const known: KeyRing['known'] = (server, keyId, at, use) => keys.known(server, keyId, at, use);
  return { known, publicKey: async (server, keyId, at, use) => known(server, keyId, at, use) };
}

/** Server → key ID → the newest time it was used at. */
function wantedKeys(events: Iterable<Json>): Map<string, Map<string, number>> {
  const wanted = new Map<string, Map<string, number>>();
  for (const event of events) {
    if (!isObject(event) || !isObject(event.signatures)) continue;
    const at = event.origin_server_ts;
    if (typeof at !== 'number' || !Number.isSafeInteger(at)) continue;
    for (const [server, signatures] of Object.entries(event.signatures).slice(0, MOST_SIGNERS)) {
      if (!isObject(signatures)) continue;
      const ofServer = wanted.get(server) ?? new Map<string, number>();
      wanted.set(server, ofServer);
      for (const keyId of Object.keys(signatures).slice(0, MOST_KEYS)) {
        if (ofServer.size < MOST_KEYS || ofServer.has(keyId)) {
          ofServer.set(keyId, Math.max(at, ofServer.get(keyId) ?? at));
        }
      }
    }
  }
  return wanted;
}
