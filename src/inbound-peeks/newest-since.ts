import { type Pdu, prevEventIds } from '../matrix/pdu.ts';
import { roomVersion } from '../matrix/room-versions.ts';
import { pduOf } from '../rooms/log-entries.ts';
import type { RoomLogStore } from '../store/store.ts';

/** Further apart, the state is read anew. */
const MOST_ENTRIES = 1000;

/** The newest of a room, each event as JSON. */
interface Newest {
  readonly latest: string;
  /** Oldest first. */
  readonly messages: string[];
}

/**
 * What a room's log holds up to the event `to`, its one extremity now, where that has the same state as `from`,
 * which was its one extremity before: nothing but messages lies between them, each of them resting on nothing older
 * than `from`. null where the log does not show that.
 */
export async function newestSince(
  logs: RoomLogStore,
  roomId: string,
  { from, to }: { readonly from: string; readonly to: string },
  messages: number,
): Promise<Newest | null> {
  const rules = roomVersion((await logs.get(roomId))?.roomVersion ?? '');
  const positions = await logs.positions(roomId, [from, to]);
  const [begin, end] = [positions.get(from), positions.get(to)];
  if (rules === undefined || begin === undefined || end === undefined) return null;
  if (end <= begin || end - begin > MOST_ENTRIES) return null;
  const known = new Set([from]);
  let latest: string | null = null;
  for (const entry of await logs.read(roomId, begin, end - begin)) {
    if (entry.position > end) break;
    if (entry.stateKey !== null) return null;
    if (!prevEventIds(pduOf(entry) as Pdu, rules).every((id) => known.has(id))) return null;
    known.add(entry.eventId);
    latest = entry.json;
  }
  if (latest === null || !known.has(to)) return null;
  const newest = await logs.readLast(roomId, end, messages);
  return { latest, messages: newest.filter((entry) => entry.shown).map((entry) => entry.json) };
}
