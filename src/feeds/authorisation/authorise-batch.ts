import type { Json } from '../../matrix/json.ts';
import type { RoomVersionRules } from '../../matrix/room-versions.ts';
import type { Clock } from '../../platform/clock.ts';
import { takeTurns } from '../../platform/turns.ts';
import { pduOf } from '../../rooms/log-entries.ts';
import type { VerifiedEvent } from '../../rooms/verify-event.ts';
import type { Store, StoredEvent } from '../../store/store.ts';
import type { AuthSource } from './auth-source.ts';
import type { CurrentState } from './current-state.ts';
import { storedEvent } from './current-state.ts';
import { EventVerdicts, UNKNOWN_AUTH } from './event-verdicts.ts';
import { fetchMissingAuth } from './missing-auth.ts';
import type { RejectedEvents } from './rejected-events.ts';

export interface BatchAuth {
  readonly store: Store;
  readonly clock: Clock;
  readonly roomId: string;
  readonly rules: RoomVersionRules;
  readonly state: CurrentState;
  readonly rejected: RejectedEvents;
  /** The server that is asked for auth events which are neither held nor in the batch. */
  readonly source: AuthSource;
  readonly verify: (events: readonly Json[], signal: AbortSignal) => Promise<VerifiedEvent[]>;
}

/**
 * Judges authentic events of a room that is held by their own auth events: from the replica, the log, the batch
 * itself, or else the server. Auth events that had to be asked for go into the replica's chain. Returns why those
 * that are not authorised are denied, by event ID.
 */
export async function deniedInBatch(
  batch: BatchAuth,
  events: readonly VerifiedEvent[],
): Promise<Map<string, string>> {
  const { store, roomId, rules, state, rejected } = batch;
  const verdicts = new EventVerdicts(rules);
  const create = state.get('m.room.create', '');
  if (create !== null) verdicts.trust(asJudged(create));
  for (const event of events) {
    if (rejected.has(roomId, event.eventId)) verdicts.distrust(event.eventId);
    else verdicts.add(event);
  }
  const current = state.byId();
  const looked = new Set<string>();
  const lookUp = async () => {
    const missing = [...verdicts.missing()].filter((eventId) => !looked.has(eventId));
    await Promise.all(
      missing.map(async (eventId) => {
        looked.add(eventId);
        const held = current.get(eventId) ?? (await store.replicas.event(roomId, eventId));
        if (held !== null) verdicts.trust(asJudged(held));
        else if (rejected.has(roomId, eventId)) verdicts.distrust(eventId);
      }),
    );
  };
  const fetched = await fetchMissingAuth({ ...batch, verdicts, lookUp }, events);
  const turn = takeTurns();
  const believed: StoredEvent[] = [];
  for (const event of fetched) {
    const verdict = await verdicts.of(event.eventId, turn);
    if (verdict.allowed) believed.push(storedEvent(event));
    else if (verdict !== UNKNOWN_AUTH) rejected.add(roomId, event.eventId);
  }
  if (believed.length > 0) await store.replicas.add(roomId, [], believed);
  const denied = new Map<string, string>();
  for (const { eventId } of events) {
    const verdict = await verdicts.of(eventId, turn);
    if (verdict.allowed) continue;
    denied.set(eventId, verdict.reason);
    if (verdict !== UNKNOWN_AUTH) rejected.add(roomId, eventId);
  }
  return denied;
}

function asJudged(stored: StoredEvent): { eventId: string; pdu: VerifiedEvent['pdu'] } {
  return { eventId: stored.eventId, pdu: pduOf(stored) as VerifiedEvent['pdu'] };
}
