import type { Json } from '../../matrix/json.ts';
import { authEventIds } from '../../matrix/pdu.ts';
import type { RoomVersionRules } from '../../matrix/room-versions.ts';
import type { Clock } from '../../platform/clock.ts';
import { withDeadline } from '../../platform/deadline.ts';
import type { VerifiedEvent } from '../../rooms/verify-event.ts';
import { StoreDownError } from '../../store/store.ts';
import type { AuthSource } from './auth-source.ts';
import type { EventVerdicts } from './event-verdicts.ts';

/** Chains asked for at once, events asked for one by one, and how often what came asks for more. */
const MOST_CHAINS = 3;
const MOST_SINGLE = 50;
const MOST_ROUNDS = 4;
/** For all of it. */
const WITHIN_MS = 10_000;

export interface MissingAuth {
  readonly verdicts: EventVerdicts;
  readonly rules: RoomVersionRules;
  readonly clock: Clock;
  readonly source: AuthSource;
  /** Adds what of the missing is at hand. */
  readonly lookUp?: () => Promise<void>;
  /** Gives those of the events that are authentic and of the room. */
  readonly verify: (events: readonly Json[], signal: AbortSignal) => Promise<VerifiedEvent[]>;
  readonly signal?: AbortSignal;
}

/**
 * Asks a server for auth events that `events` name and nobody has: the auth chains of some of them, then one by one
 * what is still missing, within ten seconds. What it gives is verified and added, to be judged with the rest; what
 * it does not give stays missing. Rejects with `StoreDownError` alone; returns what was added.
 */
export async function fetchMissingAuth(
  missing: MissingAuth,
  events: readonly VerifiedEvent[],
): Promise<VerifiedEvent[]> {
  const { verdicts, clock, signal } = missing;
  const added: VerifiedEvent[] = [];
  await missing.lookUp?.();
  if (verdicts.missing().size === 0) return added;
  await withDeadline(clock, WITHIN_MS, signal, async (ending) => {
    const take = async (given: readonly Json[]) => {
      for (const event of await missing.verify(given, ending)) {
        if (ending.aborted) return;
        if (!verdicts.has(event.eventId)) added.push(event);
        verdicts.add(event);
      }
      await missing.lookUp?.();
    };
    await askForChains(missing, events, take, ending);
    const asked = new Set<string>();
    for (let round = 0; round < MOST_ROUNDS && !ending.aborted; round++) {
      const open = [...verdicts.missing()].filter((id) => !asked.has(id));
      const wanted = open.slice(0, MOST_SINGLE - asked.size);
      if (wanted.length === 0) return;
      for (const id of wanted) asked.add(id);
      const given = await Promise.all(wanted.map((id) => missing.source.event(id, ending).catch(() => null)));
      await take(given.filter((event) => event !== null));
    }
  }).catch((error: unknown) => {
    if (error instanceof StoreDownError) throw error;
  });
  return added;
}

async function askForChains(
  { verdicts, rules, source }: MissingAuth,
  events: readonly VerifiedEvent[],
  take: (given: readonly Json[]) => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  let left = MOST_CHAINS;
  for (const { eventId, pdu } of events) {
    if (left === 0 || signal.aborted) return;
    if (authEventIds(pdu, rules).every((id) => verdicts.has(id))) continue;
    left--;
    const given = await source.chain(eventId, signal).catch(() => []);
    if (given.length === 0) return;
    await take(given);
  }
}
