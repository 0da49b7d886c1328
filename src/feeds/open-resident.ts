import type { Homeserver } from '../homeserver/homeserver.ts';
import { isObject } from '../matrix/json.ts';
import { newEntry } from '../rooms/log-entries.ts';
import { firstPosition } from '../rooms/positions.ts';
import type { RoomLog, Store } from '../store/store.ts';

/** The newest events of the room that a log begins with: what a first timeline shows, and some to spare. */
const SEED_EVENTS = 50;

/**
 * Opens the log of a room that our homeserver is in, or returns the one there. Its first entries are the
 * room's newest visible events; the feed's token is older than all that follows, so nothing falls between.
 * Rejects with `NotReadable` when the room is not open to non-members.
 */
export async function openResident(
  store: Store,
  homeserver: Homeserver,
  roomId: string,
  now: number,
): Promise<RoomLog> {
  const held = await store.logs.get(roomId);
  if (held !== null && held.closed === null) return held;
  if (held !== null) await store.logs.drop(roomId);

  const present = await homeserver.follow(roomId, null, {
    timeoutMs: 0,
    signal: AbortSignal.timeout(10_000),
  });
  const history = await homeserver.history(roomId, present.end, SEED_EVENTS);
  const create = await homeserver.stateEvent(roomId, 'm.room.create', '');
  const content = isObject(create?.content) ? create.content : {};
  const version = typeof content.room_version === 'string' ? content.room_version : '1';
  const entries = history.events
    .toReversed()
    .map((event) => newEntry(event, now, { shown: true, applied: true }));
  return store.logs.open(
    { roomId, roomVersion: version, feed: 'resident', openedAt: now, firstPosition: firstPosition(now) },
    { entries, feedToken: present.end },
  );
}
