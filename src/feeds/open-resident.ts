import type { Homeserver } from '../homeserver/homeserver.ts';
import { isObject } from '../matrix/json.ts';
import { MatrixError } from '../platform/matrix-error.ts';
import { newEntry } from '../rooms/log-entries.ts';
import { firstPosition } from '../rooms/positions.ts';
import type { NewLogEntry, RoomLog, Store } from '../store/store.ts';

/** The newest events of the room that a log begins with: what a first timeline shows, and some to spare. */
const SEED_EVENTS = 50;
const RETRY_MS = 10_000;
/** A device that syncs has been told of the end by then; for one that does not, the room is not kept shut. */
const OWED_TO_DEVICES_MS = 60_000;

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
  if (held?.closed === null && held.feed === 'resident') return held;
  if (held !== null && held.closed !== null) await dropClosed(store, roomId, now);

  const present = await homeserver.follow(roomId, null, {
    timeoutMs: 0,
    signal: AbortSignal.timeout(10_000),
  });
  const history = await homeserver.history(roomId, present.end, SEED_EVENTS);
  const entries = history.events
    .toReversed()
    .map((event) => newEntry(event, now, { shown: true, applied: true }));
  if (held?.closed === null) return becomeResident(store, held, entries, present.end);
  const create = await homeserver.stateEvent(roomId, 'm.room.create', '');
  const content = isObject(create?.content) ? create.content : {};
  const version = typeof content.room_version === 'string' ? content.room_version : '1';
  return store.logs.open(
    { roomId, roomVersion: version, feed: 'resident', openedAt: now, firstPosition: firstPosition(now) },
    { entries, feedToken: present.end },
  );
}

/**
 * The log of a room that was peeked at another server, and that our homeserver is in now, goes on with what the
 * homeserver has. Its readers see a gap if that does not reach back to what the log holds.
 */
async function becomeResident(
  store: Store,
  log: RoomLog,
  newest: readonly NewLogEntry[],
  feedToken: string,
): Promise<RoomLog> {
  const { roomId } = log;
  const held = await store.logs.positions(
    roomId,
    newest.map(({ eventId }) => eventId),
  );
  // What the homeserver has before all that the log holds is history.
  const begins = newest.findIndex(({ eventId }) => held.has(eventId));
  const fresh = newest.filter(({ eventId }, i) => i > begins && !held.has(eventId));
  // The feed's kind last: a crash before it, and all this is done again.
  await store.logs.append(roomId, { entries: fresh, feedToken, afterGap: held.size === 0 });
  await store.logs.setFeed(roomId, { feed: 'resident', needsCatchUp: false });
  await store.replicas.drop(roomId);
  return (await store.logs.get(roomId)) ?? log;
}

/** The log of a room that was closed and is open again makes room for a new one, once all that it owes is sent. */
async function dropClosed(store: Store, roomId: string, now: number): Promise<void> {
  const toServers = (await store.inboundPeeks.cursors()).some((cursor) => cursor.roomId === roomId);
  const toDevices = (await store.devicePeeks.all()).some(
    (peek) => peek.roomId === roomId && peek.ended !== null && now - peek.ended.at < OWED_TO_DEVICES_MS,
  );
  if (toServers || toDevices)
    throw new MatrixError(503, 'M_UNKNOWN', 'The room has just been closed; try again', {
      retry_after_ms: RETRY_MS,
    });
  await store.logs.drop(roomId);
}
