import { isMark, pduOf } from '../rooms/log-entries.ts';
import type { RoomLog, Store } from '../store/store.ts';

/** More than the marks that a log can have. */
const LOOKED_AT = 5;

/** The depth of the oldest event of a log: what is not deeper lies before it. Null where the log holds no event. */
export async function logBegin(store: Store, log: RoomLog): Promise<number | null> {
  const oldest = await store.logs.read(log.roomId, log.tail - 1, LOOKED_AT);
  const event = oldest.find((entry) => !isMark(entry));
  return event === undefined ? null : Number(pduOf(event).depth);
}
