import type { NewLogEntry } from '../store/store.ts';

/**
 * Stands before the first event behind a gap. It takes one position, and is to be pruned at once with all that
 * lies before it: so a reader who had seen everything is behind the log's end like all others, and sees that
 * events are missing.
 */
export function gapMark(first: NewLogEntry): NewLogEntry {
  const flags = { type: '', stateKey: null, replaces: null, applied: false, shown: false };
  return { eventId: `gap before ${first.eventId}`, json: '{}', ...flags, receivedAt: first.receivedAt };
}
