import type { RoomVersionRules } from '../../matrix/room-versions.ts';
import type { Clock } from '../../platform/clock.ts';
import { takeTurns } from '../../platform/turns.ts';
import type { KeyRing } from '../../remote-servers/remote-servers.ts';
import { EventRejected, type VerifiedEvent } from '../../rooms/verify-event.ts';
import { verifyMany } from '../../rooms/verify-many.ts';
import { gatherKeys } from '../authorisation/answer-keys.ts';
import type { AuthSource } from '../authorisation/auth-source.ts';
import { EventVerdicts } from '../authorisation/event-verdicts.ts';
import { fetchMissingAuth } from '../authorisation/missing-auth.ts';

/** The lists of an answer to `PUT /peek`. */
export interface AnswerEvents {
  readonly state: VerifiedEvent[];
  readonly authChain: VerifiedEvent[];
  readonly recent: VerifiedEvent[];
}

export interface AnswerJudging {
  readonly room: { readonly roomId: string; readonly rules: RoomVersionRules };
  readonly keys: KeyRing;
  readonly clock: Clock;
  /** Told of each event that is left out. */
  readonly rejected: (reason: EventRejected) => void;
  readonly auth: AuthSource | undefined;
  readonly signal: AbortSignal | undefined;
}

/**
 * What of an answer is authorised, each event by its own auth events, which are in the answer or can be had. Auth
 * events that had to be asked for are in the chain then.
 */
export async function judgeAnswer(
  authentic: AnswerEvents,
  { room, keys, clock, rejected, auth, signal }: AnswerJudging,
): Promise<AnswerEvents> {
  const verdicts = new EventVerdicts(room.rules);
  const all = [...authentic.authChain, ...authentic.state, ...authentic.recent];
  for (const event of all) verdicts.add(event);
  const fetched =
    auth === undefined
      ? []
      : await fetchMissingAuth(
          {
            verdicts,
            rules: room.rules,
            clock,
            source: auth,
            verify: async (events, ending) =>
              verifyMany(events, room, await gatherKeys(events, keys, clock, ending), rejected, ending),
            ...(signal === undefined ? {} : { signal }),
          },
          all,
        );
  const turn = takeTurns();
  const told = new Set<string>();
  const authorised = async (events: readonly VerifiedEvent[]): Promise<VerifiedEvent[]> => {
    const allowed: VerifiedEvent[] = [];
    for (const event of events) {
      const verdict = await verdicts.of(event.eventId, turn);
      if (verdict.allowed) allowed.push(event);
      else if (!told.has(event.eventId)) {
        told.add(event.eventId);
        rejected(new EventRejected('auth', verdict.reason));
      }
      signal?.throwIfAborted();
    }
    return allowed;
  };
  return {
    authChain: await authorised([...authentic.authChain, ...fetched]),
    state: await authorised(authentic.state),
    recent: await authorised(authentic.recent),
  };
}
