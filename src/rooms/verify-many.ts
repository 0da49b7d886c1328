import type { Json } from '../matrix/json.ts';
import type { RoomVersionRules } from '../matrix/room-versions.ts';
import { takeTurns } from '../platform/turns.ts';
import type { KeyRing } from '../remote-servers/remote-servers.ts';
import { EventRejected, type VerifiedEvent, verifyEvent } from './verify-event.ts';

/** Events that wait for their keys at a time. */
const BATCH = 50;

/** Verifies events in their order; those that fail are left out and reported, the rest is used. Stops when `signal` aborts. */
export async function verifyMany(
  events: readonly Json[],
  room: { readonly roomId: string; readonly rules: RoomVersionRules },
  keys: KeyRing,
  rejected: (reason: EventRejected) => void,
  signal?: AbortSignal,
): Promise<VerifiedEvent[]> {
  const turn = takeTurns();
  const verified: VerifiedEvent[] = [];
  const check = async (event: Json) => {
    try {
      return await verifyEvent(event, room, keys);
    } catch (error) {
      if (!(error instanceof EventRejected)) throw error;
      rejected(error);
      return null;
    }
  };
  for (let start = 0; start < events.length; start += BATCH) {
    signal?.throwIfAborted();
    const batch: Promise<VerifiedEvent | null>[] = [];
    for (const event of events.slice(start, start + BATCH)) {
      await turn();
      const checked = check(event);
      checked.catch(() => undefined);
      batch.push(checked);
    }
    for (const event of await Promise.all(batch)) if (event !== null) verified.push(event);
    await new Promise((resolve) => setImmediate(resolve));
  }
  return verified;
}
