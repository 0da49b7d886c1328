import { setImmediate } from 'node:timers/promises';
import type { Clock } from '../../platform/clock.ts';
import type { Logger } from '../../platform/log.ts';
import { stateWholeMark } from '../../rooms/log-entries.ts';
import type { VerifiedEvent } from '../../rooms/verify-event.ts';
import { type RoomLog, type Store, StoreDownError } from '../../store/store.ts';
import { storedEvent } from '../authorisation/current-state.ts';
import type { PeekAnswer, RestOfAnswer } from './peek-answer.ts';

/** Events stored between two turns of the event loop: some milliseconds. */
const SLICE = 150;

/**
 * Brings what a large answer has beyond the first of it into the room's replica, as it is verified. Then whoever
 * reads the room is told its state anew: what they have seen was without it. Where it cannot be done the log goes on
 * needing its state anew. Never rejects.
 */
export async function completeReplica(
  { store, clock, logger }: { readonly store: Store; readonly clock: Clock; readonly logger: Logger },
  log: RoomLog,
  { isSeamless }: PeekAnswer,
  rest: RestOfAnswer,
): Promise<void> {
  const { roomId } = log;
  try {
    for await (const { list, events } of rest.batches()) {
      if (!(await isStill(store, log))) break;
      if (list === 'state') await addBySlices(store, roomId, events, []);
      else await addBySlices(store, roomId, [], events);
    }
    if (await isStill(store, log)) {
      await store.logs.append(roomId, {
        entries: [stateWholeMark(clock.now())],
        ...(isSeamless ? { needsCatchUp: false } : {}),
      });
    } else if ((await store.logs.get(roomId)) === null) await store.replicas.drop(roomId);
  } catch (error) {
    const reason = error instanceof StoreDownError ? 'the store is down' : String(error);
    logger.warn({ room: roomId, reason }, "the rest of a room's state is not there yet; it is read anew");
  }
}

/** The answer with its rest in it, for a room that can be read meanwhile from what there is. */
export async function withRest(answer: PeekAnswer): Promise<PeekAnswer> {
  if (answer.rest === null) return answer;
  const all = { state: [...answer.state], authChain: [...answer.authChain] };
  for await (const { list, events } of answer.rest.batches()) all[list].push(...events);
  return { ...answer, ...all, state: all.state.filter(({ pdu }) => typeof pdu.state_key === 'string') };
}

/** Adds to a replica in slices, with other work between them. `anew`: what it held goes with the first of them. */
export async function addBySlices(
  store: Store,
  roomId: string,
  state: readonly VerifiedEvent[],
  authChain: readonly VerifiedEvent[],
  { anew = false }: { readonly anew?: boolean } = {},
): Promise<void> {
  for (let at = 0; at === 0 || at < Math.max(state.length, authChain.length); at += SLICE) {
    if (at > 0) await setImmediate();
    const slice = [state, authChain].map((events) => events.slice(at, at + SLICE).map(storedEvent));
    const [ofState = [], ofChain = []] = slice;
    if (anew && at === 0) await store.replicas.replace(roomId, ofState, ofChain);
    else await store.replicas.add(roomId, ofState, ofChain);
  }
}

/** The log is the same one, and open. */
async function isStill(store: Store, { roomId, openedAt }: RoomLog): Promise<boolean> {
  const now = await store.logs.get(roomId);
  return now !== null && now.openedAt === openedAt && now.closed === null;
}
