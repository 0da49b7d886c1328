import type { Pdu } from '../pdu.ts';
import type { RoomVersionRules } from '../room-versions.ts';

/** Who made the room: `content.creator` (1–10), the create event's sender (11 on); undefined where it is no string. */
export function creatorOf(create: Pdu, rules: RoomVersionRules): string | undefined {
  const creator = rules.auth.senderIsCreator ? create.sender : create.content.creator;
  return typeof creator === 'string' ? creator : undefined;
}

const NOBODY: ReadonlySet<string> = new Set();

/** Create event → its creators: there may be thousands, and they are asked for with every event. */
const outranking = new WeakMap<Pdu, ReadonlySet<string>>();

/**
 * Who outranks every power level: the create event's sender and its `additional_creators`. Nobody before
 * version 12 (room version 12, "Event format").
 */
export function outrankingCreators(create: Pdu, rules: RoomVersionRules): ReadonlySet<string> {
  if (!rules.auth.creatorsOutrank) return NOBODY;
  const known = outranking.get(create);
  if (known !== undefined) return known;
  const additional = create.content.additional_creators;
  const others = Array.isArray(additional) ? additional.filter((user) => typeof user === 'string') : [];
  const creators = new Set([create.sender, ...others]);
  outranking.set(create, creators);
  return creators;
}
