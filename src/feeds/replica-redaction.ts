import { serverNameOf } from '../matrix/ids.ts';
import { isObject, type JsonObject } from '../matrix/json.ts';
import { redact } from '../matrix/redaction.ts';
import type { RoomVersionRules } from '../matrix/room-versions.ts';
import { pduOf } from '../rooms/log-entries.ts';
import type { RoomLog, Store, StoredEvent } from '../store/store.ts';
import { redactedEventId } from './redact-in-log.ts';

/** The power level that a room without power levels, or without `redact` in them, asks for (spec, `m.room.power_levels`). */
const DEFAULT_REDACT_LEVEL = 50;

/**
 * The event that a redaction prunes in a remote room, if its sender may: somebody of the target's own server,
 * or a user with the power to redact. Null when there is nothing to do.
 */
export async function redactedInReplica(
  store: Store,
  log: RoomLog,
  redaction: JsonObject,
  rules: RoomVersionRules,
): Promise<{ event: StoredEvent; isCurrentState: boolean } | null> {
  const target = redactedEventId(redaction);
  if (target === null) return null;
  const stored = await store.replicas.event(log.roomId, target);
  if (stored === null) return null;
  const pdu = pduOf(stored);
  const sender = String(redaction.sender);
  const sameServer = serverNameOf(sender) === serverNameOf(String(pdu.sender));
  if (!sameServer && !(await mayRedact(store, log.roomId, sender))) return null;
  const event = { ...stored, json: JSON.stringify(redact(pdu, rules)) };
  const [current] =
    stored.stateKey === null
      ? []
      : await store.replicas.stateOf(log.roomId, [[stored.type, stored.stateKey]]);
  return { event, isCurrentState: current?.eventId === target };
}

async function mayRedact(store: Store, roomId: string, sender: string): Promise<boolean> {
  const levels = (await store.replicas.stateOf(roomId, [['m.room.power_levels', '']]))[0];
  const content = levels === undefined ? null : pduOf(levels).content;
  if (!isObject(content)) return false;
  const needed = typeof content.redact === 'number' ? content.redact : DEFAULT_REDACT_LEVEL;
  const users = new Map(Object.entries(isObject(content.users) ? content.users : {}));
  const own = users.get(sender) ?? content.users_default ?? 0;
  return typeof own === 'number' && own >= needed;
}
