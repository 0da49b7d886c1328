import { serverNameOf } from '../../matrix/ids.ts';
import { isObject, type JsonObject, ownMember } from '../../matrix/json.ts';
import type { Pdu } from '../../matrix/pdu.ts';
import { redact } from '../../matrix/redaction.ts';
import type { RoomVersionRules } from '../../matrix/room-versions.ts';
import { pduOf } from '../../rooms/log-entries.ts';
import type { StoredEvent } from '../../store/store.ts';

/** The power level that a room without power levels, or without `redact` in them, asks for (spec, `m.room.power_levels`). */
const DEFAULT_REDACT_LEVEL = 50;

/** A remote room as it is where a redaction takes effect. */
export interface HeldRoom {
  event(eventId: string): Promise<StoredEvent | null>;
  /** The current state event of a type, with an empty state key. */
  state(type: string): Promise<StoredEvent | null>;
}

/**
 * The event that a redaction names, pruned; null if it is not held, or if the redaction's sender may not: that is
 * for somebody of the target's own server, or a user with the power to redact.
 */
export async function pruned(
  room: HeldRoom,
  redaction: JsonObject,
  rules: RoomVersionRules,
): Promise<{ eventId: string; json: string } | null> {
  const content = isObject(redaction.content) ? redaction.content : {};
  const target = rules.redactsPlace === 'content' ? content.redacts : redaction.redacts;
  if (typeof target !== 'string') return null;
  const stored = await room.event(target);
  if (stored === null) return null;
  const pdu = pduOf(stored) as Pdu;
  const sender = String(redaction.sender);
  const sameServer = serverNameOf(sender) === serverNameOf(pdu.sender);
  if (!sameServer && !(await mayRedact(room, sender, rules))) return null;
  return { eventId: target, json: JSON.stringify(redact(pdu, rules)) };
}

async function mayRedact(room: HeldRoom, sender: string, rules: RoomVersionRules): Promise<boolean> {
  if (rules.auth.creatorsOutrank) {
    const create = await room.state('m.room.create');
    const others = contentOf(create).additional_creators;
    const creators = [create && pduOf(create).sender, ...(Array.isArray(others) ? others : [])];
    if (creators.includes(sender)) return true;
  }
  const levels = contentOf(await room.state('m.room.power_levels'));
  const needed = typeof levels.redact === 'number' ? levels.redact : DEFAULT_REDACT_LEVEL;
  const own = ownMember(isObject(levels.users) ? levels.users : {}, sender) ?? levels.users_default ?? 0;
  return typeof own === 'number' && own >= needed;
}

function contentOf(event: StoredEvent | null): JsonObject {
  const content = event === null ? undefined : pduOf(event).content;
  return isObject(content) ? content : {};
}
