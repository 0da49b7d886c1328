import type { Clock } from '../platform/clock.ts';
import type { Metrics } from '../platform/metrics.ts';
import { pduOf, stateSlot } from '../rooms/log-entries.ts';
import type { RoomLog, Store, StoredEvent } from '../store/store.ts';
import { appendRemote, storedEvent } from './append-remote.ts';
import { hasUnknownAncestors, inGraphOrder } from './gap-filler.ts';
import type { PeekAnswer } from './peek-answer.ts';

/** Entries read at once. */
const PAGE = 500;

/**
 * The log of a room that our homeserver has left goes on with what a peeked server answers. What lay between the
 * log's beginning and its end is in it, so what the answer has beyond is what came after; that is a gap, if it
 * does not lead back to the log. To be called in the room's turn, when the homeserver's feed has ended.
 */
export async function becomeRemote(
  deps: { readonly store: Store; readonly clock: Clock; readonly metrics: Metrics },
  log: RoomLog,
  answer: PeekAnswer,
): Promise<RoomLog> {
  const { store } = deps;
  const { roomId } = log;
  const { begin, state: old } = await heldState(store, log);
  const all = [
    ...new Map([...answer.state, ...answer.recent].map((event) => [event.eventId, event])).values(),
  ];
  const held = await store.logs.positions(
    roomId,
    all.map(({ eventId }) => eventId),
  );
  const fresh = inGraphOrder(
    all.filter(({ eventId, pdu }) => !held.has(eventId) && Number(pdu.depth) > begin),
  );
  const recent = new Set(answer.recent.map(({ eventId }) => eventId));
  const gap = await hasUnknownAncestors(
    store,
    log,
    fresh.filter(({ eventId }) => recent.has(eventId)),
    answer.rules,
    recent,
  );
  await store.replicas.replace(roomId, answer.state.map(storedEvent), answer.authChain.map(storedEvent));
  const current = new Set(answer.state.map(({ eventId }) => eventId));
  await appendRemote(deps, log, fresh, answer.rules, { gap, current, old, needsCatchUp: false });
  // The feed's kind last: a crash before it, and all this is done again.
  await store.logs.setFeed(roomId, { feed: 'remote', needsCatchUp: false });
  return (await store.logs.get(roomId)) ?? log;
}

/** The depth of the log's oldest event, and the newest state events that the log holds, by slot. */
async function heldState(
  store: Store,
  log: RoomLog,
): Promise<{ begin: number; state: Map<string, StoredEvent> }> {
  const state = new Map<string, StoredEvent>();
  let begin = Number.NEGATIVE_INFINITY;
  for (let after = log.tail - 1; ; ) {
    const page = await store.logs.read(log.roomId, after, PAGE);
    for (const entry of page) {
      if (begin === Number.NEGATIVE_INFINITY) begin = Number(pduOf(entry).depth);
      if (entry.stateKey === null || !entry.applied) continue;
      const { eventId, json, type, stateKey } = entry;
      state.set(stateSlot(type, stateKey), { eventId, json, type, stateKey });
    }
    const last = page.at(-1);
    if (last === undefined || page.length < PAGE) return { begin, state };
    after = last.position;
  }
}
