import type { Homeserver } from '../homeserver/homeserver.ts';
import { isObject, type JsonObject } from '../matrix/json.ts';
import { stripUnsigned } from '../matrix/pdu.ts';
import type { RoomLog, Store } from '../store/store.ts';

/** The event that a redaction names: top level up to room version 10, in `content` from 11 on. */
export function redactedEventId(redaction: JsonObject): string | null {
  const content = isObject(redaction.content) ? redaction.content : {};
  const target = typeof redaction.redacts === 'string' ? redaction.redacts : content.redacts;
  return typeof target === 'string' ? target : null;
}

/** Whether a redaction counts is the homeserver's word: it gives the event pruned, or as it was. */
export async function redactInLog(
  store: Store,
  homeserver: Homeserver,
  log: RoomLog,
  redaction: JsonObject,
): Promise<void> {
  const target = redactedEventId(redaction);
  if (target === null || (await store.logs.positions(log.roomId, [target])).size === 0) return;
  const event = await homeserver.event(target);
  if (event !== null) await store.logs.amend(log.roomId, target, JSON.stringify(stripUnsigned(event)));
}
