import { type Homeserver, NotReadable, type ReadEvent } from '../../homeserver/homeserver.ts';
import { closingReason } from '../../rooms/readable.ts';
import type { RoomLog, Store } from '../../store/store.ts';

/** Synapse answers at most this many events around one. */
const CONTEXT_LIMIT = 100;
/** Rounds of `CONTEXT_LIMIT / 2` events: an hour's burst before the closing event, and an end. */
const MOST_ROUNDS = 200;
/** Entries of the log that are looked through for one which the homeserver still shows. */
const MOST_BACK = 200;
/** Shown entries that are tried: an event may be gone, by a retention policy for one. */
const MOST_TRIED = 5;

/**
 * What a room that has just closed still shows a non-member after the newest event of the log: everything up
 * to and including the closing event. The stream itself is refused by then; the surroundings of a visible
 * event are not. Empty where the homeserver shows none of the log's newest events any more.
 */
export async function closedTail(store: Store, homeserver: Homeserver, log: RoomLog): Promise<ReadEvent[]> {
  const shown = (await store.logs.readLast(log.roomId, log.head, MOST_BACK)).filter((entry) => entry.shown);
  for (const { eventId } of shown.slice(-MOST_TRIED).reverse()) {
    try {
      return await after(homeserver, log.roomId, eventId);
    } catch (error) {
      if (!(error instanceof NotReadable)) throw error;
    }
  }
  return [];
}

async function after(homeserver: Homeserver, roomId: string, eventId: string): Promise<ReadEvent[]> {
  const events: ReadEvent[] = [];
  let known: string | undefined = eventId;
  for (let round = 0; known !== undefined && round < MOST_ROUNDS; round++) {
    const { after } = await homeserver.context(roomId, known, CONTEXT_LIMIT);
    events.push(...after);
    const closing = after.findIndex((event) => closingReason(event.pdu) !== null);
    if (closing !== -1) return events.slice(0, events.length - after.length + closing + 1);
    known = after.at(-1)?.eventId;
  }
  return events;
}
