import { isObject, type JsonObject } from '../matrix/json.ts';
import { compileServerAcl } from '../matrix/server-acl.ts';

/** Whether a server is allowed in the room. */
export type Acl = (server: string) => boolean;

/** The list in an `m.room.server_acl` event; null: the room has none. */
export function aclOf(event: JsonObject | null): Acl {
  return compileServerAcl(isObject(event?.content) ? event.content : null);
}
