import { serverNameOf } from '../matrix/ids.ts';
import { isObject, type JsonObject, ownMember } from '../matrix/json.ts';
import type { Pdu } from '../matrix/pdu.ts';
import { redact } from '../matrix/redaction.ts';
import type { RoomVersionRules } from '../matrix/room-versions.ts';
import { pduOf } from '../rooms/log-entries.ts';
import type { RoomLog, Store } from '../store/store.ts';

/** The power level that a room without power levels, or without `redact` in them, asks for (spec, `m.room.power_levels`). */
const DEFAULT_REDACT_LEVEL = 50;

/**
 * Prunes the event that a redaction names, wherever it is held of a remote room, if the redaction's sender may:
 * somebody of the target's own server, or a user with the power to redact.
 */
export async function redactInReplica(
  store: Store,
  log: RoomLog,
  redaction: JsonObject,
  rules: RoomVersionRules,
): Promise<void> {
  const { roomId } = log;
  const content = isObject(redaction.content) ? redaction.content : {};
  const target = rules.redactsPlace === 'content' ? content.redacts : redaction.redacts;
  if (typeof target !== 'string') return;
  const stored = await store.replicas.event(roomId, target);
  if (stored === null) return;
  const pdu = pduOf(stored) as Pdu;
  const sender = String(redaction.sender);
  const sameServer = serverNameOf(sender) === serverNameOf(pdu.sender);
  if (!sameServer && !(await mayRedact(store, roomId, sender, rules))) return;
  const pruned = { ...stored, json: JSON.stringify(redact(pdu, rules)) };
  await store.logs.amend(roomId, target, pruned.json);
  if (stored.stateKey === null) return;
  const [current] = await store.replicas.stateOf(roomId, [[stored.type, stored.stateKey]]);
  await store.replicas.add(roomId, current?.eventId === target ? [pruned] : [], [pruned]);
}

async function mayRedact(
  store: Store,
  roomId: string,
  sender: string,
  rules: RoomVersionRules,
): Promise<boolean> {
  const state = await store.replicas.stateOf(roomId, [
    ['m.room.power_levels', ''],
    ['m.room.create', ''],
  ]);
  const contentOf = (type: string) => {
    const event = state.find((stored) => stored.type === type);
    const content = event === undefined ? undefined : pduOf(event).content;
    return isObject(content) ? content : {};
  };
  if (rules.auth.creatorsOutrank) {
    const create = state.find(({ type }) => type === 'm.room.create');
    const others = contentOf('m.room.create').additional_creators;
    const creators = [create && pduOf(create).sender, ...(Array.isArray(others) ? others : [])];
    if (creators.includes(sender)) return true;
  }
  const levels = contentOf('m.room.power_levels');
  const needed = typeof levels.redact === 'number' ? levels.redact : DEFAULT_REDACT_LEVEL;
  const own = ownMember(isObject(levels.users) ? levels.users : {}, sender) ?? levels.users_default ?? 0;
  return typeof own === 'number' && own >= needed;
}
