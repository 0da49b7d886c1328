import type { Clock } from '../../platform/clock.ts';
import type { Logger } from '../../platform/log.ts';
import { Notices } from '../notices.ts';
import type { Notice, Store } from '../store.ts';
import type { Database } from './database.ts';
import { SqliteDevicePeeks } from './device-peeks.ts';
import { SqliteInboundPeeks } from './inbound-peeks.ts';
import { ProcessLeases } from './leases.ts';
import { SqliteOutboundPeeks } from './outbound-peeks.ts';
import { REPLICA_TABLES } from './replica-rows.ts';
import { SqliteReplicas } from './replicas.ts';
import { SqliteRoomLogs } from './room-logs.ts';
import { TABLES } from './schema.ts';

/** As long as an event may be. */
const PROBE = 'x'.repeat(65_536);

/** The store of a single process, in one SQLite file. */
export class SqliteStore implements Store {
  readonly kind = 'sqlite';
  readonly logs: SqliteRoomLogs;
  readonly replicas: SqliteReplicas;
  readonly devicePeeks: SqliteDevicePeeks;
  readonly inboundPeeks: SqliteInboundPeeks;
  readonly outboundPeeks: SqliteOutboundPeeks;
  readonly leases: ProcessLeases;
  readonly #db: Database;
  readonly #notices: Notices;

  /** Takes over `db` and closes it. */
  constructor(db: Database, clock: Clock, logger: Logger) {
    this.#db = db;
    this.#notices = new Notices(logger);
    this.logs = new SqliteRoomLogs(db, this.#notices, () => this.replicas.clean());
    this.replicas = new SqliteReplicas(db);
    this.devicePeeks = new SqliteDevicePeeks(db, this.#notices);
    this.inboundPeeks = new SqliteInboundPeeks(db, this.#notices);
    this.outboundPeeks = new SqliteOutboundPeeks(db, this.#notices);
    this.leases = new ProcessLeases(clock);
  }

  subscribe(listener: (notice: Notice) => void): () => void {
    return this.#notices.subscribe(listener);
  }

  async ping(): Promise<void> {
    this.#db.read(() => this.#db.get('SELECT count(*) FROM outbound_peeks'));
  }

  async probe(): Promise<void> {
    // Taken out in the same transaction; pages are asked for all the same, and the write-ahead log grows.
    this.#db.writeUnsynced(() => {
      this.#db.run(`INSERT INTO announcements VALUES ('', '', ?, 0)`, PROBE);
      this.#db.run(`DELETE FROM announcements WHERE server = ''`);
    });
  }

  async size(): Promise<number> {
    const current = 'WHERE replica IN (SELECT replica FROM replicas WHERE current = 1)';
    const tables = [...TABLES, ...REPLICA_TABLES.map((table) => `${table} ${current}`)];
    const counts = tables.map((table) => `(SELECT count(*) FROM ${table})`).join(' + ');
    return this.#db.read(() => this.#db.get<{ held: number }>(`SELECT ${counts} AS held`)?.held ?? 0);
  }

  async close(): Promise<void> {
    this.#notices.clear();
    this.replicas.close();
    this.#db.close();
  }
}
