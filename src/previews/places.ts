import { type LogPlace, placeAfter } from '../client-view/history-token.ts';
import type { LogEntry, RoomLog, Store } from '../store/store.ts';

/** Just after a position of the log; `last` is the newest event before it that the client knows. */
export function placeAt(position: number, last?: LogEntry): LogPlace {
  return last === undefined ? { kind: 'log', position, beside: null } : { ...placeAfter(last), position };
}

/**
 * The position from which a place is gone on from. A log that was begun anew since may hold the event that the
 * client knows; if it does not, the client is told all that it holds.
 */
export async function positionOf(
  { position, beside }: LogPlace,
  log: RoomLog,
  store: Store,
): Promise<number> {
  if (position >= log.tail - 1) return position;
  const held = beside === null ? new Map() : await store.logs.positions(log.roomId, [beside.eventId]);
  const found = held.get(beside?.eventId ?? '');
  if (found === undefined) return log.tail - 1;
  return beside?.side === 'before' ? found : found - 1;
}
