import { prevEventIds } from '../../matrix/pdu.ts';
import type { RoomVersionRules } from '../../matrix/room-versions.ts';
import { isMark, pduOf } from '../../rooms/log-entries.ts';
import type { VerifiedEvent } from '../../rooms/verify-event.ts';
import type { LogEntry, RoomLog, Store } from '../../store/store.ts';

/** How many of a log's first entries are looked at: strays may be among them. */
const FIRST_ENTRIES = 9;

/** The newest entries among which a hole is looked for. */
const LOOKED_THROUGH = 1_000;
/** As many events, by their depths, as a server's answer to a peek tells of at the most. */
const LARGE_HOLE = 50;
/** A log has been partial, and is whole. */
const MOST_MARKS = 2;

/** The depth at which a log begins, whatever strays may be among its first entries. */
export async function beginningOf(store: Store, log: RoomLog): Promise<number> {
  return middleDepth(await store.logs.read(log.roomId, log.tail - 1, FIRST_ENTRIES));
}

function middleDepth(entries: readonly LogEntry[]): number {
  const events = entries.filter((entry) => !isMark(entry));
  const depths = events.map((entry) => Number(pduOf(entry).depth)).toSorted((a, b) => a - b);
  return depths[Math.floor(depths.length / 2)] ?? 0;
}

/**
 * Where what a log holds without a large hole begins: at which position, and at which depth. What comes late of a
 * small hole is told when it comes.
 */
async function unbrokenPart(store: Store, log: RoomLog): Promise<{ from: number; depth: number }> {
  const entries = await store.logs.readLast(log.roomId, log.head, LOOKED_THROUGH);
  const hole = entries.findLastIndex((entry, i) => {
    const next = entries[i + 1];
    return next !== undefined && next.position > entry.position + 1;
  });
  const after = entries.slice(hole + 1, hole + 1 + FIRST_ENTRIES);
  const depth = middleDepth(after);
  const before =
    hole === -1 ? depth : middleDepth(entries.slice(Math.max(0, hole - FIRST_ENTRIES), hole + 1));
  if (depth - before <= LARGE_HOLE) return { from: log.tail, depth: await beginningOf(store, log) };
  return { from: after[0]?.position ?? log.tail, depth };
}

/** Nearly always events come after all that the log holds: then nothing more has to be looked at. */
async function isAllNew(store: Store, log: RoomLog, events: readonly VerifiedEvent[]): Promise<boolean> {
  const newest = (await store.logs.readLast(log.roomId, log.head, 1 + MOST_MARKS)).findLast(
    (one) => !isMark(one),
  );
  if (newest === undefined) return false;
  const depth = Number(pduOf(newest).depth);
  return events.every(({ pdu }) => Number(pdu.depth) > depth);
}

/**
 * Tells news from what a server sends late: it may still owe us what came before the answer with which the log
 * began, or what lies in a large hole, which readers were told of, and at the end of the log that would be shown as if it
 * had just been said. What rests on an event that the log holds behind all that is news. `doubtful`: state among the
 * rest may be current all the same, since a branch of long ago may win.
 */
export async function newsOf(
  store: Store,
  log: RoomLog,
  rules: RoomVersionRules,
  events: readonly VerifiedEvent[],
): Promise<{ readonly news: readonly VerifiedEvent[]; readonly doubtful: boolean }> {
  if (await isAllNew(store, log, events)) return { news: events, doubtful: false };
  const { from, depth } = await unbrokenPart(store, log);
  const early = events.filter(({ pdu }) => Number(pdu.depth) <= depth);
  if (early.length === 0) return { news: events, doubtful: false };
  const previous = new Map(early.map((event) => [event, prevEventIds(event.pdu, rules)]));
  const held = await store.logs.positions(log.roomId, [...previous.values()].flat());
  const history = new Set(
    early.filter((event) => !previous.get(event)?.some((id) => (held.get(id) ?? 0) >= from)),
  );
  return {
    news: events.filter((event) => !history.has(event)),
    doubtful: await mayBeCurrent(store, log.roomId, history),
  };
}

async function mayBeCurrent(
  store: Store,
  roomId: string,
  history: Iterable<VerifiedEvent>,
): Promise<boolean> {
  for (const { eventId, pdu } of history) {
    if (typeof pdu.state_key !== 'string') continue;
    if ((await store.replicas.event(roomId, eventId)) === null) return true;
  }
  return false;
}
