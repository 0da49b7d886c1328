import { setImmediate } from 'node:timers/promises';
import type { LogEntry, RoomLog, Store } from '../store/store.ts';
import { stateSlot, tellsStateAnew } from './log-entries.ts';
import { isHiddenFromClients } from './readable.ts';

/** A stretch of a room's log for one device. */
export interface Stretch {
  /** The newest shown entries of the stretch, oldest first. */
  readonly timeline: LogEntry[];
  /** State changes of the stretch that the timeline does not hold, the last one of each slot. */
  readonly skippedState: LogEntry[];
  /** All that was shown in the room from the timeline's first event on, whether it was selected or not. */
  readonly around: LogEntry[];
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

/** Which of the events that may be shown a timeline is made of. */
export interface Selection {
  /** The newest so many. */
  readonly limit: number;
  /** Those that are wanted, of these, in their order; without it all are. Cut to the limit afterwards. */
  readonly select?: (shown: readonly LogEntry[]) => readonly LogEntry[];
}

/** How many entries are read at once: other requests have their turn between two pages. */
const PAGE = 100;
/**
 * How many entries before the timeline are looked through for state. A cursor further back, as a token from long
 * ago or a forged one has it, finds a gap: reading the whole state once costs less than reading a long log.
 */
const MOST_BEHIND = 1000;
/** … and how many characters: a device may peek into fifty rooms whose server writes events of 64 KiB. */
const MOST_BEHIND_CHARS = 4 * 1024 * 1024;

/** The newest position of the log that a device may be shown. */
export function readableHead(log: RoomLog): number {
  return log.closed === null ? log.head : Math.min(log.head, log.closed.at);
}

/** What follows a cursor: the newest of it. */
export async function readOn(
  store: Store,
  log: RoomLog,
  after: number,
  upTo: number,
  selection: Selection,
): Promise<Stretch> {
  const from = Math.min(after, upTo);
  const entries = afterLastGap(
    await readBack(store, log.roomId, {
      from,
      upTo,
      least: selection.limit,
      most: selection.limit + MOST_BEHIND,
    }),
    upTo,
  );
  const reached = (entries[0]?.position ?? upTo + 1) - 1;
  return cut(entries, { gap: from < reached, start: from, end: upTo }, selection);
}

/** The newest entries of a stretch, at most so many, oldest first; of large ones no more than `least` and a page. */
async function readBack(
  store: Store,
  roomId: string,
  stretch: { readonly from: number; readonly upTo: number; readonly least: number; readonly most: number },
): Promise<LogEntry[]> {
  const pages: LogEntry[][] = [];
  let left = Math.min(stretch.upTo - stretch.from, stretch.most);
  let wanted = stretch.least;
  let chars = 0;
  for (let at = stretch.upTo; left > 0 && (wanted > 0 || chars <= MOST_BEHIND_CHARS); ) {
    if (pages.length > 0) await setImmediate();
    const held = await store.logs.readLast(roomId, at, Math.min(PAGE, left));
    const page = held.filter(({ position }) => position > stretch.from);
    pages.push(page);
    left -= page.length;
    wanted -= page.length;
    chars += page.reduce((sum, { json }) => sum + json.length, 0);
    const oldest = page[0];
    if (oldest === undefined || page.length < held.length) break;
    at = oldest.position - 1;
  }
  return pages.reverse().flat();
}

/**
 * The newest events at or below `upTo`: a device's first sight of the room. Where few are wanted, it is looked for
 * them up to a thousand entries back.
 */
export async function readNewest(
  store: Store,
  log: RoomLog,
  upTo: number,
  selection: Selection,
): Promise<Stretch> {
  const { limit } = selection;
  for (let most = Math.max(limit * 2, limit + 20); ; most *= 4) {
    const count = Math.min(most, limit + MOST_BEHIND);
    const newest = await readBack(store, log.roomId, { from: 0, upTo, least: limit, most: count });
    const entries = afterLastGap(newest, upTo);
    const first = entries[0];
    const start = first === undefined ? upTo : first.position - 1;
    const stretch = { ...cut(entries, { gap: false, start, end: upTo }, selection), limited: true };
    const all = entries.length < count || count === limit + MOST_BEHIND;
    if (all || stretch.timeline.length >= limit) return stretch;
  }
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
  at: { readonly gap: boolean; readonly start: number; readonly end: number },
  { limit, select = (all) => all }: Selection,
): Stretch {
  const shown = entries.filter((entry) => entry.shown && !isHiddenFromClients(entry));
  const wanted = select(shown);
  const timeline = limit === 0 ? [] : wanted.slice(-limit);
  const first = timeline[0];
  const limited = at.gap || wanted.length > timeline.length;
  const start = limited ? (first === undefined ? at.end : first.position - 1) : at.start;
  return {
    timeline,
    skippedState: changedOutside(shown, timeline, start),
    around: shown.filter(({ position }) => position > start),
    limited,
    gap: at.gap,
    stateAnew: entries.some(tellsStateAnew),
    start,
    end: at.end,
  };
}

/**
 * Of each slot the last change before the timeline; or the last of all, where that is not in the timeline: what
 * the state before it and the timeline together would not tell.
 */
function changedOutside(
  shown: readonly LogEntry[],
  timeline: readonly LogEntry[],
  start: number,
): LogEntry[] {
  const listed = new Set(timeline);
  const before = new Map<string, LogEntry>();
  const last = new Map<string, LogEntry>();
  for (const entry of shown) {
    if (entry.stateKey === null || !entry.applied) continue;
    const slot = stateSlot(entry.type, entry.stateKey);
    if (entry.position <= start) before.set(slot, entry);
    last.set(slot, entry);
  }
  for (const [slot, entry] of last) if (!listed.has(entry)) before.set(slot, entry);
  return [...before.values()];
}
