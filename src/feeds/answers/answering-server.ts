import { serverNameOf } from '../../matrix/ids.ts';
import { isObject, type JsonObject } from '../../matrix/json.ts';
import { compileServerAcl } from '../../matrix/server-acl.ts';
import type { VerifiedEvent } from '../../rooms/verify-event.ts';

/**
 * Why a server has no say in a room whose state, as that server gives it, is this; null when it has. Only servers
 * with a member are sent the room's events, and whom the room's ACL denies is sent none by honest servers: what such
 * a server has is old, however genuine. An ACL without its content denies everybody.
 */
export function whyNoSay(server: string, state: readonly VerifiedEvent[]): string | null {
  const acl = state.find(({ pdu }) => pdu.type === 'm.room.server_acl' && pdu.state_key === '');
  if (acl !== undefined && !compileServerAcl(acl.pdu.content)(server)) {
    return 'the access control list of the room denies the server that answers';
  }
  const isIn = state.some(({ pdu }) => isJoinOf(server, pdu));
  return isIn ? null : 'the server that answers has no member in the room';
}

function isJoinOf(server: string, { type, state_key: user, content }: JsonObject): boolean {
  if (type !== 'm.room.member' || typeof user !== 'string' || serverNameOf(user) !== server) return false;
  return isObject(content) && content.membership === 'join';
}
