import type { Json } from '../matrix/json.ts';
import type { RoomVersionRules } from '../matrix/room-versions.ts';
import type { KeyRing } from '../remote-servers/remote-servers.ts';
import { EventRejected, type VerifiedEvent, verifyEvent } from './verify-event.ts';

/** Events checked between two turns of the event loop: about 10 ms of hashing and signatures. */
const BATCH = 50;

/** Verifies events in their order; those that fail are left out and reported, the rest is used. Stops when `signal` aborts. */
export async function verifyMany(
  events: readonly Json[],
  room: { readonly roomId: string; readonly rules: RoomVersionRules },
  keys: KeyRing,
  rejected: (reason: EventRejected) => void,
  signal?: AbortSignal,
): Promise<VerifiedEvent[]> {
  const verified: VerifiedEvent[] = [];
  for (let start = 0; start < events.length; start += BATCH) {
    signal?.throwIfAborted();
    const batch = events.slice(start, start + BATCH).map(async (event) => {
      try {
        return await verifyEvent(event, room, keys);
      } catch (error) {
        if (!(error instanceof EventRejected)) throw error;
        rejected(error);
        return null;
      }
    });
    for (const event of await Promise.all(batch)) if (event !== null) verified.push(event);
    await new Promise((resolve) => setImmediate(resolve));
  }
  return verified;
}
