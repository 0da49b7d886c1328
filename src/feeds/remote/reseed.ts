import { prevEventIds, stateKeyOf } from '../../matrix/pdu.ts';
import type { RoomVersionRules } from '../../matrix/room-versions.ts';
import type { Clock } from '../../platform/clock.ts';
import type { Logger } from '../../platform/log.ts';
import type { Metrics } from '../../platform/metrics.ts';
import { eachInTurns, takeTurns } from '../../platform/turns.ts';
import { isMark, isStatePartial, pduOf, stateSlot, stateWholeMark } from '../../rooms/log-entries.ts';
import type { VerifiedEvent } from '../../rooms/verify-event.ts';
import type { RoomLog, Store, StoredEvent } from '../../store/store.ts';
import { addBySlices } from '../answers/complete-replica.ts';
import type { PeekAnswer } from '../answers/peek-answer.ts';
import { CurrentState, slotOf, storedEvent } from '../authorisation/current-state.ts';
import { Admission } from './admission.ts';
import { appendRemote } from './append-remote.ts';
import { parentsFirst, RoomGraph } from './room-graph.ts';

/** A log has been partial, and is whole. */
const MOST_MARKS = 2;

export interface ReseedDeps {
  readonly store: Store;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: Metrics;
}

/**
 * A log goes on with what the peeked server says of the room now: its newest events, and its state, which replaces
 * ours. What lies between is a gap, if the newest events do not lead back to the log. State that changed is told
 * by its events; where these have been told already, or a key has no event any more, by a gap, after which readers
 * read the state as a whole.
 */
export async function reseed(deps: ReseedDeps, log: RoomLog, answer: PeekAnswer): Promise<void> {
  const { store, clock } = deps;
  const { roomId } = log;
  const held = await store.replicas.state(roomId);
  if (await isBehind(store, log, answer)) {
    await store.logs.setFeed(roomId, { needsCatchUp: false });
    return;
  }
  const old = new Map<string, string>();
  await eachInTurns(held, (event) => old.set(slotOf(event), event.eventId));
  const changed: VerifiedEvent[] = [];
  await eachInTurns(answer.state, (event) => {
    if (old.get(placeOf(event)) !== event.eventId) changed.push(event);
  });
  const partial = await isStatePartial(store, roomId);
  const told = partial ? await sinceBegin(store, log, changed) : changed;
  const given = new Map([...told, ...answer.recent].map((event) => [event.eventId, event]));
  const inLog = await store.logs.positions(roomId, [...given.keys()]);
  const fresh = [...given.values()]
    .filter(({ eventId }) => !inLog.has(eventId))
    .toSorted((a, b) => Number(a.pdu.depth) - Number(b.pdu.depth));

  const toldBefore = changed.filter(({ eventId }) => inLog.has(eventId)).length;
  const gone = await replaceReplica(store, roomId, held, answer);
  deps.metrics.stateCorrections.inc(log.needsCatchUp || partial ? toldBefore + gone : changed.length + gone);
  await tellState(deps, log, answer.rules, {
    held,
    fresh,
    current: new Set(answer.state.map(({ eventId }) => eventId)),
    corrected: toldBefore + gone,
    gap: fresh.length > 0 && (await hasGap(store, roomId, answer, new Set(fresh))),
  });
  if (partial) await store.logs.append(roomId, { entries: [stateWholeMark(clock.now())] });
}

/** What a comparison with the peeked server has come to, when the replica is right again. */
export interface Comparison {
  /** What was current before it. */
  readonly held: readonly StoredEvent[];
  /** To be appended. */
  readonly fresh: readonly VerifiedEvent[];
  /** IDs of the events that are current now. */
  readonly current: ReadonlySet<string>;
  /** Keys that readers were shown otherwise, and that no new event tells them of. */
  readonly corrected: number;
  /** Events are missing before the fresh ones. */
  readonly gap: boolean;
}

/** Tells readers what has changed: by its events, and by a gap where these were told before. The room is caught up. */
export async function tellState(
  deps: ReseedDeps,
  log: RoomLog,
  rules: RoomVersionRules,
  { held, fresh, current, corrected, gap }: Comparison,
): Promise<void> {
  const { store, clock, logger } = deps;
  const { roomId } = log;
  const graph = await RoomGraph.of(store, log, rules);
  const state = await CurrentState.of(held);
  const admission = new Admission({ store, roomId, rules }, state, graph, clock.now());
  for (const event of parentsFirst(fresh, rules)) await admission.take(event, current);
  await appendRemote(deps, roomId, admission, { gap: gap || corrected > 0, needsCatchUp: false });
  if (corrected > 0) {
    logger.info(
      { room: roomId, keys: corrected },
      'the state of a peeked room was another than was shown; it is read anew',
    );
  }
}

/** Whether the answer ends where the log has gone on: nothing in it is new, and it lacks the log's newest event. */
async function isBehind(store: Store, log: RoomLog, { recent }: PeekAnswer): Promise<boolean> {
  const last = await store.logs.readLast(log.roomId, log.head, 1 + MOST_MARKS);
  const newest = last.findLast((entry) => !isMark(entry));
  if (newest === undefined || recent.length === 0 || log.needsCatchUp) return false;
  const ids = recent.map(({ eventId }) => eventId);
  if (ids.includes(newest.eventId)) return false;
  return (await store.logs.positions(log.roomId, ids)).size === ids.length;
}

/** Where the replica lacked much of the state, that from before the log's beginning is not new for being lacked. */
async function sinceBegin(
  store: Store,
  log: RoomLog,
  events: readonly VerifiedEvent[],
): Promise<VerifiedEvent[]> {
  const [oldest] = await store.logs.read(log.roomId, log.tail - 1, 1);
  const begin = oldest === undefined || isMark(oldest) ? 0 : Number(pduOf(oldest).depth);
  return events.filter(({ pdu }) => Number(pdu.depth) >= begin);
}

/** Returns how many keys have no event any more. */
async function replaceReplica(
  store: Store,
  roomId: string,
  held: readonly StoredEvent[],
  answer: PeekAnswer,
): Promise<number> {
  const turn = takeTurns();
  const slots = new Set<string>();
  await eachInTurns(answer.state, (event) => slots.add(placeOf(event)), turn);
  let gone = 0;
  const count = (event: StoredEvent) => {
    if (!slots.has(slotOf(event))) gone++;
  };
  await eachInTurns(held, count, turn);
  if (gone > 0) {
    const state: StoredEvent[] = [];
    await eachInTurns(answer.state, (event) => state.push(storedEvent(event)), turn);
    const chain: StoredEvent[] = [];
    await eachInTurns(answer.authChain, (event) => chain.push(storedEvent(event)), turn);
    await store.replicas.replace(roomId, state, [...chain, ...held]);
  } else await addBySlices(store, roomId, answer.state, answer.authChain);
  return gone;
}

function placeOf({ pdu }: VerifiedEvent): string {
  return stateSlot(pdu.type, stateKeyOf(pdu) ?? '');
}

/** Whether one of the newest events that are new has a predecessor that neither they nor the log have. */
export async function hasGap(
  store: Store,
  roomId: string,
  { recent, rules }: PeekAnswer,
  fresh: ReadonlySet<VerifiedEvent>,
): Promise<boolean> {
  const given = new Set(recent.map(({ eventId }) => eventId));
  const previous = recent
    .filter((event) => fresh.has(event))
    .flatMap(({ pdu }) => prevEventIds(pdu, rules))
    .filter((id) => !given.has(id));
  const inLog = await store.logs.positions(roomId, previous);
  return previous.some((id) => !inLog.has(id));
}
