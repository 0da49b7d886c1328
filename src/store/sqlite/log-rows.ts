import type { LogEntry, RoomLog } from '../store.ts';

export interface LogRow {
  room_id: string;
  room_version: string;
  feed: RoomLog['feed'];
  head: number;
  tail: number;
  feed_token: string | null;
  needs_catch_up: number;
  closed_at: number | null;
  closed_reason: string | null;
  /** JSON. */
  asleep: string | null;
  opened_at: number;
}

export interface EntryRow {
  position: number;
  event_id: string;
  json: string;
  type: string;
  state_key: string | null;
  replaces: string | null;
  applied: number;
  shown: number;
  received_at: number;
}

export function toLog(row: LogRow): RoomLog {
  return {
    roomId: row.room_id,
    roomVersion: row.room_version,
    feed: row.feed,
    head: row.head,
    tail: row.tail,
    feedToken: row.feed_token,
    needsCatchUp: row.needs_catch_up === 1,
    closed: row.closed_at === null ? null : { at: row.closed_at, reason: row.closed_reason ?? '' },
    asleep: row.asleep === null ? null : (JSON.parse(row.asleep) as RoomLog['asleep']),
    openedAt: row.opened_at,
  };
}

export function toEntry(row: EntryRow): LogEntry {
  return {
    position: row.position,
    eventId: row.event_id,
    json: row.json,
    type: row.type,
    stateKey: row.state_key,
    replaces: row.replaces,
    applied: row.applied === 1,
    shown: row.shown === 1,
    receivedAt: row.received_at,
  };
}
