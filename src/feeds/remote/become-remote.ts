import type { Clock } from '../../platform/clock.ts';
import type { Metrics } from '../../platform/metrics.ts';
import { isMark, pduOf, stateSlot } from '../../rooms/log-entries.ts';
import type { RoomLog, Store, StoredEvent } from '../../store/store.ts';
import { addBySlices } from '../answers/complete-replica.ts';
import type { PeekAnswer } from '../answers/peek-answer.ts';
import { CurrentState } from '../authorisation/current-state.ts';
import { Admission } from './admission.ts';
import { appendRemote } from './append-remote.ts';
import { hasGap } from './reseed.ts';
import { parentsFirst, RoomGraph } from './room-graph.ts';

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
): Promise<void> {
  const { store } = deps;
  const { roomId } = log;
  const { begin, state: old } = await heldState(store, log);
  const given = new Map([...answer.state, ...answer.recent].map((event) => [event.eventId, event]));
  const inLog = await store.logs.positions(roomId, [...given.keys()]);
  const fresh = [...given.values()]
    .filter(({ eventId, pdu }) => !inLog.has(eventId) && Number(pdu.depth) > begin)
    .toSorted((a, b) => Number(a.pdu.depth) - Number(b.pdu.depth));
  const gap = await hasGap(store, roomId, answer, new Set(fresh));
  await addBySlices(store, roomId, answer.state, answer.authChain, { anew: true });
  const current = new Set(answer.state.map(({ eventId }) => eventId));
  const graph = await RoomGraph.of(store, log, answer.rules);
  const room = { store, roomId, rules: answer.rules };
  const admission = new Admission(room, await CurrentState.of(old), graph, deps.clock.now());
  for (const event of parentsFirst(fresh, answer.rules)) await admission.take(event, current);
  await appendRemote(deps, roomId, admission, { gap: gap && fresh.length > 0, needsCatchUp: false });
  // The feed's kind last: a crash before it, and all this is done again.
  await store.logs.setFeed(roomId, { feed: 'remote', needsCatchUp: false, asleep: null });
}

/** The depth of the log's oldest event, and the newest state events that the log holds, by slot. */
async function heldState(store: Store, log: RoomLog): Promise<{ begin: number; state: StoredEvent[] }> {
  const state = new Map<string, StoredEvent>();
  let begin = Number.NEGATIVE_INFINITY;
  for (let after = log.tail - 1; ; ) {
    const page = await store.logs.read(log.roomId, after, PAGE);
    for (const entry of page) {
      if (isMark(entry)) continue;
      if (begin === Number.NEGATIVE_INFINITY) begin = Number(pduOf(entry).depth);
      if (entry.stateKey === null || !entry.applied) continue;
      const { eventId, json, type, stateKey } = entry;
      state.set(stateSlot(type, stateKey), { eventId, json, type, stateKey });
    }
    const last = page.at(-1);
    if (last === undefined || page.length < PAGE) return { begin, state: [...state.values()] };
    after = last.position;
  }
}
