import { type Homeserver, NotReadable } from '../homeserver/homeserver.ts';
import { isObject, type JsonObject } from '../matrix/json.ts';

import { MatrixError } from '../platform/matrix-error.ts';
import { whyNotPeekable } from '../rooms/readable.ts';
import { aclOf } from './acl.ts';

/**
 * Whether a server may peek a room of ours, or read in it as a peeker, at this moment.
 *
 * Read from the homeserver each time: what was allowed at subscription may not be allowed now, and the
 * homeserver checks its access control list only against itself when we ask in its name.
 */
export class RoomGate {
  readonly #homeserver: Homeserver;

  constructor(homeserver: Homeserver) {
    this.#homeserver = homeserver;
  }

  /**
   * Returns the room version. Rejects with `MatrixError` 403 when the room is not world-readable, is encrypted
   * or shuts the server out, and with `HomeserverDown`.
   */
  async pass(server: string, roomId: string): Promise<string> {
    const [visibility, encryption, acl, create] = await this.#state(roomId);
    const reason = whyNotPeekable({ visibility, encryption });
    if (reason !== null) throw new MatrixError(403, 'M_FORBIDDEN', reason);
    if (!aclOf(acl)(server)) {
      throw new MatrixError(403, 'M_FORBIDDEN', 'The access control list of this room denies your server');
    }
    const version = isObject(create?.content) ? create.content.room_version : undefined;
    return typeof version === 'string' ? version : '1';
  }

  async #state(roomId: string) {
    const read = (type: string): Promise<JsonObject | null> => this.#homeserver.stateEvent(roomId, type, '');
    try {
      return await Promise.all([
        read('m.room.history_visibility'),
        read('m.room.encryption'),
        read('m.room.server_acl'),
        read('m.room.create'),
      ]);
    } catch (error) {
      if (!(error instanceof NotReadable)) throw error;
      throw notReadable();
    }
  }
}

/** The same question of a state that was read as a whole. Throws `MatrixError` 403. */
export function assertOpen(state: {
  readonly visibility: JsonObject | null;
  readonly encryption: JsonObject | null;
}): void {
  const reason = whyNotPeekable(state);
  if (reason !== null) throw new MatrixError(403, 'M_FORBIDDEN', reason);
}

/** The homeserver refuses its reader: the room is not open to who is not in it. */
export function notReadable(): MatrixError {
  return new MatrixError(403, 'M_FORBIDDEN', 'The history of this room is not world-readable');
}
