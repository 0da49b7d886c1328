import { isObject } from '../json.ts';
import { authEventIds, type Pdu, stateKeyOf } from '../pdu.ts';
import type { RoomVersionRules } from '../room-versions.ts';
import { ALLOWED, denied, type Verdict } from './verdict.ts';

/** Type and state key. */
export type StateName = readonly [type: string, stateKey: string];

export interface AuthEvent {
  readonly event: Pdu;
  /** Whether it was itself refused when it was received (server-server API, "Rejection"). */
  readonly rejected: boolean;
}

/**
 * Which state may authorise the event (server-server API, "Auth events selection"), each once; what of it the
 * room has is what its `auth_events` must be.
 */
export function authTypesFor(event: Pdu, rules: RoomVersionRules): StateName[] {
  if (event.type === 'm.room.create') return [];
  const names: StateName[] = rules.auth.createImplied ? [] : [['m.room.create', '']];
  names.push(['m.room.power_levels', ''], ['m.room.member', event.sender]);
  if (event.type !== 'm.room.member') return names;
  const target = stateKeyOf(event);
  if (target !== null && target !== event.sender) names.push(['m.room.member', target]);
  const { membership } = event.content;
  if (membership === 'join' || membership === 'invite' || membership === 'knock') {
    names.push(['m.room.join_rules', '']);
  }
  if (membership === 'invite') {
    const token = thirdPartyToken(event);
    if (token !== undefined) names.push(['m.room.third_party_invite', token]);
  }
  const authoriser = event.content.join_authorised_via_users_server;
  if (membership === 'join' && rules.auth.restricted && typeof authoriser === 'string') {
    if (authoriser !== event.sender && authoriser !== target) names.push(['m.room.member', authoriser]);
  }
  return names;
}

/**
 * The rules on `auth_events` themselves (rule 2; 3 in version 12): each is known, state that the selection
 * has, of the same room, not rejected, none twice, the create event among them where the version wants it.
 * `find` gives what an event ID names; null for what the caller does not have.
 */
export function checkAuthEventsSelection(
  event: Pdu,
  find: (eventId: string) => AuthEvent | null,
  rules: RoomVersionRules,
): Verdict {
  if (event.type === 'm.room.create') return ALLOWED;
  const wanted = authTypesFor(event, rules);
  const seen = new Set<StateName>();
  for (const eventId of authEventIds(event, rules)) {
    const found = find(eventId);
    if (found === null) return denied('an auth event is not known');
    const name = wanted.find(([type, key]) => type === found.event.type && key === stateKeyOf(found.event));
    if (name === undefined) return denied('an auth event is none that authorises this event');
    if (seen.has(name)) return denied('two auth events have the same type and state key');
    seen.add(name);
    if (found.rejected) return denied('an auth event was rejected');
    if (found.event.room_id !== event.room_id) return denied('an auth event is of another room');
  }
  const hasCreate = [...seen].some(([type]) => type === 'm.room.create');
  return hasCreate || rules.auth.createImplied
    ? ALLOWED
    : denied('the create event is not among the auth events');
}

function thirdPartyToken({ content }: Pdu): string | undefined {
  const signed = isObject(content.third_party_invite) ? content.third_party_invite.signed : undefined;
  return isObject(signed) && typeof signed.token === 'string' ? signed.token : undefined;
}
