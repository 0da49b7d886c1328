import { prevEventIds } from '../../matrix/pdu.ts';
import type { RoomVersionRules } from '../../matrix/room-versions.ts';
import { isMark, pduOf } from '../../rooms/log-entries.ts';
import type { VerifiedEvent } from '../../rooms/verify-event.ts';
import type { RoomLog, Store } from '../../store/store.ts';

/** How many of a log's first entries are looked at: strays may be among them. */
const FIRST_ENTRIES = 9;

/** The depth at which a log begins, whatever strays may be among its first entries. */
export async function beginningOf(store: Store, log: RoomLog): Promise<number> {
  const first = await store.logs.read(log.roomId, log.tail - 1, FIRST_ENTRIES);
  const events = first.filter((entry) => !isMark(entry));
  const depths = events.map((entry) => Number(pduOf(entry).depth)).toSorted((a, b) => a - b);
  return depths[Math.floor(depths.length / 2)] ?? 0;
}

/**
 * Tells news from what a server sends late: it may still owe us what came before the answer with which the log
 * began, and at the end of the log that would be shown as if it had just been said. `doubtful`: state among the
 * rest may be current all the same, since a branch of long ago may win.
 */
export async function newsOf(
  store: Store,
  log: RoomLog,
  rules: RoomVersionRules,
  events: readonly VerifiedEvent[],
): Promise<{ readonly news: readonly VerifiedEvent[]; readonly doubtful: boolean }> {
  const begin = await beginningOf(store, log);
  const early = events.filter(({ pdu }) => Number(pdu.depth) <= begin);
  if (early.length === 0) return { news: events, doubtful: false };
  const previous = new Map(early.map((event) => [event, prevEventIds(event.pdu, rules)]));
  const held = await store.logs.positions(log.roomId, [...previous.values()].flat());
  const history = new Set(early.filter((event) => !previous.get(event)?.some((id) => held.has(id))));
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
