import type { Caller, Identity } from '../homeserver/homeserver.ts';
import type { Json } from '../matrix/json.ts';
import type { RoomLog } from '../store/store.ts';

/** A read of a remotely peeked room, by somebody who peeks into it (client-server API, "Rooms" and "Events"). */
export interface RoomRead {
  readonly roomId: string;
  /** What follows `/rooms/{roomId}/` in the path, each part percent-decoded once: `['state', 'm.room.name', '']`. */
  readonly path: readonly string[];
  readonly query: URLSearchParams;
  readonly who: Identity & { readonly caller: Caller };
  readonly log: RoomLog;
}

/** Answers a read with the body of its 200. Rejects with `MatrixError`, as the specification has it for the endpoint. */
export type AnswerRead = (read: RoomRead) => Promise<Json>;
