/** A peek of another server into a room of ours. */
export interface InboundPeek {
  readonly server: string;
  readonly roomId: string;
  readonly peekId: string;
  readonly createdAt: number;
  readonly renewedAt: number;
  readonly expiresAt: number;
}

/** How far a peeking server has been sent a room's log. One per (server, room), however many peek IDs. */
export interface Cursor {
  readonly server: string;
  readonly roomId: string;
  /** Everything at or below it has been acknowledged. */
  readonly position: number;
  /** Set when the last peek has ended but events up to here are still owed. */
  readonly stopAt: number | null;
}

export interface InboundPeekStore {
  /**
   * Registers or renews. Creates the cursor at `position` if the server has none in this room.
   * Refuses with `'full'` when the server holds `limit` peeks and this would be a further one.
   */
  put(peek: InboundPeek, position: number, limit: number): Promise<'created' | 'renewed' | 'full'>;
  get(server: string, roomId: string, peekId: string): Promise<InboundPeek | null>;
  ofRoom(roomId: string): Promise<InboundPeek[]>;
  ofServer(server: string): Promise<InboundPeek[]>;
  all(): Promise<InboundPeek[]>;
  /** Those that end at `now` or before, at most `limit` of them. */
  due(now: number, limit: number): Promise<InboundPeek[]>;
  /** How many each server has; who has none may be left out. */
  countByServer(): Promise<Map<string, number>>;
  /**
   * Ends one peek; false if it was not there. When it was the server's last one in the room, its cursor is
   * removed, or with `owedUpTo` goes on to that position and is removed there.
   */
  remove(server: string, roomId: string, peekId: string, owedUpTo?: number): Promise<boolean>;
  cursors(): Promise<Cursor[]>;
  cursorsOf(server: string): Promise<Cursor[]>;
  /** Whether any server has one in this room. */
  hasCursors(roomId: string): Promise<boolean>;
  /** One of them; null if the server has none in this room. */
  cursor(server: string, roomId: string): Promise<Cursor | null>;
  /** Moves a cursor forward (never back). At or beyond `stopAt` it is removed, and the answer is true. */
  advance(server: string, roomId: string, position: number): Promise<boolean>;
  /** Notes evicted peeks to be announced in `expired_peeks`, until `announced`. `now`: milliseconds. */
  announceLater(
    server: string,
    expired: readonly { roomId: string; peekId: string }[],
    now: number,
  ): Promise<void>;
  toAnnounce(server: string): Promise<{ roomId: string; peekId: string }[]>;
  announced(server: string, expired: readonly { roomId: string; peekId: string }[]): Promise<void>;
  /** Forgets what was noted at this time or before. */
  dropAnnouncements(notedAt: number): Promise<void>;
  /** Servers that have a cursor or something to be announced. */
  servers(): Promise<string[]>;
}
