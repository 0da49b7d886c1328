import type { Homeserver, ReadEvent } from '../../homeserver/homeserver.ts';
import { isObject } from '../../matrix/json.ts';
import { MatrixError } from '../../platform/matrix-error.ts';
import { isStatePartial, newEntry, stateWholeMark } from '../../rooms/log-entries.ts';
import { firstPosition } from '../../rooms/positions.ts';
import type { RoomLog, Store } from '../../store/store.ts';
import { logBegin } from '../log-begin.ts';
import { type AppendResidentDeps, appendResident } from './append-resident.ts';

/** The newest events of the room that a log begins with: what a first timeline shows, and some to spare. */
const SEED_EVENTS = 50;
/** How far back an event is looked for that both the homeserver and the log of a room joined meanwhile have. */
const COMMON_WITHIN = 500;
const RETRY_MS = 10_000;
/** A device that syncs has been told of the end by then; for one that does not, the room is not kept shut. */
const OWED_TO_DEVICES_MS = 60_000;

/**
 * Opens the log of a room that our homeserver is in, or returns the one there. Its first entries are the
 * room's newest visible events; the feed's token is older than all that follows, so nothing falls between.
 *
 * The log of a room that was peeked at another server, and that our homeserver is in now, goes on with what the
 * homeserver has, and becomes a resident one. With `patient` that is only done when the two have an event in
 * common; else the log comes back as it was, still remote. Without it, readers see a gap there. One that was asleep
 * goes on in the same way: what it missed is told, or is a gap, if it was much.
 * Rejects with `NotReadable` when the room is not open to non-members.
 */
export async function openResident(
  deps: AppendResidentDeps,
  roomId: string,
  options: { readonly patient: boolean },
): Promise<RoomLog> {
  const { store, homeserver, clock } = deps;
  const now = clock.now();
  const held = await store.logs.get(roomId);
  if (held?.closed === null && held.feed === 'resident' && held.asleep === null) return held;
  if (held !== null && held.closed !== null) await dropClosed(store, roomId, now);

  const present = await homeserver.follow(roomId, null, {
    timeoutMs: 0,
    signal: AbortSignal.timeout(10_000),
  });
  if (held?.closed === null) return goOnAsResident(deps, held, present.end, options.patient);
  const [events, create] = await Promise.all([
    newest(homeserver, roomId, present.end, SEED_EVENTS),
    homeserver.stateEvent(roomId, 'm.room.create', ''),
  ]);
  const entries = events.map((event) => newEntry(event, now, { shown: true, applied: true }));
  const content = isObject(create?.content) ? create.content : {};
  const version = typeof content.room_version === 'string' ? content.room_version : '1';
  return store.logs.open(
    { roomId, roomVersion: version, feed: 'resident', openedAt: now, firstPosition: firstPosition(now) },
    { entries, feedToken: present.end },
  );
}

/** What the homeserver has and the log has not is new, unless it lies before all that the log holds. */
async function goOnAsResident(
  deps: AppendResidentDeps,
  log: RoomLog,
  feedToken: string,
  patient: boolean,
): Promise<RoomLog> {
  const { store, homeserver } = deps;
  const { roomId } = log;
  const { events, held } = await withCommon(store, homeserver, roomId, feedToken);
  const common = held.size > 0;
  if (patient && !common && log.feed === 'remote') return log;
  const fresh = log.feed === 'resident' ? afterLast(events, held) : await beyond(store, log, events, held);
  // The feed's kind last: a crash before it, and all this is done again.
  await appendResident(deps, log, common ? fresh : fresh.slice(-SEED_EVENTS), {
    feedToken,
    afterGap: !common,
  });
  if (await isStatePartial(store, roomId)) {
    await store.logs.append(roomId, { entries: [stateWholeMark(deps.clock.now())] });
  }
  await store.logs.setFeed(roomId, { feed: 'resident', needsCatchUp: false, asleep: null });
  await store.replicas.drop(roomId);
  return (await store.logs.get(roomId)) ?? log;
}

/** What a log that the homeserver itself has written lacks: all that came after it. A hole before that stays one. */
function afterLast(events: readonly ReadEvent[], held: ReadonlyMap<string, number>): ReadEvent[] {
  return events.slice(events.findLastIndex(({ eventId }) => held.has(eventId)) + 1);
}

/** What a log that another server has written lacks, in whatever order that did. */
async function beyond(
  store: Store,
  log: RoomLog,
  events: readonly ReadEvent[],
  held: ReadonlyMap<string, number>,
): Promise<ReadEvent[]> {
  const begin = (await logBegin(store, log)) ?? Number.NEGATIVE_INFINITY;
  return events.filter(({ eventId, pdu }) => !held.has(eventId) && Number(pdu.depth) > begin);
}

/** The homeserver's newest events, oldest first, as far back as needed to meet the log; what of them it holds. */
async function withCommon(store: Store, homeserver: Homeserver, roomId: string, before: string) {
  for (const limit of [SEED_EVENTS, COMMON_WITHIN]) {
    const events = await newest(homeserver, roomId, before, limit);
    const ids = events.map(({ eventId }) => eventId);
    const held = await store.logs.positions(roomId, ids);
    if (held.size > 0 || limit === COMMON_WITHIN) return { events, held };
  }
  return { events: [], held: new Map<string, number>() };
}

async function newest(
  homeserver: Homeserver,
  roomId: string,
  before: string,
  limit: number,
): Promise<ReadEvent[]> {
  return (await homeserver.history(roomId, before, limit)).events.toReversed();
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
