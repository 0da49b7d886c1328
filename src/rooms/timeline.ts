import { setImmediate } from 'node:timers/promises';
import type { LogEntry, RoomLog, Store } from '../store/store.ts';
import { tellsStateAnew } from './log-entries.ts';
import { isHiddenFromClients } from './readable.ts';

/** A stretch of a room's log for one device. */
export interface Stretch {
  /** The newest shown entries of the stretch, oldest first. */
  readonly timeline: LogEntry[];
  /** State changes of the stretch that lie before the timeline, the last one of each slot. */
  readonly skippedState: LogEntry[];
  /** There are events between the cursor and the timeline that are not in it. */
  readonly limited: boolean;
  /** The log no longer holds what directly follows the cursor: the state must be read anew. */
  readonly gap: boolean;
  /** State has come to be known since that is in no entry: the state must be read anew, though nothing is missing. */
  readonly stateAnew: boolean;
  /** The position just before the timeline. */
  readonly start: number;
  /** The position that the device has reached with this stretch. */
  readonly end: number;
}

/** How many entries are read at once: other requests have their turn between two pages. */
const PAGE = 500;
/**
 * How many entries before the timeline are looked through for state. A cursor further back, as a token from long
 * ago or a forged one has it, finds a gap: reading the whole state once costs less than reading a long log.
 */
const MOST_BEHIND = 1000;

/** The newest position of the log that a device may be shown. */
export function readableHead(log: RoomLog): number {
  return log.closed === null ? log.head : Math.min(log.head, log.closed.at);
}

/** What follows a cursor, up to `limit` events: the newest ones. */
export async function readOn(
  store: Store,
  log: RoomLog,
  after: number,
  upTo: number,
  limit: number,
): Promise<Stretch> {
  const from = Math.min(after, upTo);
  const entries = afterLastGap(
    await readBack(store, log.roomId, { from, upTo, most: limit + MOST_BEHIND }),
    upTo,
  );
  const reached = (entries[0]?.position ?? upTo + 1) - 1;
  return cut(entries, { gap: from < reached, start: from, end: upTo, limit });
}

/** The newest entries of a stretch, at most so many, oldest first. */
async function readBack(
  store: Store,
  roomId: string,
  stretch: { readonly from: number; readonly upTo: number; readonly most: number },
): Promise<LogEntry[]> {
  const pages: LogEntry[][] = [];
  let left = Math.min(stretch.upTo - stretch.from, stretch.most);
  for (let at = stretch.upTo; left > 0; ) {
    if (pages.length > 0) await setImmediate();
    const held = await store.logs.readLast(roomId, at, Math.min(PAGE, left));
    const page = held.filter(({ position }) => position > stretch.from);
    pages.push(page);
    left -= page.length;
    const oldest = page[0];
    if (oldest === undefined || page.length < held.length) break;
    at = oldest.position - 1;
  }
  return pages.reverse().flat();
}

/** The newest events at or below `upTo`: a device's first sight of the room. */
export async function readNewest(store: Store, log: RoomLog, upTo: number, limit: number): Promise<Stretch> {
  const newest = await store.logs.readLast(log.roomId, upTo, Math.max(limit * 2, limit + 20));
  const entries = afterLastGap(newest, upTo);
  const first = entries[0];
  const start = first === undefined ? upTo : first.position - 1;
  return { ...cut(entries, { gap: false, start, end: upTo, limit }), limited: true };
}

/** The entries behind the last position that was left out: events, or their order, are not known there. */
function afterLastGap(entries: readonly LogEntry[], upTo: number): LogEntry[] {
  let next = upTo + 1;
  let first = entries.length;
  while (first > 0 && entries[first - 1]?.position === next - 1) {
    first--;
    next--;
  }
  return entries.slice(first);
}

function cut(
  entries: readonly LogEntry[],
  at: { gap: boolean; start: number; end: number; limit: number },
): Stretch {
  const shown = entries.filter((entry) => entry.shown && !isHiddenFromClients(entry));
  const timeline = at.limit === 0 ? [] : shown.slice(-at.limit);
  const first = timeline[0];
  const limited = at.gap || shown.length > timeline.length;
  const start = limited ? (first === undefined ? at.end : first.position - 1) : at.start;
  const skipped = new Map<string, LogEntry>();
  if (limited) {
    for (const entry of shown) {
      if (entry.position > start) break;
      if (entry.stateKey !== null && entry.applied) {
        skipped.set(`${entry.type}\u0000${entry.stateKey}`, entry);
      }
    }
  }
  return {
    timeline,
    skippedState: [...skipped.values()],
    limited,
    gap: at.gap,
    stateAnew: entries.some(tellsStateAnew),
    start,
    end: at.end,
  };
}
