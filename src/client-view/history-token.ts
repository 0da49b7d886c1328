import type { Json } from '../matrix/json.ts';
import { pduOf } from '../rooms/log-entries.ts';
import type { LogEntry } from '../store/store.ts';

/**
 * A place between two events in the history of a remotely peeked room. It names an event beside it, so that it is
 * found again when the log that it was in has been pruned, dropped, or begun anew.
 */
export type HistoryPlace = LogPlace | PastPlace;

/** In the room's log: just after the entry at `position`. */
export interface LogPlace {
  readonly kind: 'log';
  readonly position: number;
  /** The event just before the place or just after it; null where none is known. */
  readonly beside: {
    readonly eventId: string;
    readonly depth: number;
    readonly side: 'before' | 'after';
  } | null;
}

/** Where the log lacks events: in a hole of it, or before its beginning. */
export interface PastPlace {
  readonly kind: 'past';
  /** Where paging back goes on: those of these that are no deeper than `upTo`, and what lies before them. */
  readonly next: readonly string[];
  /** Events deeper than this lie after the place; null: none is known to. */
  readonly upTo: number | null;
  /** The position of the log at which it goes on when all that is had; 0 before the log's beginning. */
  readonly onward: number;
}

/** Upper case, which no homeserver's token begins with. */
const MARK = 'PEEK-';
/** Of one place; more branches of a room than this are not followed side by side. */
export const MOST_BRANCHES = 20;
/** What may stand in a request line beside the rest of it. */
const LONGEST = 8_000;

/**
 * For `prev_batch`, `start`, `end`, `from` and `to`. Opaque to clients: after the mark the place as a JSON array in
 * base64url, with `~` for `_`, which parts the fields of other tokens.
 */
export function remoteHistoryToken(place: HistoryPlace): string {
  return `${MARK}${Buffer.from(JSON.stringify(fields(place)))
    .toString('base64url')
    .replaceAll('_', '~')}`;
}

/** Whether a token is one of ours, be it garbled. */
export function isRemoteHistoryToken(token: string): boolean {
  return token.startsWith(MARK);
}

/** The place of a token of `remoteHistoryToken`; null for any other token. */
export function parseRemoteHistoryToken(token: string): HistoryPlace | null {
  if (!isRemoteHistoryToken(token) || token.length > LONGEST) return null;
  const text = token.slice(MARK.length).replaceAll('~', '_');
  const bytes = Buffer.from(text, 'base64url');
  if (bytes.toString('base64url') !== text) return null;
  try {
    const parts: unknown = JSON.parse(bytes.toString('utf8'));
    return Array.isArray(parts) ? (logPlace(parts) ?? pastPlace(parts)) : null;
  } catch {
    return null;
  }
}

/** Just before an event of the log: what comes next, paging on, is the event. */
export function placeBefore(entry: LogEntry): LogPlace {
  return placeBeside(entry, 'after', entry.position - 1);
}

/** Just after an event of the log: what comes next, paging back, is the event. */
export function placeAfter(entry: LogEntry): LogPlace {
  return placeBeside(entry, 'before', entry.position);
}

function placeBeside(entry: LogEntry, side: 'before' | 'after', position: number): LogPlace {
  const beside = { eventId: entry.eventId, depth: Number(pduOf(entry).depth), side };
  return { kind: 'log', position, beside };
}

function fields(place: HistoryPlace): Json {
  if (place.kind === 'past') return ['p', place.onward, place.upTo, ...place.next];
  const { beside } = place;
  return ['l', place.position, ...(beside === null ? [] : [beside.side, beside.eventId, beside.depth])];
}

function logPlace([kind, position, side, eventId, depth, ...rest]: unknown[]): LogPlace | null {
  if (kind !== 'l' || !isPosition(position) || rest.length > 0) return null;
  if (side === undefined) return { kind: 'log', position, beside: null };
  if ((side !== 'before' && side !== 'after') || !isNamed(eventId) || !isDepth(depth)) return null;
  return { kind: 'log', position, beside: { eventId, depth, side } };
}

function pastPlace([kind, onward, upTo, ...next]: unknown[]): PastPlace | null {
  if (kind !== 'p' || !isPosition(onward) || (upTo !== null && !isDepth(upTo))) return null;
  if (next.length > MOST_BRANCHES || !next.every(isNamed)) return null;
  return { kind: 'past', next, upTo, onward };
}

function isPosition(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function isDepth(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 0;
}

function isNamed(value: unknown): value is string {
  return typeof value === 'string' && value.startsWith('$') && Buffer.byteLength(value) <= 255;
}
