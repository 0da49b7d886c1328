import { MatrixError } from '../../platform/matrix-error.ts';
import type { AnswerRead } from '../room-read.ts';
import { HistoryUnavailable } from './asking.ts';
import { asFarAsHad, type HistoryReads } from './history-reads.ts';
import type { HistorySession } from './history-session.ts';
import { type Direction, directionOf, unrecognised, wholeNumber } from './read-query.ts';
import type { HistoryItem } from './room-history.ts';

/** Events of the log looked at: all that it may hold in a day and a half of most rooms. */
const MOST_SCANNED = 5_000;

/**
 * `GET /rooms/{roomId}/timestamp_to_event`: the event closest to a time, at or after it (`f`), or at or before it (`b`).
 * From the log and what is known of the room's beginning; of what lies between a server of the room says which it is,
 * and what it names is then looked at like any other event. Where none does, as far back as the history is read for
 * one answer; 504 beyond that.
 */
export function timestampToEvent(reads: HistoryReads): AnswerRead {
  return (read) =>
    reads.run(read, async (session) => {
      if (read.path.length > 1) throw unrecognised();
      const ts = wholeNumber(read.query, 'ts');
      if (ts === null) throw new MatrixError(400, 'M_MISSING_PARAM', 'ts is missing');
      const dir = directionOf(read.query, 'f');
      const found = await closest(session, ts, dir);
      if (found === null) {
        throw new MatrixError(
          404,
          'M_NOT_FOUND',
          'No event that may be read here lies on that side of the time',
        );
      }
      return { event_id: found.eventId, origin_server_ts: found.pdu.origin_server_ts ?? 0 };
    });
}

async function closest(session: HistorySession, ts: number, dir: Direction): Promise<HistoryItem | null> {
  const beginning = await session.beginning();
  const start = beginning === null ? Number.NEGATIVE_INFINITY : timeOf(beginning);
  if (dir === 'f' && ts <= start) return beginning;
  if (dir === 'b' && ts < start) return null;
  const inLog = await scanned(session, ts, dir, false);
  if (inLog.isSure) return inLog.best;
  const named = await asFarAsHad(() => session.eventAt(ts, dir), null);
  if (named !== null && isCloser(timeOf(named), ts, dir, inLog.best)) return named;
  const inAll = await scanned(session, ts, dir, true);
  const isExact = inAll.best !== null && timeOf(inAll.best) === ts;
  if (!inAll.isSure && !isExact) {
    throw new HistoryUnavailable(504, 'That time lies too far back to be looked for from here');
  }
  return inAll.best;
}

/** The closest event back to the first from before the time; `isSure`: that was reached, or the end. */
async function scanned(session: HistorySession, ts: number, dir: Direction, past: boolean) {
  let best: HistoryItem | null = null;
  let isSure = false;
  const look = (item: HistoryItem) => {
    if (!past && item.before.kind === 'past') return true;
    if (!item.shown) return false;
    if (isCloser(timeOf(item), ts, dir, best)) best = item;
    isSure = timeOf(item) < ts;
    return isSure;
  };
  const outcome = await asFarAsHad(() => session.backUntil(MOST_SCANNED, look), 'cut' as const);
  return { best: best as HistoryItem | null, isSure: isSure || outcome === 'end' };
}

function isCloser(at: number, ts: number, dir: Direction, best: HistoryItem | null): boolean {
  if (dir === 'f' ? at < ts : at > ts) return false;
  return best === null || Math.abs(at - ts) <= Math.abs(timeOf(best) - ts);
}

function timeOf({ pdu }: HistoryItem): number {
  return Number(pdu.origin_server_ts);
}
