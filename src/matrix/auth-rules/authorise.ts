import { serverNameOf } from '../ids.ts';
import { type Pdu, roomIdOf, stateKeyOf } from '../pdu.ts';
import type { RoomVersionRules } from '../room-versions.ts';
import { authoriseAliases } from './aliases-rules.ts';
import { type AuthContext, type AuthState, levelOf, membershipOf } from './auth-state.ts';
import { authoriseCreate } from './create-rules.ts';
import { authoriseMember } from './member-rules.ts';
import { authorisePowerLevels } from './power-level-rules.ts';
import { actionLevel, requiredLevel } from './power-levels.ts';
import { authoriseRedaction } from './redaction-rules.ts';
import { ALLOWED, allowedIf, denied, type Verdict } from './verdict.ts';

/**
 * The authorization rules of a room version ("Authorization rules" of its page in the specification): whether
 * the state lets the sender send this event. The event and the state have the shape of `checkPdu`; hashes,
 * signatures and the choice of `auth_events` (`checkAuthEventsSelection`) are checked elsewhere. Never throws.
 */
export function authorise(event: Pdu, eventId: string, state: AuthState, rules: RoomVersionRules): Verdict {
  if (event.type === 'm.room.create') return authoriseCreate(event, rules);
  const create = state('m.room.create', '');
  if (create === null) return denied('there is no create event');
  if (rules.hashRoomIds && !isNamedAfter(create, event, rules)) {
    return denied('the room ID is not that of the create event');
  }
  if (create.content['m.federate'] === false && serverNameOf(event.sender) !== serverNameOf(create.sender)) {
    return denied('the room is for users of its own server');
  }
  if (event.type === 'm.room.aliases' && rules.auth.aliasesByServer) return authoriseAliases(event);
  const context = { event, eventId, state, create, levels: state('m.room.power_levels', ''), rules };
  return event.type === 'm.room.member' ? authoriseMember(context) : authoriseSending(context);
}

/** The rules for what only members of the room may send. */
function authoriseSending(context: AuthContext): Verdict {
  const { event, levels, rules } = context;
  if (membershipOf(event.sender, context) !== 'join') return denied('the sender is not in the room');
  const level = levelOf(event.sender, context);
  if (event.type === 'm.room.third_party_invite') {
    return allowedIf(level >= actionLevel('invite', levels), 'the sender may not invite');
  }
  const stateKey = stateKeyOf(event);
  if (!(level >= requiredLevel(event.type, stateKey !== null, levels))) {
    return denied("the sender's power level is too low for this type");
  }
  if (stateKey?.startsWith('@') && stateKey !== event.sender)
    return denied('the state is that of another user');
  if (event.type === 'm.room.power_levels') return authorisePowerLevels(context);
  if (event.type === 'm.room.redaction' && rules.auth.redactionByLevel) return authoriseRedaction(context);
  return ALLOWED;
}

/** Create event → the room ID that is its hash, which every event of a room is compared with; null where it has none. */
const roomIds = new WeakMap<Pdu, string | null>();

/** Room version 12, rule 2. */
function isNamedAfter(create: Pdu, event: Pdu, rules: RoomVersionRules): boolean {
  let roomId = roomIds.get(create);
  if (roomId === undefined) {
    roomId = hashedRoomId(create, rules);
    roomIds.set(create, roomId);
  }
  return roomId !== null && event.room_id === roomId;
}

function hashedRoomId(create: Pdu, rules: RoomVersionRules): string | null {
  try {
    return roomIdOf(create, rules);
  } catch {
    return null;
  }
}
