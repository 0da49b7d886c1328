import { prevEventIds } from '../matrix/pdu.ts';
import type { RoomVersionRules } from '../matrix/room-versions.ts';
import type { Clock } from '../platform/clock.ts';
import type { Metrics } from '../platform/metrics.ts';
import { newEntry, pduOf, stateSlot } from '../rooms/log-entries.ts';
import { closingReason } from '../rooms/readable.ts';
import type { VerifiedEvent } from '../rooms/verify-event.ts';
import type { LogEntry, NewLogEntry, RoomLog, Store, StoredEvent } from '../store/store.ts';
import { readableSince } from './peek-answer.ts';
import { type HeldRoom, pruned } from './replica-redaction.ts';

export interface AppendOptions {
  /** Events are missing before these: every reader sees a gap there. */
  readonly gap: boolean;
  /** As in `RoomLog`. */
  readonly needsCatchUp?: boolean;
  /** The peeked server's word on which of these events are current; without it each one becomes so in its turn. */
  readonly current?: ReadonlySet<string>;
  /** The current events before these, by slot; without it they are read from the replica. */
  readonly old?: ReadonlyMap<string, StoredEvent>;
}

/**
 * Appends verified events of a remote room to its log, state into the replica, and prunes what they redact, in
 * one step; stops at the event that closes the room. Returns what was really appended.
 */
export async function appendRemote(
  deps: { readonly store: Store; readonly clock: Clock; readonly metrics: Metrics },
  log: RoomLog,
  events: readonly VerifiedEvent[],
  rules: RoomVersionRules,
  options: AppendOptions,
): Promise<LogEntry[]> {
  const { store, metrics } = deps;
  const { roomId } = log;
  const now = deps.clock.now();
  const before = async (type: string, stateKey: string): Promise<StoredEvent | null> =>
    options.old === undefined
      ? ((await store.replicas.stateOf(roomId, [[type, stateKey]]))[0] ?? null)
      : (options.old.get(stateSlot(type, stateKey)) ?? null);
  const visibility = await currentVisibility(store, roomId);
  const entries: NewLogEntry[] = [];
  const superseded = new Map<string, StoredEvent>();
  const replaced = new Map<string, StoredEvent>();
  const amend = new Map<string, string>();
  let close: { reason: string } | undefined;
  for (const event of events) {
    const reason = closingReason(event.pdu);
    const isCurrent = options.current?.has(event.eventId) ?? false;
    const shown = isCurrent || reason !== null || readableSince([event], visibility).length > 0;
    const applied = options.current === undefined || isCurrent;
    let replaces: string | null = null;
    if (typeof event.pdu.state_key === 'string') {
      const slot = stateSlot(event.pdu.type, event.pdu.state_key);
      const earlier = await before(event.pdu.type, event.pdu.state_key);
      replaces = (replaced.get(slot) ?? earlier)?.eventId ?? null;
      if (earlier !== null) superseded.set(slot, earlier);
      if (applied) replaced.set(slot, storedEvent(event));
    }
    entries.push(newEntry({ ...event, replaces }, now, { shown, applied }));
    if (event.pdu.type === 'm.room.redaction') {
      const room: HeldRoom = {
        event: async (id) =>
          entries.find((entry) => entry.eventId === id) ?? store.replicas.event(roomId, id),
        state: async (type) => replaced.get(stateSlot(type, '')) ?? before(type, ''),
      };
      const target = await pruned(room, event.pdu, rules);
      if (target !== null) amend.set(target.eventId, target.json);
    }
    if (reason === null) continue;
    close = { reason };
    break;
  }
  // A replaced state event stays readable: the state at earlier positions is made of it.
  if (superseded.size > 0) await store.replicas.add(roomId, [], [...superseded.values()]);
  const appended = await store.logs.append(roomId, {
    entries,
    intoReplica: true,
    afterGap: options.gap,
    amend: [...amend].map(([eventId, json]) => ({ eventId, json })),
    ...(options.needsCatchUp === undefined ? {} : { needsCatchUp: options.needsCatchUp }),
    ...(close === undefined ? {} : { close }),
  });
  metrics.logAppended.inc({ feed: 'remote' }, appended.length);
  metrics.forks.inc(events.filter(({ pdu }) => prevEventIds(pdu, rules).length > 1).length);
  return appended;
}

async function currentVisibility(store: Store, roomId: string): Promise<VerifiedEvent | null> {
  const [stored] = await store.replicas.stateOf(roomId, [['m.room.history_visibility', '']]);
  if (stored === undefined) return null;
  return { eventId: stored.eventId, pdu: pduOf(stored) as VerifiedEvent['pdu'], redacted: false };
}

/** An event as the replica holds it. */
export function storedEvent(event: VerifiedEvent): StoredEvent {
  const stateKey = event.pdu.state_key;
  return {
    eventId: event.eventId,
    json: JSON.stringify(event.pdu),
    type: event.pdu.type,
    stateKey: typeof stateKey === 'string' ? stateKey : null,
  };
}
