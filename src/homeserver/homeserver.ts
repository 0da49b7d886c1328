import type { JsonObject } from '../matrix/json.ts';
import type { Pdu } from '../matrix/pdu.ts';
import type { PduList } from './pdu-list.ts';

/**
 * Our own homeserver behind one interface: who is calling, follow a room, state, history.
 *
 * Reads are of two kinds. *As the reader*: a local user who is in no room, so the homeserver itself applies
 * history visibility (the oracle for "may a non-member see this"). *Self-signed*: federation requests signed
 * with the homeserver's own key and addressed to itself, which see everything it has: what comes back must be
 * filtered here before anybody is shown it.
 */
export interface Homeserver {
  readonly serverName: string;
  /** How many events a timeline of its `/sync` has at most, whatever a filter says. */
  readonly mostTimelineEvents: number;
  /** False when neither a registration nor a reader token is configured, or the reader could not be set up. */
  readerReady(): boolean;

  /** Who is calling, by the homeserver's own word. Rejects with `HomeserverRefusal` (its own 401, say). */
  whoami(caller: Caller): Promise<Identity>;
  /** What `whoami` said of this caller a short while ago; null when that is not known (any more). */
  remembered(caller: Caller): Identity | null;
  /** After a 401 or a logout: what is remembered of this caller (null: of anybody) no longer holds. */
  forget(caller: Caller | null): void;
  /** The rooms that the caller has joined. Rejects with `HomeserverRefusal` and `HomeserverDown`. */
  joinedRooms(caller: Caller): Promise<string[]>;
  /** The user's stored filter. Rejects with `HomeserverRefusal`. */
  filter(caller: Caller, userId: string, filterId: string): Promise<JsonObject>;
  /** The user's account data of a type; null where there is none. Rejects with `HomeserverRefusal` and `HomeserverDown`. */
  accountData(caller: Caller, userId: string, type: string): Promise<JsonObject | null>;
  /**
   * A GET of the client-server API with the caller's own credentials, in place of those of `target`: the answer as it
   * came, of whatever status. Rejects with `HomeserverDown`.
   */
  readAs(
    caller: Caller,
    target: string,
    limits: { readonly timeoutMs: number; readonly maxBytes: number },
  ): Promise<{ status: number; body: Buffer }>;
  /**
   * The homeserver's own token for a place beside an event, for `/messages` by the caller; null where it has none.
   * Rejects with `HomeserverDown`.
   */
  tokenBeside(caller: Caller, roomId: string, beside: BesideEvent): Promise<string | null>;
  /** Resolves an alias, remote ones too; null when there is no such alias. */
  resolveAlias(alias: string): Promise<{ roomId: string; servers: string[] } | null>;

  /**
   * What a request to the client-server API needs to be made as the reader: whatever in its target says who is
   * calling is replaced. Null while there is no reader. For reads that are streamed; their answers are the homeserver's.
   */
  asReader(target: string): { readonly target: string; readonly authorization: string } | null;

  // As the reader. All reject with `NotReadable` when the room is not (or no longer) open to non-members.
  /** One long-poll of the room's stream. Without `from`: the present token and no events. */
  follow(
    roomId: string,
    from: string | null,
    wait: { timeoutMs: number; signal: AbortSignal },
  ): Promise<Followed>;
  /** The newest `limit` events before `from` (or now), newest first. */
  history(
    roomId: string,
    from: string | null,
    limit: number,
  ): Promise<{ events: ReadEvent[]; end: string | null }>;
  /** What stands around an event, its own place in the homeserver's stream included. */
  context(roomId: string, eventId: string, limit: number): Promise<Context>;
  /** The resolved current state in client format (`event_id`, no signatures). */
  currentState(roomId: string): Promise<JsonObject[]>;
  /** One current state event in client format; null if there is none. */
  stateEvent(roomId: string, type: string, stateKey: string): Promise<JsonObject | null>;
  /** An event in client format, if it was world-readable when it was sent; else null. */
  visibleEvent(roomId: string, eventId: string): Promise<JsonObject | null>;

  // Self-signed.
  /** Whether the homeserver is in the room (and holds it whole). */
  membership(roomId: string): Promise<'resident' | 'partial' | 'absent'>;
  event(eventId: string): Promise<Pdu | null>;
  /** Forward extremities (at most ten) and the room version. */
  extremities(roomId: string): Promise<{ roomVersion: string; eventIds: string[] }>;
  /** State *before* an event, with its auth chain. */
  stateBefore(roomId: string, eventId: string): Promise<{ state: Pdu[]; authChain: Pdu[] }>;
  /** The room as a peeking server needs it: resolved current state, its auth chain, an extremity. */
  snapshot(roomId: string): Promise<RoomSnapshot>;
  /** A self-signed federation GET or POST of any kind, for reads that are relayed; the answer as it came. */
  selfRequest(
    method: 'GET' | 'POST',
    path: string,
    body?: JsonObject,
  ): Promise<{ status: number; body: Buffer }>;

  /** What the homeserver publishes of its own keys, old ones included. Rejects with `HomeserverDown`. */
  ownKeys(): Promise<JsonObject>;
  /** Signing keys of a server, through the homeserver's notary: the key objects as they came, unverified. */
  notaryKeys(server: string, keyId: string, minimumValidUntil: number): Promise<JsonObject[]>;
}

/** A place beside an event: just after it (`before` it stands the event), or just before it. */
export interface BesideEvent {
  readonly eventId: string;
  readonly depth: number;
  readonly side: 'before' | 'after';
}

/** The credentials of a client request, as it carried them. */
export interface Caller {
  /** `Authorization` as sent, or null. */
  readonly authorization: string | null;
  /** The raw query (with `access_token`, `user_id`, `device_id` if any), without `?`. */
  readonly query: string;
  readonly userAgent: string | null;
  readonly forwardedFor: string | null;
}

export interface Identity {
  readonly userId: string;
  /** `''` where the homeserver names none. */
  readonly deviceId: string;
  readonly isGuest: boolean;
}

/** An event as the homeserver shows it to the reader, turned back into a PDU. */
export interface ReadEvent {
  readonly eventId: string;
  /** Without `unsigned` and without what the homeserver adds to PDUs for clients. */
  readonly pdu: Pdu;
  /** `unsigned.replaces_state`: the state event it took the place of. */
  readonly replaces: string | null;
}

export interface Followed {
  readonly events: ReadEvent[];
  readonly end: string;
}

export interface Context {
  /** Newest first. */
  readonly before: ReadEvent[];
  readonly event: ReadEvent;
  /** Oldest first. */
  readonly after: ReadEvent[];
  /** Homeserver tokens for `/messages`. */
  readonly start: string;
  readonly end: string;
}

export interface RoomSnapshot {
  readonly roomVersion: string;
  /** Both without `unsigned`; in the bytes that the homeserver gave where it could be done. */
  readonly state: PduList;
  readonly authChain: PduList;
  readonly latest: Pdu;
  readonly latestId: string;
  /** Of the state, what decides whether the room may be peeked. */
  readonly visibility: Pdu | null;
  readonly encryption: Pdu | null;
}

/** The homeserver answered, and the answer is final: it goes to the client as it came. */
export class HomeserverRefusal extends Error {
  override readonly name = 'HomeserverRefusal';
  readonly status: number;
  readonly body: Buffer;
  constructor(status: number, body: Buffer) {
    super(`the homeserver answered ${status}`);
    this.status = status;
    this.body = body;
  }
}

/** The homeserver could not be reached, or answered 5xx. */
export class HomeserverDown extends Error {
  override readonly name = 'HomeserverDown';
}

/** 403 to the reader: the room is not world-readable, or the homeserver is not in it. */
export class NotReadable extends Error {
  override readonly name = 'NotReadable';
}
