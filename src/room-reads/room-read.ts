import type { Caller, Identity } from '../homeserver/homeserver.ts';
import type { Json } from '../matrix/json.ts';
import type { RoomLog } from '../store/store.ts';
import type { StreamedJson } from './streamed-json.ts';

/** A read of a remotely peeked room, by somebody who peeks into it (client-server API, "Rooms" and "Events"). */
export interface RoomRead {
  readonly roomId: string;
  /** What follows `/rooms/{roomId}/` in the path, each part percent-decoded once: `['state', 'm.room.name', '']`. */
  readonly path: readonly string[];
  readonly query: URLSearchParams;
  readonly who: Identity & { readonly caller: Caller };
  /** Open, and its feed remote, when the read began. */
  readonly log: RoomLog;
  /**
   * The position of the log that a token names: a history token of ours, or a token of this device's `/sync`. Null
   * for one that says nothing of this room.
   */
  readonly positionOf: (token: string) => number | null;
  /** Aborts when the client has gone. */
  readonly signal: AbortSignal;
}

/**
 * Answers a read with the body of its 200; a large one is written in slices by who sends it. Rejects with
 * `MatrixError`, as the specification has it for the endpoint; with anything else the homeserver's own answer goes
 * out, as it does when the first pieces of a streamed body fail.
 */
export type AnswerRead = (read: RoomRead) => Promise<Json | StreamedJson>;
