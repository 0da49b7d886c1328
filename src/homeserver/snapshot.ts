import type { RoomSnapshot } from './homeserver.ts';
import { rulesOf } from './room-rules.ts';
import { snapshotAtOne } from './snapshot-at-one.ts';
import { ResolvedSnapshot } from './snapshot-resolved.ts';
import type { SnapshotSource } from './snapshot-source.ts';

/** A room whose extremities move faster than its state is read: the last reading stands. */
const MOST_READINGS = 4;

/**
 * The room as a peeking server needs it. With one forward extremity, the state is the one before it, and itself
 * if it is state. With several, only the homeserver's own answer to a client is their resolved state: the IDs
 * are taken from there, and the extremities are read again afterwards, lest the two be of different moments.
 */
export async function takeSnapshot(source: SnapshotSource, roomId: string): Promise<RoomSnapshot> {
  for (let reading = 1; ; reading++) {
    const { roomVersion, eventIds } = await source.extremities(roomId);
    const rules = rulesOf(roomVersion);
    const [only] = eventIds;
    if (eventIds.length === 1 && only !== undefined) return snapshotAtOne(source, roomId, rules, only);
    const snapshot = await new ResolvedSnapshot(source, roomId, rules).take(eventIds);
    if (reading === MOST_READINGS) return snapshot;
    const again = (await source.extremities(roomId)).eventIds;
    if (again.length === eventIds.length && again.every((id) => eventIds.includes(id))) return snapshot;
  }
}
