import type { Homeserver } from '../homeserver/homeserver.ts';
import { roomVersion } from '../matrix/room-versions.ts';
import { MatrixError } from '../platform/matrix-error.ts';
import { RoomGate } from './room-gate.ts';

/** MSC2444 says 8 characters; the servers that peek today send longer ones. */
const PEEK_ID = /^[0-9A-Za-z.=_!:$-]{1,255}$/;
const RETRY_PARTIAL_MS = 60_000;

/** Throws `MatrixError` 400 for what is no peek ID. */
export function checkPeekId(peekId: string): void {
  if (!PEEK_ID.test(peekId)) throw new MatrixError(400, 'M_UNRECOGNIZED', 'This is not a peek ID');
}

/** Whether a server may begin to peek a room of ours. */
export class Admission {
  readonly #homeserver: Homeserver;
  readonly #gate: RoomGate;

  constructor(homeserver: Homeserver) {
    this.#homeserver = homeserver;
    this.#gate = new RoomGate(homeserver);
  }

  /**
   * `versions`: the room versions that the server knows. Rejects with `MatrixError`: 404 for a room that our
   * homeserver is not in, 503 while it holds it in part only, 403 where the room or its access control list
   * does not allow it, 400 for a room version that one side does not know; and with `HomeserverDown`.
   */
  async check(server: string, roomId: string, versions: readonly string[]): Promise<void> {
    const homeserver = this.#homeserver;
    if (server === homeserver.serverName) {
      throw new MatrixError(403, 'M_FORBIDDEN', 'A server does not peek into its own rooms');
    }
    if (!homeserver.readerReady()) {
      throw new MatrixError(404, 'M_UNRECOGNIZED', 'Rooms of this server cannot be peeked');
    }
    const membership = await homeserver.membership(roomId);
    if (membership === 'absent') throw new MatrixError(404, 'M_NOT_FOUND', 'This server is not in that room');
    if (membership === 'partial') {
      throw new MatrixError(503, 'M_UNKNOWN', 'This server does not hold the whole room yet', {
        retry_after_ms: RETRY_PARTIAL_MS,
      });
    }
    const version = await this.#gate.pass(server, roomId);
    if (!versions.includes(version) || roomVersion(version) === undefined) {
      const message = `The room is of version ${version}`;
      throw new MatrixError(400, 'M_INCOMPATIBLE_ROOM_VERSION', message, { room_version: version });
    }
  }
}
