import type { RoomVersionRules } from '../../matrix/room-versions.ts';
import { eachInTurns, takeTurns } from '../../platform/turns.ts';
import type { RemoteServers } from '../../remote-servers/remote-servers.ts';
import { isMark, isStatePartial, pduOf } from '../../rooms/log-entries.ts';
import { whyNotPeekable } from '../../rooms/readable.ts';
import type { VerifiedEvent } from '../../rooms/verify-event.ts';
import { type LogEntry, type RoomLog, StoreDownError, type StoredEvent } from '../../store/store.ts';
import { authSourceAt, stateIdsAt } from '../authorisation/auth-source.ts';
import { CurrentState, slotOf, storedEvent } from '../authorisation/current-state.ts';
import { isStripped } from '../authorisation/stripped-state.ts';
import type { Intake } from './intake.ts';
import { type ReseedDeps, tellState } from './reseed.ts';
import { RoomGraph } from './room-graph.ts';

/** State events that are asked for one by one; where more are unknown, the whole room is asked for. */
const MOST_UNKNOWN = 50;
/** Entries that must lead on without a gap: what is missing in one only the newest events of the server can fill. */
const WITHOUT_GAP = 50;
const FETCHED_WITHIN_MS = 10_000;
/** What says whether a room may be peeked. */
const OPENNESS: ReadonlySet<string> = new Set(['m.room.history_visibility', 'm.room.encryption']);

/**
 * Compares the state of a room with that of the server it is peeked through, by the IDs of its state at the one end
 * of the graph that we know, and takes over what is current there. False where that cannot be done so, and the whole
 * room has to be asked for: the graph has several ends or a gap, the server does not answer, too much is unknown, or
 * something of it is not authorised. Rejects with `StoreDownError` alone.
 */
export async function compareState(
  deps: ReseedDeps & { readonly remote: RemoteServers },
  intake: Intake,
  log: RoomLog,
  rules: RoomVersionRules,
  server: string,
): Promise<boolean> {
  const { store, remote, metrics } = deps;
  const { roomId } = log;
  const end = await soleEnd(deps, log, rules);
  if (end === null || (await isStatePartial(store, roomId))) return false;
  const ids = await stateIdsAt(remote, server, roomId, end.eventId).catch(() => null);
  if (ids === null || ids.size === 0) return false;

  const held = await store.replicas.state(roomId);
  const endSlot = end.stateKey === null ? null : slotOf(end);
  const turn = takeTurns();
  const heldIds = new Set<string>();
  await eachInTurns(held, ({ eventId }) => heldIds.add(eventId), turn);
  const unknown = [...ids].filter((id) => !heldIds.has(id));
  if (unknown.length > MOST_UNKNOWN) return false;
  const found = await eventsOf(deps, intake, log, rules, server, unknown);
  if (found === null) return false;
  const changed = new Map(found.map((event) => [slotOf(storedEvent(event)), event]));
  if (endSlot !== null) {
    changed.delete(endSlot);
    // The server's state is that before the event, which becomes current after it.
    if (!heldIds.has(end.eventId)) changed.set(endSlot, asVerified(end));
  }
  const gone: StoredEvent[] = [];
  const judge = (event: StoredEvent) => {
    if (ids.has(event.eventId)) return;
    const slot = slotOf(event);
    if (!changed.has(slot) && slot !== endSlot) gone.push(event);
  };
  await eachInTurns(held, judge, turn);
  if (!(await isStillPeekable(held, changed, gone))) return false;

  const news = [...changed.values()];
  const inLog = await store.logs.positions(
    roomId,
    news.map(({ eventId }) => eventId),
  );
  await replace(deps, roomId, held, news, gone);
  metrics.stateCorrections.inc(news.length + gone.length);
  await tellState(deps, log, rules, {
    held,
    fresh: news.filter(({ eventId }) => !inLog.has(eventId)),
    current: new Set(news.map(({ eventId }) => eventId)),
    corrected: news.filter(({ eventId }) => inLog.has(eventId)).length + gone.length,
    gap: false,
  });
  return true;
}

/** The one event that none follows, as long as nothing is missing in the newest part of the log. */
async function soleEnd(
  { store }: ReseedDeps,
  log: RoomLog,
  rules: RoomVersionRules,
): Promise<LogEntry | null> {
  const newest = await store.logs.readLast(log.roomId, log.head, WITHOUT_GAP);
  const isWhole = newest.every(({ position }, i) => position === log.head - (newest.length - 1 - i));
  const [end, ...others] = (await RoomGraph.of(store, log, rules)).extremities;
  if (!isWhole || end === undefined || others.length > 0) return null;
  return newest.find((entry) => entry.eventId === end && !isMark(entry)) ?? null;
}

/** Events of the room, held or asked for; null where one of them cannot be had or is no authorised state. */
async function eventsOf(
  { store, remote, clock }: ReseedDeps & { readonly remote: RemoteServers },
  intake: Intake,
  log: RoomLog,
  rules: RoomVersionRules,
  server: string,
  eventIds: readonly string[],
): Promise<VerifiedEvent[] | null> {
  const { roomId } = log;
  const held = await Promise.all(eventIds.map((id) => store.replicas.event(roomId, id)));
  const events = held.filter((event) => event !== null).map(asVerified);
  const wanted = eventIds.filter((_, i) => held[i] === null);
  if (wanted.length > 0) {
    const signal = new AbortController();
    const timer = clock.after(FETCHED_WITHIN_MS, () => signal.abort());
    try {
      const source = authSourceAt(remote, server, roomId);
      const given = await Promise.all(wanted.map((id) => source.event(id, signal.signal).catch(() => null)));
      const json = given.filter((event) => event !== null);
      const verified = await intake.verifier(log, server, rules)(json, signal.signal);
      const state = await CurrentState.for(store, roomId, verified, rules);
      const denied = await intake.denied(log, server, rules, state, verified);
      const isGood = (event: VerifiedEvent) =>
        wanted.includes(event.eventId) && !denied.has(event.eventId) && !isStripped(event);
      events.push(...verified.filter(isGood));
    } catch (error) {
      if (error instanceof StoreDownError) throw error;
      return null;
    } finally {
      timer.cancel();
    }
  }
  const isAll = events.length === eventIds.length;
  return isAll && events.every(({ pdu }) => typeof pdu.state_key === 'string') ? events : null;
}

/** Create event and power levels are there, and the room is open: else its server is to say so in its own words. */
async function isStillPeekable(
  held: readonly StoredEvent[],
  changed: ReadonlyMap<string, VerifiedEvent>,
  gone: readonly StoredEvent[],
): Promise<boolean> {
  const lost = new Set(gone.map(({ type }) => type));
  if (['m.room.create', 'm.room.power_levels', 'm.room.history_visibility'].some((type) => lost.has(type))) {
    return false;
  }
  const events = [...held, ...[...changed.values()].map(storedEvent)];
  const state = await CurrentState.of(events.filter(({ type }) => OPENNESS.has(type)));
  const visibility = state.auth('m.room.history_visibility', '');
  return whyNotPeekable({ visibility, encryption: state.auth('m.room.encryption', '') }) === null;
}

async function replace(
  { store }: ReseedDeps,
  roomId: string,
  held: readonly StoredEvent[],
  news: readonly VerifiedEvent[],
  gone: readonly StoredEvent[],
): Promise<void> {
  const changed = news.map(storedEvent);
  if (gone.length === 0) {
    const slots = new Set(changed.map(slotOf));
    const replaced = held.filter((event) => slots.has(slotOf(event)));
    return store.replicas.add(roomId, changed, replaced);
  }
  const lost = new Set(gone.map(({ eventId }) => eventId));
  const kept = held.filter(({ eventId }) => !lost.has(eventId));
  await store.replicas.replace(roomId, [...kept, ...changed], [...held]);
}

function asVerified(stored: StoredEvent): VerifiedEvent {
  return { eventId: stored.eventId, pdu: pduOf(stored) as VerifiedEvent['pdu'], redacted: false };
}
