import { type Homeserver, HomeserverRefusal, NotReadable } from '../homeserver/homeserver.ts';
import type { JsonObject } from '../matrix/json.ts';
import { isMark } from '../rooms/log-entries.ts';
import type { RoomLogStore } from '../store/store.ts';

/** A log ends with one mark at most, but for what else may come to be marked. */
const MOST_MARKS = 5;

/**
 * The state of a room where its log ends, but for what the newest entry itself has changed. It is not the present
 * one: the homeserver counts as state what the log has yet to be told. Rejects with `HomeserverDown`,
 * `StoreDownError`.
 */
export async function loggedState(
  { homeserver, logs }: { readonly homeserver: Homeserver; readonly logs: RoomLogStore },
  roomId: string,
): Promise<readonly JsonObject[]> {
  const newest = await logs.readLast(roomId, Number.MAX_SAFE_INTEGER, MOST_MARKS);
  const last = newest.findLast((entry) => !isMark(entry));
  if (last !== undefined) {
    try {
      return (await homeserver.stateBefore(roomId, last.eventId)).state;
    } catch (error) {
      // It has purged the event, or has the room without its whole state.
      if (!(error instanceof HomeserverRefusal)) throw error;
    }
  }
  try {
    return await homeserver.currentState(roomId);
  } catch (error) {
    if (error instanceof NotReadable) return [];
    throw error;
  }
}
