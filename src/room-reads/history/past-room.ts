import { type RoomVersionRules, roomVersion } from '../../matrix/room-versions.ts';
import { pduOf } from '../../rooms/log-entries.ts';
import type { RoomLog, Store, StoredEvent } from '../../store/store.ts';

/** A room as its history is read. */
export interface PastRoom {
  readonly roomId: string;
  readonly log: RoomLog;
  readonly rules: RoomVersionRules;
  /** The event by which the room is world-readable now; null: none is known. */
  readonly since: { readonly eventId: string; readonly depth: number } | null;
}

/** Null for a room of a version that is not known. Rejects with `StoreDownError`. */
export async function pastRoomOf(store: Store, log: RoomLog): Promise<PastRoom | null> {
  const rules = roomVersion(log.roomVersion);
  if (rules === undefined) return null;
  const [since] = await store.replicas.stateOf(log.roomId, [['m.room.history_visibility', '']]);
  return { roomId: log.roomId, log, rules, since: since === undefined ? null : placed(since) };
}

function placed(event: StoredEvent): PastRoom['since'] {
  return { eventId: event.eventId, depth: Number(pduOf(event).depth) };
}
