import type { Homeserver, ReadEvent } from '../homeserver/homeserver.ts';
import { closingReason } from '../rooms/readable.ts';
import type { RoomLog, Store } from '../store/store.ts';

/** Synapse answers at most this many events around one. */
const CONTEXT_LIMIT = 100;
/** Rounds of `CONTEXT_LIMIT / 2` events: an hour's burst before the closing event, and an end. */
const MOST_ROUNDS = 200;

/**
 * What a room that has just closed still shows a non-member after the newest event of the log: everything up
 * to and including the closing event. The stream itself is refused by then; the surroundings of a visible
 * event are not.
 */
export async function closedTail(store: Store, homeserver: Homeserver, log: RoomLog): Promise<ReadEvent[]> {
  const events: ReadEvent[] = [];
  let known = (await store.logs.readLast(log.roomId, log.head, 20))
    .filter((entry) => entry.shown)
    .at(-1)?.eventId;
  for (let round = 0; known !== undefined && round < MOST_ROUNDS; round++) {
    const { after } = await homeserver.context(log.roomId, known, CONTEXT_LIMIT);
    events.push(...after);
    const closing = after.findIndex((event) => closingReason(event.pdu) !== null);
    if (closing !== -1) return events.slice(0, events.length - after.length + closing + 1);
    known = after.at(-1)?.eventId;
  }
  return events;
}
