import { isObject, type Json } from '../../matrix/json.ts';
import type { Clock } from '../../platform/clock.ts';
import { withDeadline } from '../../platform/deadline.ts';
import type { KeyRing } from '../../remote-servers/remote-servers.ts';
import type { SignerUse } from '../../rooms/signer-times.ts';
import type { JobKey } from '../../rooms/verify-jobs.ts';

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
  await lookUpKeys(wantedKeys(events), keys, clock, withinMs, signal);
  const known: KeyRing['known'] = (server, keyId, at, use) => keys.known(server, keyId, at, use);
  return { known, publicKey: async (server, keyId, at, use) => known(server, keyId, at, use) };
}

/** The same for events that a worker verifies: every key that can be had, and until when it counts. */
export async function gatherJobKeys(
  uses: readonly SignerUse[],
  keys: KeyRing,
  clock: Clock,
  signal?: AbortSignal,
): Promise<JobKey[]> {
  const wanted = new Map<string, Map<string, number>>();
  for (const { server, keyId, times } of uses) {
    const ofServer = wanted.get(server) ?? new Map<string, number>();
    wanted.set(server, ofServer.set(keyId, times.at(-1) ?? 0));
  }
  await lookUpKeys(wanted, keys, clock, GATHERED_WITHIN_MS, signal);
  const found: JobKey[] = [];
  for (const { server, keyId, times } of uses) {
    const holds = (at: number) => keys.known(server, keyId, at, 'event') !== null;
    // In the room versions in which keys do not expire, events are asked for as if they were of the year 1970.
    const until = lastTime(times, holds) ?? (holds(0) ? 0 : null);
    const publicKey = until === null ? null : keys.known(server, keyId, until, 'event');
    if (until !== null && publicKey !== null) found.push({ server, keyId, publicKey, until });
  }
  return found;
}

/** The last of the ascending times at which it holds; it holds up to some time, and not after it. */
function lastTime(times: Float64Array, holds: (at: number) => boolean): number | null {
  let [low, high] = [0, times.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (holds(times[middle] as number)) low = middle + 1;
    else high = middle;
  }
  return times[low - 1] ?? null;
}

/** `wanted`: server → key ID → the newest time it was used at. */
async function lookUpKeys(
  wanted: ReadonlyMap<string, ReadonlyMap<string, number>>,
  keys: KeyRing,
  clock: Clock,
  withinMs: number,
  signal?: AbortSignal,
): Promise<void> {
  const missing: [server: string, keyId: string, at: number][] = [];
  let servers = 0;
  for (const [server, wantedOfServer] of wanted) {
    const unknown = [...wantedOfServer].filter(
      ([keyId, at]) => keys.known(server, keyId, at, 'event') === null,
    );
    if (unknown.length === 0) continue;
    if (++servers > MOST_SERVERS) break;
    missing.push(...unknown.map(([keyId, at]): [string, string, number] => [server, keyId, at]));
  }
  if (missing.length === 0) return;
  await withDeadline(clock, withinMs, signal, (within) =>
    Promise.all(
      missing.map(([server, keyId, at]) =>
        keys.publicKey(server, keyId, at, 'event', within).catch(() => null),
      ),
    ),
  ).catch(() => undefined);
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
