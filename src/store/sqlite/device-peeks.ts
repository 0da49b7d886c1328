import { InstanceTakenError } from '../instance-taken-error.ts';
import type { Notices } from '../notices.ts';
import type { DevicePeek, DevicePeekStore } from '../store.ts';
import type { Database } from './database.ts';

type Ended = NonNullable<DevicePeek['ended']>;
type PeekName = Pick<DevicePeek, 'userId' | 'deviceId' | 'instance'>;

interface PeekRow {
  user_id: string;
  device_id: string;
  instance: number;
  room_id: string;
  created_at: number;
  seen_at: number;
  dormant_since: number | null;
  initial_from: number | null;
  initial_to: number | null;
  delivered: number;
  ended_at: number | null;
  ended_reason: Ended['reason'] | null;
  ended_position: number | null;
}

const BY_NAME = 'user_id = ? AND device_id = ? AND instance = ?';

export class SqliteDevicePeeks implements DevicePeekStore {
  readonly #db: Database;
  readonly #notices: Notices;

  constructor(db: Database, notices: Notices) {
    this.#db = db;
    this.#notices = notices;
  }

  async add(peek: DevicePeek, limit: number): Promise<{ peek: DevicePeek; created: boolean } | 'full'> {
    const { userId, deviceId, roomId } = peek;
    const added = this.#db.write(() => {
      const live = this.#db
        .all<PeekRow>(
          'SELECT * FROM device_peeks WHERE user_id = ? AND device_id = ? AND ended_at IS NULL',
          userId,
          deviceId,
        )
        .map(toPeek);
      const held = live.find((other) => other.roomId === roomId);
      if (held !== undefined) {
        const touched: DevicePeek = { ...held, seenAt: peek.seenAt, dormantSince: null };
        this.#save(touched);
        return { peek: touched, created: false };
      }
      if (live.length >= limit) return 'full' as const;
      if (this.#row(peek) !== undefined) throw new InstanceTakenError(peek.instance);
      this.#db.run(
        `INSERT INTO device_peeks (user_id, device_id, instance, room_id, created_at, seen_at, delivered)
         VALUES (?, ?, ?, ?, ?, ?, ?)`,
        userId,
        deviceId,
        peek.instance,
        roomId,
        peek.createdAt,
        peek.seenAt,
        0,
      );
      this.#save(peek);
      return { peek, created: true };
    });
    if (added !== 'full') this.#notify(peek);
    return added;
  }

  async ofDevice(userId: string, deviceId: string): Promise<DevicePeek[]> {
    const sql = 'SELECT * FROM device_peeks WHERE user_id = ? AND device_id = ? ORDER BY instance';
    return this.#db.read(() => this.#db.all<PeekRow>(sql, userId, deviceId)).map(toPeek);
  }

  async ofRoom(roomId: string): Promise<DevicePeek[]> {
    const sql = 'SELECT * FROM device_peeks WHERE room_id = ? AND ended_at IS NULL';
    return this.#db.read(() => this.#db.all<PeekRow>(sql, roomId)).map(toPeek);
  }

  async devices(): Promise<{ userId: string; deviceId: string }[]> {
    const sql = 'SELECT DISTINCT user_id, device_id FROM device_peeks';
    const rows = this.#db.read(() => this.#db.all<Pick<PeekRow, 'user_id' | 'device_id'>>(sql));
    return rows.map((row) => ({ userId: row.user_id, deviceId: row.device_id }));
  }

  async all(): Promise<DevicePeek[]> {
    return this.#db.read(() => this.#db.all<PeekRow>('SELECT * FROM device_peeks')).map(toPeek);
  }

  async update(
    peek: PeekName,
    change: Partial<Pick<DevicePeek, 'seenAt' | 'dormantSince' | 'initial' | 'delivered'>>,
  ): Promise<void> {
    this.#db.write(() => {
      const row = this.#row(peek);
      if (row !== undefined) this.#save({ ...toPeek(row), ...change });
    });
  }

  async sleep(peek: PeekName & Pick<DevicePeek, 'seenAt'>, dormantSince: number): Promise<boolean> {
    return this.#db.write(() => {
      const row = this.#row(peek);
      if (row === undefined || row.ended_at !== null || row.seen_at !== peek.seenAt) return false;
      this.#save({ ...toPeek(row), dormantSince });
      return true;
    });
  }

  async end(peek: PeekName, ended: Ended): Promise<boolean> {
    const done = this.#db.write(() => {
      const row = this.#row(peek);
      if (row === undefined || row.ended_at !== null) return false;
      this.#save({ ...toPeek(row), ended });
      return true;
    });
    if (done) this.#notify(peek);
    return done;
  }

  async remove(peek: PeekName): Promise<void> {
    const { userId, deviceId, instance } = peek;
    const sql = `DELETE FROM device_peeks WHERE ${BY_NAME}`;
    const removed = this.#db.write(() => this.#db.run(sql, userId, deviceId, instance));
    if (removed > 0) this.#notify(peek);
  }

  #row({ userId, deviceId, instance }: PeekName): PeekRow | undefined {
    return this.#db.get<PeekRow>(`SELECT * FROM device_peeks WHERE ${BY_NAME}`, userId, deviceId, instance);
  }

  /** Writes everything that may change of a peek that is there. */
  #save(peek: DevicePeek): void {
    this.#db.run(
      `UPDATE device_peeks
       SET seen_at = ?, dormant_since = ?, initial_from = ?, initial_to = ?, delivered = ?,
           ended_at = ?, ended_reason = ?, ended_position = ?
       WHERE ${BY_NAME}`,
      peek.seenAt,
      peek.dormantSince,
      peek.initial?.from ?? null,
      peek.initial?.to ?? null,
      peek.delivered ? 1 : 0,
      peek.ended?.at ?? null,
      peek.ended?.reason ?? null,
      peek.ended?.position ?? null,
      peek.userId,
      peek.deviceId,
      peek.instance,
    );
  }

  #notify({ userId, deviceId }: Pick<DevicePeek, 'userId' | 'deviceId'>): void {
    this.#notices.emit({ kind: 'device', userId, deviceId });
  }
}

function toPeek(row: PeekRow): DevicePeek {
  const { initial_from: from, initial_to: to } = row;
  const { ended_at: at, ended_reason: reason, ended_position: position } = row;
  return {
    userId: row.user_id,
    deviceId: row.device_id,
    roomId: row.room_id,
    instance: row.instance,
    createdAt: row.created_at,
    seenAt: row.seen_at,
    dormantSince: row.dormant_since,
    initial: from === null || to === null ? null : { from, to },
    delivered: row.delivered === 1,
    ended: at === null || reason === null || position === null ? null : { at, reason, position },
  };
}
