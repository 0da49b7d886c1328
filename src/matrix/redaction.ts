import { isObject, type JsonObject } from './json.ts';
import type { RedactionRules, RoomVersionRules } from './room-versions.ts';

const ALWAYS_KEPT = [
  'event_id',
  'type',
  'room_id',
  'sender',
  'state_key',
  'content',
  'hashes',
  'signatures',
  'depth',
  'prev_events',
  'auth_events',
  'origin_server_ts',
] as const;
const KEPT_UNTIL_VERSION_10 = ['prev_state', 'origin', 'membership'] as const;

const POWER_LEVELS = [
  'ban',
  'events',
  'events_default',
  'kick',
  'redact',
  'state_default',
  'users',
  'users_default',
] as const;

/**
 * The event as it is after its redaction: only what the room version protects, which is all that makes a PDU.
 * The input stays as it is.
 */
export function redact<Event extends JsonObject>(event: Event, rules: RoomVersionRules): Event {
  const { redaction } = rules;
  const redacted = pick(event, ALWAYS_KEPT);
  if (!redaction.revised) Object.assign(redacted, pick(event, KEPT_UNTIL_VERSION_10));
  redacted.content = isObject(event.content) ? redactContent(event.type, event.content, redaction) : {};
  return redacted as Event;
}

function redactContent(type: unknown, content: JsonObject, rules: RedactionRules): JsonObject {
  switch (type) {
    case 'm.room.member':
      return redactMember(content, rules);
    case 'm.room.create':
      return rules.revised ? content : pick(content, ['creator']);
    case 'm.room.join_rules':
      return pick(content, rules.keepsAllow ? ['join_rule', 'allow'] : ['join_rule']);
    case 'm.room.power_levels':
      return pick(content, rules.revised ? [...POWER_LEVELS, 'invite'] : POWER_LEVELS);
    case 'm.room.history_visibility':
      return pick(content, ['history_visibility']);
    case 'm.room.aliases':
      return rules.keepsAliases ? pick(content, ['aliases']) : {};
    case 'm.room.redaction':
      return rules.revised ? pick(content, ['redacts']) : {};
    default:
      return {};
  }
}

function redactMember(content: JsonObject, rules: RedactionRules): JsonObject {
  const kept = pick(content, ['membership']);
  if (rules.keepsAuthorisingUser) Object.assign(kept, pick(content, ['join_authorised_via_users_server']));
  // Without `signed` an empty object stays: so homeservers hash it.
  if (rules.revised && isObject(content.third_party_invite)) {
    kept.third_party_invite = pick(content.third_party_invite, ['signed']);
  }
  return kept;
}

function pick(object: JsonObject, names: readonly string[]): JsonObject {
  const picked: JsonObject = {};
  for (const name of names) {
    const value = object[name];
    if (value !== undefined && Object.hasOwn(object, name)) picked[name] = value;
  }
  return picked;
}
