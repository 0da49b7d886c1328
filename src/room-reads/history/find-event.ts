import type { PastPlace } from '../../client-view/history-token.ts';
import { pduOf } from '../../rooms/log-entries.ts';
import { isHiddenFromClients } from '../../rooms/readable.ts';
import type { StoredEvent } from '../../store/store.ts';
import type { Asking } from './asking.ts';
import { Openness, type OpenPastDeps } from './open-past.ts';
import type { PastRoom } from './past-room.ts';
import { type HistoryItem, inLog } from './room-history.ts';

/**
 * An event by its ID, if a peeker may see it: the log shows it, it is of the present state, or a server gives it and
 * says that the room was open then as it is now. Rejects with `HistoryUnavailable`.
 */
export async function findEvent(
  deps: OpenPastDeps,
  room: PastRoom,
  eventId: string,
  asking: Asking,
): Promise<HistoryItem | null> {
  const { store, loader } = deps;
  const { roomId, since } = room;
  const position = (await store.logs.positions(roomId, [eventId])).get(eventId);
  const [entry] = position === undefined ? [] : await store.logs.readLast(roomId, position, 1);
  if (entry?.eventId === eventId) {
    const item = inLog(entry);
    return item.shown || (await isCurrent(deps, roomId, entry)) ? { ...item, shown: true } : null;
  }
  const stored = await store.replicas.event(roomId, eventId);
  if (stored !== null && (await isCurrent(deps, roomId, stored))) return outOfLog(eventId, pduOf(stored));
  const found = await loader.loadOne(room, eventId, asking);
  if (found === null || found.event === null || isHiddenFromClients(found.event.pdu)) return null;
  if (since === null || (found.depth <= since.depth && eventId !== since.eventId)) return null;
  if (!(await new Openness(deps, room, asking).isOpen(eventId))) return null;
  return outOfLog(eventId, found.event.pdu);
}

function outOfLog(eventId: string, pdu: HistoryItem['pdu']): HistoryItem {
  const depth = Number(pdu.depth);
  const place = (upTo: number): PastPlace => ({ kind: 'past', next: [eventId], upTo, onward: 0 });
  const before = place(Math.max(0, depth - 1));
  return { eventId, pdu, replaces: null, shown: true, before, after: place(depth) };
}

async function isCurrent(
  { store }: OpenPastDeps,
  roomId: string,
  { eventId, type, stateKey }: Pick<StoredEvent, 'eventId' | 'type' | 'stateKey'>,
): Promise<boolean> {
  if (stateKey === null) return false;
  const [current] = await store.replicas.stateOf(roomId, [[type, stateKey]]);
  return current?.eventId === eventId;
}
