import { gatherKeys } from '../../feeds/authorisation/answer-keys.ts';
import { authSourceAt } from '../../feeds/authorisation/auth-source.ts';
import { EventVerdicts, UNKNOWN_AUTH } from '../../feeds/authorisation/event-verdicts.ts';
import { fetchMissingAuth } from '../../feeds/authorisation/missing-auth.ts';
import { eventIdOf } from '../../matrix/event-id.ts';
import type { Json } from '../../matrix/json.ts';
import { checkPdu, type Pdu, roomIdOf, stripUnsigned } from '../../matrix/pdu.ts';
import type { Clock } from '../../platform/clock.ts';
import type { Logger } from '../../platform/log.ts';
import type { Metrics } from '../../platform/metrics.ts';
import { takeTurns } from '../../platform/turns.ts';
import { type KeyRing, keysFor, type RemoteServers } from '../../remote-servers/remote-servers.ts';
import { pduOf } from '../../rooms/log-entries.ts';
import type { EventRejected, VerifiedEvent } from '../../rooms/verify-event.ts';
import { verifyMany } from '../../rooms/verify-many.ts';
import type { Store } from '../../store/store.ts';
import { type PastEvent, type PastEvents, pastEvent } from './past-event.ts';
import type { PastRoom } from './past-room.ts';

/** For the keys of one answer: a reader waits. */
const KEYS_WITHIN_MS = 4_000;

export interface JudgePastDeps {
  readonly store: Store;
  readonly remote: RemoteServers;
  readonly keys: KeyRing;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly past: PastEvents;
}

/**
 * Judges what `server` gave of a room's past as all that is sent to us is judged: authentic, and authorised by its own
 * auth events, back to the create event. What is not keeps its place in the graph and loses all else; what is no event
 * of the room is left out. What holds for good is remembered.
 */
export async function judgePast(
  deps: JudgePastDeps,
  room: PastRoom,
  server: string,
  given: readonly Json[],
  signal: AbortSignal,
): Promise<PastEvent[]> {
  const { clock, logger, metrics, past } = deps;
  const { roomId, rules } = room;
  const keys = keysFor(server, deps.keys);
  const dropped = (reason: EventRejected['reason'], why: string) => {
    metrics.eventsDropped.inc({ reason });
    logger.info({ room: roomId, server, reason, why }, 'an event of a peeked room’s past was dropped');
  };
  let isForWantOfKey = false;
  const verify = async (events: readonly Json[], within: AbortSignal): Promise<VerifiedEvent[]> => {
    const ring = await gatherKeys(events, keys, clock, within, KEYS_WITHIN_MS);
    const reject = (error: EventRejected) => {
      isForWantOfKey ||= error.isForWantOfKey;
      dropped(error.reason, error.message);
    };
    return verifyMany(events, { roomId, rules }, ring, reject, within);
  };
  const verified = await verify(given, signal);
  const isKeyMissing = isForWantOfKey;
  const { allowed, unknown, fetched } = await authorised(deps, room, server, verified, verify, signal);
  const judged = new Map<string, PastEvent>();
  for (const event of [...verified, ...fetched]) {
    const isAllowed = allowed.has(event.eventId);
    if (!isAllowed && !unknown.has(event.eventId)) dropped('auth', 'its auth events do not allow it');
    const one = pastEvent(event.eventId, event.pdu, rules, isAllowed ? event : null);
    if (!unknown.has(event.eventId)) past.add(roomId, one);
    judged.set(event.eventId, one);
  }
  if (verified.length === given.length) return [...judged.values()];
  for (const { eventId, pdu } of placesOf(given, room)) {
    if (judged.has(eventId)) continue;
    const one = pastEvent(eventId, pdu, rules, null);
    // What is named by its sender alone may be somebody else's word for it.
    if (!isKeyMissing && rules.eventIds !== 'named') past.add(roomId, one);
    judged.set(eventId, one);
  }
  return [...judged.values()];
}

/** Which of the events are authorised, and of which that cannot be told now. Auth events that were asked for are `fetched`. */
async function authorised(
  { store, remote, clock, past }: JudgePastDeps,
  { roomId, rules }: PastRoom,
  server: string,
  events: readonly VerifiedEvent[],
  verify: (events: readonly Json[], signal: AbortSignal) => Promise<VerifiedEvent[]>,
  signal: AbortSignal,
) {
  const verdicts = new EventVerdicts(rules);
  const [create] = await store.replicas.stateOf(roomId, [['m.room.create', '']]);
  if (create !== undefined) verdicts.trust({ eventId: create.eventId, pdu: pduOf(create) as Pdu });
  for (const event of events) verdicts.add(event);
  const looked = new Set<string>();
  const lookUp = async () => {
    const missing = [...verdicts.missing()].filter((eventId) => !looked.has(eventId));
    for (const eventId of missing) {
      looked.add(eventId);
      const known = past.get(roomId, eventId)?.event;
      const held = known ?? (await store.replicas.event(roomId, eventId));
      if (held === null || held === undefined) continue;
      verdicts.trust({ eventId, pdu: 'pdu' in held ? held.pdu : (pduOf(held) as Pdu) });
    }
  };
  const source = authSourceAt(remote, server, roomId);
  const fetched = await fetchMissingAuth({ verdicts, rules, clock, source, lookUp, verify, signal }, events);
  const turn = takeTurns();
  const allowed = new Set<string>();
  const unknown = new Set<string>();
  for (const { eventId } of [...events, ...fetched]) {
    const verdict = await verdicts.of(eventId, turn);
    if (verdict.allowed) allowed.add(eventId);
    else if (verdict === UNKNOWN_AUTH) unknown.add(eventId);
  }
  return { allowed, unknown, fetched };
}

/** Events of the room by what they say of themselves: in most room versions their IDs are hashes of it. */
function placesOf(given: readonly Json[], { roomId, rules }: PastRoom): { eventId: string; pdu: Pdu }[] {
  return given.flatMap((json) => {
    try {
      const pdu = stripUnsigned(checkPdu(json, rules));
      return roomIdOf(pdu, rules) === roomId ? [{ eventId: eventIdOf(pdu, rules), pdu }] : [];
    } catch {
      return [];
    }
  });
}
