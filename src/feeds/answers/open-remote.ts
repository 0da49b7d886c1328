import type { Clock } from '../../platform/clock.ts';
import { newEntry, statePartialMark } from '../../rooms/log-entries.ts';
import { firstPosition } from '../../rooms/positions.ts';
import type { VerifiedEvent } from '../../rooms/verify-event.ts';
import type { RoomLog, Store } from '../../store/store.ts';
import { addBySlices } from './complete-replica.ts';
import type { PeekAnswer } from './peek-answer.ts';

/**
 * Opens the log of a room that was not held from a peeked server's answer. Where the server is none that begins to
 * send before it answers, what happened in between may be missing: the room is to be asked for once more. With a rest
 * of the answer to come, the log says that its state is partial.
 */
export async function openFromAnswer(
  { store, clock }: { readonly store: Store; readonly clock: Clock },
  roomId: string,
  answer: PeekAnswer,
): Promise<RoomLog> {
  await addBySlices(store, roomId, answer.state, answer.authChain, { anew: true });
  const now = clock.now();
  const current = new Set(answer.state.map(({ eventId }) => eventId));
  const earlier = new Map(answer.authChain.map((event) => [event.eventId, event]));
  const recent = answer.recent.map((event) =>
    newEntry({ ...event, replaces: replacedOf(event, earlier) }, now, {
      shown: true,
      applied: current.has(event.eventId),
    }),
  );
  return store.logs.open(
    {
      roomId,
      roomVersion: answer.roomVersion,
      feed: 'remote',
      openedAt: now,
      firstPosition: firstPosition(now),
    },
    {
      entries: answer.rest === null ? recent : [...recent, statePartialMark(now)],
      ...(answer.isSeamless && answer.rest === null ? {} : { needsCatchUp: true }),
    },
  );
}

/**
 * What a seeded state event replaced, where its auth events tell: a membership, power level or join rule
 * names the one before it. Null where they do not.
 */
function replacedOf(event: VerifiedEvent, earlier: ReadonlyMap<string, VerifiedEvent>): string | null {
  const auth = Array.isArray(event.pdu.auth_events) ? event.pdu.auth_events : [];
  for (const id of auth) {
    const candidate = earlier.get(String(Array.isArray(id) ? id[0] : id));
    if (candidate?.pdu.type === event.pdu.type && candidate.pdu.state_key === event.pdu.state_key) {
      return candidate.eventId;
    }
  }
  return null;
}
