import type { InboundPeekStore } from './inbound-peek-store.ts';

export type { Cursor, InboundPeek, InboundPeekStore } from './inbound-peek-store.ts';

/**
 * What the proxy remembers, spoken of as rooms, logs, cursors and peeks, never as keys or tables.
 *
 * Two implementations (`sqlite/`, `redis/`) pass one conformance suite. Every method is atomic on its own:
 * it happened whole or not at all, and when its promise resolves it survives a SIGKILL of this process.
 * A method that cannot reach the store rejects with `StoreDownError`.
 */
export interface Store {
  readonly kind: 'sqlite' | 'redis';
  readonly logs: RoomLogStore;
  readonly replicas: ReplicaStore;
  readonly devicePeeks: DevicePeekStore;
  readonly inboundPeeks: InboundPeekStore;
  readonly outboundPeeks: OutboundPeekStore;
  readonly leases: LeaseStore;
  /** What has changed, from this process and (Redis) from the others. Returns the way to stop listening. */
  subscribe(listener: (notice: Notice) => void): () => void;
  /** A real round trip, which says that the store can be read. Rejects with `StoreDownError`. */
  ping(): Promise<void>;
  /**
   * Writes something that leaves no trace, for `/health`: a full disk or memory lets reads go on and refuses this.
   * Rejects with `StoreDownError`, with the store's own words.
   */
  probe(): Promise<void>;
  /** How many records of any kind are held (0 = the store is empty, whatever its files or keys). */
  size(): Promise<number>;
  close(): Promise<void>;
}

export class StoreDownError extends Error {
  override readonly name = 'StoreDownError';
}

/** Wakes readers. A notice may be lost or repeated: it says "look again", never "this is what happened". */
export type Notice =
  | { readonly kind: 'log'; readonly roomId: string }
  | { readonly kind: 'device'; readonly userId: string; readonly deviceId: string }
  | { readonly kind: 'inbound'; readonly server: string; readonly roomId: string }
  | { readonly kind: 'outbound'; readonly roomId: string };

// --- room logs -----------------------------------------------------------------------------------------

/**
 * A room that somebody here reads: its log's bounds and its feed.
 *
 * Positions are positive integers below 2^53. A log's first position is given by who opens it, from the
 * clock, so that a log that was dropped and opened again goes on above its earlier self.
 */
export interface RoomLog {
  readonly roomId: string;
  readonly roomVersion: string;
  /** Who writes it: our homeserver, which is in the room (`resident`), or a peeked server (`remote`). */
  readonly feed: 'resident' | 'remote';
  /** Position of the newest entry, or of a gap after it; `tail - 1` while the log is empty. */
  readonly head: number;
  /** Position of the oldest entry still held; `head + 1` while the log is empty. */
  readonly tail: number;
  /** Where the feed resumes: the homeserver's stream token, or null. */
  readonly feedToken: string | null;
  /** Events may be missing; the feed must compare with its source before it goes on. */
  readonly needsCatchUp: boolean;
  /** Set when the room stopped being readable: nothing after `at` is ever shown or relayed. */
  readonly closed: { readonly at: number; readonly reason: string } | null;
  /**
   * Set while nobody who is awake reads the room: its feed has stopped, and the log is kept for those who sleep.
   * `via`: the servers through which a remote room may be peeked again, best first.
   */
  readonly asleep: { readonly via: readonly string[] } | null;
  readonly openedAt: number;
}

export interface NewLogEntry {
  readonly eventId: string;
  /** The PDU as JSON text, without `unsigned` (and without `event_id` where the room version has none). */
  readonly json: string;
  readonly type: string;
  /** null for events that are not state. */
  readonly stateKey: string | null;
  /** State events: the event that held this `(type, state_key)` before, null if none or not known. */
  readonly replaces: string | null;
  /** Whether this state event became current (false: it lost, or is only relayed). */
  readonly applied: boolean;
  /** Whether devices may see it (false: hidden from clients, relayed to servers only). */
  readonly shown: boolean;
  readonly receivedAt: number;
}

export interface LogEntry extends NewLogEntry {
  readonly position: number;
}

export interface Append {
  readonly entries: readonly NewLogEntry[];
  /** Stored together with the entries. */
  readonly feedToken?: string;
  /** Closes the log at its new head. */
  readonly close?: { readonly reason: string };
  /** Remote rooms: the applied state events also replace their key in the replica. */
  readonly intoReplica?: boolean;
  /**
   * Events before the first new one are missing: it leaves out a position, where every reader sees the gap. With
   * no entries at all the position left out becomes the head: what readers have is no longer to be gone on from.
   */
  readonly afterGap?: boolean;
  /** What the entries redact: the new JSON of events, wherever log and replica hold them (the entries too). */
  readonly amend?: readonly { readonly eventId: string; readonly json: string }[];
  /** As in `RoomLog`. */
  readonly needsCatchUp?: boolean;
}

export interface RoomLogStore {
  /** Opens a log with its first entries at `firstPosition`; returns the log already there, unchanged, if any. */
  open(
    log: Pick<RoomLog, 'roomId' | 'roomVersion' | 'feed' | 'openedAt'> & { readonly firstPosition: number },
    first?: Append,
  ): Promise<RoomLog>;
  get(roomId: string): Promise<RoomLog | null>;
  all(): Promise<RoomLog[]>;
  /**
   * Gives each entry whose event ID the log does not hold the next position, in order; the others are skipped.
   * All that `Append` asks for happens with it, or nothing of it.
   * Returns what was really appended. A log that is closed or not there takes nothing: `[]`.
   * Emits a `log` notice when anything was appended or closed, or a gap alone was made.
   */
  append(roomId: string, append: Append): Promise<LogEntry[]>;
  /** Entries with `after < position`, oldest first, at most `limit`. */
  read(roomId: string, after: number, limit: number): Promise<LogEntry[]>;
  /** The newest `limit` entries at or below `upTo`, oldest first. */
  readLast(roomId: string, upTo: number, limit: number): Promise<LogEntry[]>;
  /** How many bytes the entries at `first` to `last` have, about: a few hundred positions at most are asked for. */
  bytes(roomId: string, first: number, last: number): Promise<number>;
  /** Which of these event IDs the log holds, with their positions. */
  positions(roomId: string, eventIds: readonly string[]): Promise<Map<string, number>>;
  /** Changes the feed's own fields. */
  setFeed(
    roomId: string,
    change: Partial<Pick<RoomLog, 'feed' | 'feedToken' | 'needsCatchUp' | 'asleep'>>,
  ): Promise<void>;
  /** Drops the oldest entries below `position`; the head stays. */
  prune(roomId: string, position: number): Promise<void>;
  /** Removes the log and the room's replica. */
  drop(roomId: string): Promise<void>;
}

// --- replicas of remote rooms ---------------------------------------------------------------------------

export interface StoredEvent {
  readonly eventId: string;
  readonly json: string;
  readonly type: string;
  readonly stateKey: string | null;
}

/** The current state of a remote room and the auth chain that supports it. A resident room has none. */
export interface ReplicaStore {
  /**
   * Replaces the room's whole replica. A large one is written beside it, with turns of the event loop between, and
   * then takes its place in one step: whatever is added meanwhile goes with the earlier one.
   */
  replace(roomId: string, state: readonly StoredEvent[], authChain: readonly StoredEvent[]): Promise<void>;
  /** Adds events to the replica's state (replacing their keys) or auth chain. */
  add(roomId: string, state: readonly StoredEvent[], authChain: readonly StoredEvent[]): Promise<void>;
  /**
   * The whole current state, of one replica and each key once, read with turns of the event loop between. Of what is
   * added meanwhile the one or the other is given; who needs it of one moment reads it in the room's turn.
   */
  state(roomId: string): Promise<StoredEvent[]>;
  /**
   * The current state events of one type, a few hundred at a time, each one once, in no order. Of what changes
   * meanwhile the one or the other is given.
   */
  stateOfType(roomId: string, type: string): AsyncIterable<readonly StoredEvent[]>;
  /** The current state events of these keys, missing ones left out. */
  stateOf(
    roomId: string,
    keys: readonly (readonly [type: string, stateKey: string])[],
  ): Promise<StoredEvent[]>;
  /** An event of the log, the state or the auth chain. */
  event(roomId: string, eventId: string): Promise<StoredEvent | null>;
  drop(roomId: string): Promise<void>;
}

// --- device peeks ---------------------------------------------------------------------------------------

export interface DevicePeek {
  readonly userId: string;
  /** `''` for callers that have no device (appservices, guests keyed by user). */
  readonly deviceId: string;
  readonly roomId: string;
  /** Names this peek in sync tokens; of a device, never given twice. */
  readonly instance: number;
  readonly createdAt: number;
  /** The last `/sync` or `/peek` of the device that touched it. */
  readonly seenAt: number;
  /** Set while the device is asleep: the room's feed need not run on its account. */
  readonly dormantSince: number | null;
  /** What its initial section covered, kept so that a retry repeats it. */
  readonly initial: { readonly from: number; readonly to: number } | null;
  /** A later request has presented a token that contains it. */
  readonly delivered: boolean;
  /** Set when the peek is over: a tombstone that `/sync` still has to report in `leave` (unless joined). */
  readonly ended: {
    readonly at: number;
    readonly reason: 'unpeek' | 'expired' | 'cancelled' | 'closed' | 'joined';
    /** The log position up to which its last events may be shown. */
    readonly position: number;
  } | null;
}

export interface DevicePeekStore {
  /**
   * Adds a live peek, or returns the device's live peek on that room with its `seenAt` moved.
   * `created` tells which. With `limit` live peeks already held: `'full'`.
   */
  add(peek: DevicePeek, limit: number): Promise<{ peek: DevicePeek; created: boolean } | 'full'>;
  /** Live peeks and tombstones of a device, by instance. */
  ofDevice(userId: string, deviceId: string): Promise<DevicePeek[]>;
  /** Live peeks on a room. */
  ofRoom(roomId: string): Promise<DevicePeek[]>;
  /** Every device that has a peek or a tombstone. */
  devices(): Promise<{ userId: string; deviceId: string }[]>;
  /** Every peek and tombstone; for sweeps. */
  all(): Promise<DevicePeek[]>;
  /** Changes a peek, if it is still there. */
  update(
    peek: Pick<DevicePeek, 'userId' | 'deviceId' | 'instance'>,
    change: Partial<Pick<DevicePeek, 'seenAt' | 'dormantSince' | 'initial' | 'delivered'>>,
  ): Promise<void>;
  /**
   * Puts a live peek to sleep, unless its device was seen since it was read: its `seenAt` must be the stored one.
   * False when it was, or when the peek is not live (any more).
   */
  sleep(
    peek: Pick<DevicePeek, 'userId' | 'deviceId' | 'roomId' | 'instance' | 'seenAt'>,
    dormantSince: number,
  ): Promise<boolean>;
  /** Turns a live peek into a tombstone; false when it was not live (any more). */
  end(
    peek: Pick<DevicePeek, 'userId' | 'deviceId' | 'instance'>,
    ended: NonNullable<DevicePeek['ended']>,
  ): Promise<boolean>;
  /** Forgets a peek or tombstone. */
  remove(peek: Pick<DevicePeek, 'userId' | 'deviceId' | 'instance'>): Promise<void>;
}

// --- outbound peeks (we peek into others' rooms) ----------------------------------------------------------

/** One of our peeks at one server. A room has one for each server that it is peeked through, and those that end. */
export interface OutboundPeek {
  readonly roomId: string;
  /** The server we peek through. */
  readonly server: string;
  /** Names it among the peeks of the room. */
  readonly peekId: string;
  /** Where else the room may be peeked, best first. */
  readonly candidates: readonly string[];
  readonly renewalIntervalMs: number;
  readonly renewAt: number;
  /** When the server last sent events of the room, or the whole of it. */
  readonly heardAt: number;
  readonly begunAt: number;
  /**
   * `put`: subscribed, the server sends what is new, and renews under this ID. `anew`: subscribed, but each `PUT`
   * begins another peek, and there is no `DELETE`. `get`: nothing but snapshots, asked for again and again.
   */
  readonly how: 'put' | 'anew' | 'get';
  /** `ending`: not wanted any more, the `DELETE` is still owed. */
  readonly phase: 'live' | 'ending';
}

export interface OutboundPeekStore {
  /**
   * Writes it, over one of the same room and ID. With `over`, only if that other peek of the room is live; in the
   * same step it then becomes `ending` or is forgotten. False when it was not live (any more).
   */
  put(
    peek: OutboundPeek,
    over?: { readonly peekId: string; readonly becomes: 'ending' | 'forgotten' },
  ): Promise<boolean>;
  /** A room's peeks, the oldest first. */
  ofRoom(roomId: string): Promise<OutboundPeek[]>;
  all(): Promise<OutboundPeek[]>;
  /** Changes the peek of this ID, if it is still there. */
  update(
    roomId: string,
    peekId: string,
    change: Partial<Omit<OutboundPeek, 'roomId' | 'peekId'>>,
  ): Promise<boolean>;
  remove(roomId: string, peekId: string): Promise<void>;
}

// --- leases ----------------------------------------------------------------------------------------------

/** One holder at a time for a piece of work, across processes. */
export interface LeaseStore {
  /** Takes or prolongs; false while another owner holds it. */
  acquire(name: string, owner: string, ttlMs: number): Promise<boolean>;
  /** Gives it back, if `owner` holds it. */
  release(name: string, owner: string): Promise<void>;
}
