import { isUserId, serverNameOf } from '../ids.ts';
import { type Json, ownMember } from '../json.ts';
import type { Pdu } from '../pdu.ts';
import { type RoomVersionRules, roomVersion } from '../room-versions.ts';
import { ALLOWED, denied, type Verdict } from './verdict.ts';

/** Rule 1 of every room version: `m.room.create`, which needs no other event to be authorised. */
export function authoriseCreate(event: Pdu, rules: RoomVersionRules): Verdict {
  if (!Array.isArray(event.prev_events) || event.prev_events.length > 0) {
    return denied('a create event has no prev_events');
  }
  if (rules.hashRoomIds) {
    if (event.room_id !== undefined) return denied('a create event of this room version has no room_id');
  } else if (!isOfSendersServer(event)) {
    return denied("the room ID is not of the sender's server");
  }
  const version = event.content.room_version;
  if (version !== undefined && (typeof version !== 'string' || roomVersion(version) === undefined)) {
    return denied('the room version is not known');
  }
  if (!rules.auth.senderIsCreator && ownMember(event.content, 'creator') === undefined) {
    return denied('a create event of this room version names its creator');
  }
  const additional = event.content.additional_creators;
  if (rules.auth.creatorsOutrank && additional !== undefined && !areUserIds(additional)) {
    return denied('additional_creators is no array of user IDs');
  }
  return ALLOWED;
}

function isOfSendersServer({ room_id: roomId, sender }: Pdu): boolean {
  const server = serverNameOf(sender);
  return typeof roomId === 'string' && server !== null && serverNameOf(roomId) === server;
}

function areUserIds(value: Json): boolean {
  return Array.isArray(value) && value.every((user) => typeof user === 'string' && isUserId(user));
}
