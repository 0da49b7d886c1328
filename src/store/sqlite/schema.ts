import type { DatabaseSync } from 'node:sqlite';

/** Raised with every change of the tables; `migrations[n]` leads from version n to n + 1. */
export const SCHEMA_VERSION = 1;

/** The file was written by a newer release of the proxy. */
export class SchemaTooNewError extends Error {
  override readonly name = 'SchemaTooNewError';
}

const migrations: readonly string[] = [
  `
  CREATE TABLE room_logs (
    room_id TEXT PRIMARY KEY,
    room_version TEXT NOT NULL,
    feed TEXT NOT NULL,
    head INTEGER NOT NULL,
    tail INTEGER NOT NULL,
    feed_token TEXT,
    needs_catch_up INTEGER NOT NULL,
    closed_at INTEGER,
    closed_reason TEXT,
    asleep TEXT,
    opened_at INTEGER NOT NULL
  ) STRICT;

  CREATE TABLE log_entries (
    room_id TEXT NOT NULL REFERENCES room_logs ON DELETE CASCADE,
    position INTEGER NOT NULL,
    event_id TEXT NOT NULL,
    json TEXT NOT NULL,
    type TEXT NOT NULL,
    state_key TEXT,
    replaces TEXT,
    applied INTEGER NOT NULL,
    shown INTEGER NOT NULL,
    received_at INTEGER NOT NULL,
    PRIMARY KEY (room_id, position),
    UNIQUE (room_id, event_id)
  ) STRICT;

  CREATE TABLE replicas (
    replica INTEGER PRIMARY KEY,
    room_id TEXT NOT NULL,
    current INTEGER NOT NULL
  ) STRICT;
  CREATE UNIQUE INDEX current_replicas ON replicas (room_id) WHERE current = 1;
  CREATE INDEX left_replicas ON replicas (replica) WHERE current = 0;

  CREATE TABLE replica_state (
    replica INTEGER NOT NULL,
    type TEXT NOT NULL,
    state_key TEXT NOT NULL,
    event_id TEXT NOT NULL,
    json TEXT NOT NULL,
    PRIMARY KEY (replica, type, state_key)
  ) STRICT;
  CREATE INDEX replica_state_by_event ON replica_state (replica, event_id);

  CREATE TABLE replica_auth (
    replica INTEGER NOT NULL,
    event_id TEXT NOT NULL,
    json TEXT NOT NULL,
    type TEXT NOT NULL,
    state_key TEXT,
    PRIMARY KEY (replica, event_id)
  ) STRICT;

  CREATE TABLE device_peeks (
    user_id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    instance INTEGER NOT NULL,
    room_id TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    seen_at INTEGER NOT NULL,
    dormant_since INTEGER,
    initial_from INTEGER,
    initial_to INTEGER,
    delivered INTEGER NOT NULL,
    ended_at INTEGER,
    ended_reason TEXT,
    ended_position INTEGER,
    PRIMARY KEY (user_id, device_id, instance)
  ) STRICT;
  CREATE UNIQUE INDEX live_device_peeks ON device_peeks (room_id, user_id, device_id) WHERE ended_at IS NULL;

  CREATE TABLE inbound_peeks (
    server TEXT NOT NULL,
    room_id TEXT NOT NULL,
    peek_id TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    renewed_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (server, room_id, peek_id)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX inbound_peeks_by_room ON inbound_peeks (room_id);

  CREATE TABLE cursors (
    server TEXT NOT NULL,
    room_id TEXT NOT NULL,
    position INTEGER NOT NULL,
    stop_at INTEGER,
    PRIMARY KEY (server, room_id)
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE announcements (
    server TEXT NOT NULL,
    room_id TEXT NOT NULL,
    peek_id TEXT NOT NULL,
    noted_at INTEGER NOT NULL,
    PRIMARY KEY (server, room_id, peek_id)
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE outbound_peeks (
    room_id TEXT NOT NULL,
    peek_id TEXT NOT NULL,
    server TEXT NOT NULL,
    candidates TEXT NOT NULL,
    renewal_interval_ms INTEGER NOT NULL,
    renew_at INTEGER NOT NULL,
    heard_at INTEGER NOT NULL,
    begun_at INTEGER NOT NULL,
    how TEXT NOT NULL,
    phase TEXT NOT NULL,
    PRIMARY KEY (room_id, peek_id)
  ) STRICT;
  `,
];

/** Every table whose rows are records, but those of the replicas, where a row may be left to be deleted. */
export const TABLES = [
  'room_logs',
  'log_entries',
  'device_peeks',
  'inbound_peeks',
  'cursors',
  'announcements',
  'outbound_peeks',
] as const;

/** Brings the file up to `SCHEMA_VERSION`, whole or not at all. */
export function migrate(sqlite: DatabaseSync): void {
  const found = Number(sqlite.prepare('PRAGMA user_version').get()?.user_version ?? 0);
  if (found > SCHEMA_VERSION) {
    throw new SchemaTooNewError(
      `The store has schema version ${found}; this release knows versions up to ${SCHEMA_VERSION}. ` +
        'Start the newer release again, or begin with an empty data directory: every peek can be had again.',
    );
  }
  if (found === SCHEMA_VERSION) return;
  sqlite.exec('BEGIN IMMEDIATE');
  for (const step of migrations.slice(found)) sqlite.exec(step);
  sqlite.exec(`PRAGMA user_version = ${SCHEMA_VERSION}`);
  sqlite.exec('COMMIT');
}
