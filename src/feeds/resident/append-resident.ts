import type { Homeserver, ReadEvent } from '../../homeserver/homeserver.ts';
import type { Clock } from '../../platform/clock.ts';
import type { Metrics } from '../../platform/metrics.ts';
import { newEntry } from '../../rooms/log-entries.ts';
import { closingReason } from '../../rooms/readable.ts';
import type { NewLogEntry, RoomLog, Store } from '../../store/store.ts';
import { HiddenAncestors } from './hidden-ancestors.ts';
import { prunedByHomeserver } from './pruned-by-homeserver.ts';

export interface AppendResidentDeps {
  readonly store: Store;
  readonly homeserver: Homeserver;
  readonly clock: Clock;
  readonly metrics: Metrics;
}

/**
 * Appends what the homeserver shows of a room to its log, with the hidden events that lie before, prunes what they
 * redact, and stores the homeserver's token, in one step; stops at the event that closes the room. Returns why the
 * room closed, or null. Rejects with `HomeserverDown` and `StoreDownError`; then nothing of it has happened.
 */
export async function appendResident(
  deps: AppendResidentDeps,
  log: RoomLog,
  events: readonly ReadEvent[],
  options: {
    readonly feedToken?: string | undefined;
    /** Events are missing before these: every reader sees a gap there. */
    readonly afterGap?: boolean;
  } = {},
): Promise<'visibility' | 'encryption' | null> {
  const { store, homeserver, clock, metrics } = deps;
  const { feedToken, afterGap = false } = options;
  const end = events.findIndex((event) => closingReason(event.pdu) !== null);
  const last = end === -1 ? undefined : events[end];
  const reason = last === undefined ? null : closingReason(last.pdu);
  const open = end === -1 ? events : events.slice(0, end + 1);

  const now = clock.now();
  const entries: NewLogEntry[] = [];
  const hidden = open.length === 0 ? null : await HiddenAncestors.of(store, homeserver, log, open);
  for (const event of open) {
    for (const ancestor of (await hidden?.before(event)) ?? []) {
      const flags = { shown: ancestor.visible, applied: false };
      entries.push(newEntry({ ...ancestor, replaces: null }, now, flags));
    }
    entries.push(newEntry(event, now, { shown: true, applied: true }));
  }
  if (entries.length === 0 && feedToken === log.feedToken && reason === null) return null;
  const amend = await prunedByHomeserver(store, homeserver, log, entries);
  const appended = await store.logs.append(log.roomId, {
    entries,
    amend,
    afterGap,
    ...(feedToken === undefined ? {} : { feedToken }),
    ...(reason === null ? {} : { close: { reason } }),
  });
  metrics.logAppended.inc({ feed: 'resident' }, appended.length);
  return reason;
}
