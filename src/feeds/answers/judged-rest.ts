import { authEventIds } from '../../matrix/pdu.ts';
import { takeTurns } from '../../platform/turns.ts';
import type { UnverifiedRest, VerifiedBatch } from '../../rooms/large-answer.ts';
import { EventRejected, type VerifiedEvent } from '../../rooms/verify-event.ts';
import { verifyMany } from '../../rooms/verify-many.ts';
import { gatherJobKeys, gatherKeys } from '../authorisation/answer-keys.ts';
import { EventVerdicts } from '../authorisation/event-verdicts.ts';
import { fetchMissingAuth } from '../authorisation/missing-auth.ts';
import type { AnswerJudging } from './judge-answer.ts';

/**
 * The rest of a large answer, verified in worker threads and authorised as the first of it was, batch by batch. What
 * names auth events that have not come yet waits for the end; what of these is in no batch is asked for then.
 */
export async function* judgedRest(
  rest: UnverifiedRest,
  first: readonly VerifiedEvent[],
  judging: AnswerJudging & { readonly version: string },
): AsyncGenerator<VerifiedBatch> {
  const { room, keys, clock, rejected, auth, signal, version } = judging;
  const { rules } = room;
  const verdicts = new EventVerdicts(rules);
  for (const event of first) verdicts.trust(event);
  const turn = takeTurns();
  const allowed = async (events: readonly VerifiedEvent[]): Promise<VerifiedEvent[]> => {
    const kept: VerifiedEvent[] = [];
    for (const event of events) {
      const verdict = await verdicts.of(event.eventId, turn);
      if (verdict.allowed) kept.push(event);
      else rejected(new EventRejected('auth', verdict.reason));
    }
    return kept;
  };
  const isReady = ({ pdu }: VerifiedEvent) =>
    authEventIds(pdu, rules).every((id) => verdicts.isJudged(id) || ready.has(id));
  const ready = new Set<string>();
  const waiting: VerifiedBatch[] = [];
  const jobKeys = await gatherJobKeys(rest.signers, keys, clock, signal);
  for await (const { list, events } of rest.verified(
    { roomId: room.roomId, version },
    jobKeys,
    rejected,
    signal,
  )) {
    for (const event of events) verdicts.add(event);
    ready.clear();
    for (const event of events) if (isReady(event)) ready.add(event.eventId);
    yield { list, events: await allowed(events.filter(({ eventId }) => ready.has(eventId))) };
    const later = events.filter(({ eventId }) => !ready.has(eventId));
    if (later.length > 0) waiting.push({ list, events: later });
  }
  const unread = waiting.flatMap(({ events }) => events);
  if (auth !== undefined && unread.length > 0) {
    const fetched = await fetchMissingAuth(
      {
        verdicts,
        rules,
        clock,
        source: auth,
        verify: async (events, ending) =>
          verifyMany(events, room, await gatherKeys(events, keys, clock, ending), rejected, ending),
        ...(signal === undefined ? {} : { signal }),
      },
      unread,
    );
    yield { list: 'authChain', events: await allowed(fetched) };
  }
  for (const { list, events } of waiting) yield { list, events: await allowed(events) };
}
