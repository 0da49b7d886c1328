import type { Pdu } from '../pdu.ts';
import type { RoomVersionRules } from '../room-versions.ts';

/** Who made the room: `content.creator` (1–10), the create event's sender (11 on); undefined where it is no string. */
export function creatorOf(create: Pdu, rules: RoomVersionRules): string | undefined {
  const creator = rules.auth.senderIsCreator ? create.sender : create.content.creator;
  return typeof creator === 'string' ? creator : undefined;
}

/**
 * Who outranks every power level: the create event's sender and its `additional_creators`. Nobody before
 * version 12 (room version 12, "Event format").
 */
export function outrankingCreators(create: Pdu, rules: RoomVersionRules): ReadonlySet<string> {
  if (!rules.auth.creatorsOutrank) return new Set();
  const additional = create.content.additional_creators;
  const others = Array.isArray(additional) ? additional.filter((user) => typeof user === 'string') : [];
  return new Set([create.sender, ...others]);
}
