import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { pino } from 'pino';
import { afterEach, describe, expect, test } from 'vitest';
import { systemClock } from '../../../src/platform/clock.ts';
import { openStore } from '../../../src/store/open-store.ts';
import { Database, StoreInUseError } from '../../../src/store/sqlite/database.ts';
import { SchemaTooNewError } from '../../../src/store/sqlite/schema.ts';
import { SqliteStore } from '../../../src/store/sqlite/sqlite-store.ts';
import { type Store, StoreDownError } from '../../../src/store/store.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { storeConformance } from './conformance.ts';
import { entry, FIRST, outboundPeek, ROOM, stateEvent } from './samples.ts';

const logger = pino({ level: 'silent' });

storeConformance('SQLite', async () => {
  const clock = new ManualClock();
  return {
    empty: () => openStore({ redisUrl: null, dataDir: ':memory:', clock, logger }),
    pass: (ms) => clock.advance(ms),
    end: async () => {},
  };
});

describe('the SQLite file', () => {
  const opened: { close(): unknown }[] = [];
  const folders: string[] = [];
  const newFolder = () => {
    const folder = mkdtempSync(join(tmpdir(), 'peek-sqlite-'));
    folders.push(folder);
    return folder;
  };
  const open = async (dataDir: string): Promise<Store> => {
    const store = await openStore({ redisUrl: null, dataDir, clock: systemClock, logger });
    opened.push(store);
    return store;
  };
  afterEach(async () => {
    for (const one of opened.splice(0)) await one.close();
    for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
  });

  test('keeps what was stored over a restart', async () => {
    const folder = join(newFolder(), 'made/on/the/way');
    const store = await open(folder);
    await store.outboundPeeks.put(outboundPeek());
    await store.close();
    expect(await (await open(folder)).outboundPeeks.all()).toEqual([outboundPeek()]);
  });

  test('is refused while another has it, and free when that one has gone', async () => {
    const folder = newFolder();
    const store = await open(folder);
    await expect(open(folder)).rejects.toThrow(StoreInUseError);
    const inAnotherProcess = `
      const { DatabaseSync } = require('node:sqlite');
      new DatabaseSync(process.argv[1]).prepare('SELECT count(*) FROM room_logs').get();`;
    const args = ['-e', inAnotherProcess, join(folder, 'peeks.sqlite')];
    expect(() => execFileSync(process.execPath, args, { stdio: 'pipe' })).toThrow(/database is locked/);
    await store.close();
    await (await open(folder)).ping();
  });

  test('of a newer release is refused and left alone', async () => {
    const folder = newFolder();
    const path = join(folder, 'peeks.sqlite');
    const newer = new DatabaseSync(path);
    newer.exec('PRAGMA user_version = 99');
    newer.close();
    await expect(open(folder)).rejects.toThrow(SchemaTooNewError);
    const after = new DatabaseSync(path);
    opened.push(after);
    expect(after.prepare('PRAGMA user_version').get()).toMatchObject({ user_version: 99 });
    expect(after.prepare('SELECT count(*) AS tables FROM sqlite_schema').get()).toMatchObject({ tables: 0 });
  });

  test('on a full disk: writes fail whole, reads go on, the probe says so until there is room', async () => {
    const db = new Database(join(newFolder(), 'peeks.sqlite'));
    const store = new SqliteStore(db, systemClock, logger);
    opened.push(store);
    const log = {
      roomId: ROOM,
      roomVersion: '10',
      feed: 'remote',
      openedAt: 1,
      firstPosition: FIRST,
    } as const;
    await store.logs.open(log, { entries: [entry('$a')] });
    await store.probe();
    const pages = db.get<{ page_count: number }>('PRAGMA page_count')?.page_count ?? 0;
    db.get(`PRAGMA max_page_count = ${pages + 20}`);
    const fill = async () => {
      for (let n = 0; n < 100; n++) {
        await store.logs.append(ROOM, { entries: [entry(`$${n}`, { json: 'x'.repeat(50_000) })] });
      }
    };
    await expect(fill()).rejects.toThrow(StoreDownError);
    await store.ping();
    await expect(store.probe()).rejects.toThrow('SQLite: database or disk is full');
    const head = (await store.logs.get(ROOM))?.head;
    expect((await store.logs.readLast(ROOM, Number.MAX_SAFE_INTEGER, 1))[0]?.position).toBe(head);
    db.get('PRAGMA max_page_count = 100000');
    await store.probe();
    await store.logs.append(ROOM, { entries: [entry('$after')] });
  });

  test('that cannot be read is a store that is down', async () => {
    const folder = newFolder();
    execFileSync(process.execPath, [
      '-e',
      `fs.writeFileSync(process.argv[1], 'no database'.repeat(1000))`,
      join(folder, 'peeks.sqlite'),
    ]);
    await expect(open(folder)).rejects.toThrow(StoreDownError);
  });

  test('syncs at each commit', () => {
    const db = new Database(join(newFolder(), 'a.sqlite'));
    opened.push(db);
    expect(db.get('PRAGMA synchronous')).toMatchObject({ synchronous: 2 });
    expect(db.get('PRAGMA journal_mode')).toMatchObject({ journal_mode: 'wal' });
  });

  test('on a full disk: writes fail whole, reads go on, and a write works again when there is room', async () => {
    const db = new Database(join(newFolder(), 'a.sqlite'));
    const store = new SqliteStore(db, systemClock, logger);
    opened.push(store);
    const log = {
      roomId: ROOM,
      roomVersion: '10',
      feed: 'remote',
      openedAt: 1,
      firstPosition: FIRST,
    } as const;
    await store.logs.open(log, { entries: [entry('$a')] });
    const pages = db.get<{ page_count: number }>('PRAGMA page_count')?.page_count ?? 0;
    // SQLite's own bound on the file gives the same error (SQLITE_FULL) as a disk without room.
    db.run(`PRAGMA max_page_count = ${pages + 10}`);
    const many = Array.from({ length: 50 }, (_, n) => entry(`$${n}`, { json: 'x'.repeat(4000) }));
    await expect(store.logs.append(ROOM, { entries: many })).rejects.toThrow(StoreDownError);
    expect((await store.logs.read(ROOM, 0, 100)).map((one) => one.eventId)).toEqual(['$a']);
    expect((await store.logs.get(ROOM))?.head).toBe(FIRST);
    db.run('PRAGMA max_page_count = 100000');
    expect(await store.logs.append(ROOM, { entries: many })).toHaveLength(50);
  });

  describe('a large replica', () => {
    const MANY = 2000;
    const members = (round: number) =>
      Array.from({ length: MANY }, (_, n) => stateEvent(`$${round}-${n}`, 'm.room.member', `@${n}:x`));
    const rowsIn = (db: Database) =>
      ['replicas', 'replica_state', 'replica_auth'].map(
        (table) => db.get<{ rows: number }>(`SELECT count(*) AS rows FROM ${table}`)?.rows,
      );
    const given = (path = join(newFolder(), 'a.sqlite')) => {
      const db = new Database(path);
      const store = new SqliteStore(db, systemClock, logger);
      opened.push(store);
      return { path, db, store, rows: () => rowsIn(db) };
    };

    test('is read, replaced and deleted in slices, and others have their turns between', async () => {
      const { store, rows } = given();
      const turnsOf = async (work: () => Promise<unknown>) => {
        let turns = 0;
        let isDone = false;
        const done = work().finally(() => {
          isDone = true;
        });
        for (; !isDone; turns++) await new Promise((resolve) => setImmediate(resolve));
        await done;
        return turns;
      };
      expect(await turnsOf(() => store.replicas.replace(ROOM, members(1), members(0)))).toBeGreaterThan(5);
      expect(await turnsOf(() => store.replicas.state(ROOM))).toBeGreaterThan(5);
      await store.logs.drop(ROOM);
      expect(rows()[1]).toBeGreaterThan(MANY / 2);
      const emptied = async () => {
        while (rows().some((count) => count !== 0)) await new Promise((resolve) => setImmediate(resolve));
      };
      expect(await turnsOf(emptied)).toBeGreaterThan(5);
    });

    test('that is opened again while it is deleted is the new one', async () => {
      const { store, rows } = given();
      await store.replicas.replace(ROOM, members(1), members(0));
      await store.replicas.drop(ROOM);
      await store.replicas.replace(ROOM, members(2), []);
      expect(await store.replicas.state(ROOM)).toHaveLength(MANY);
      await expect.poll(rows).toEqual([1, MANY, 0]);
      expect(await store.replicas.event(ROOM, '$2-7')).not.toBeNull();
    });

    test('a process that ended in the middle of writing or deleting it leaves nothing for good', async () => {
      const { path, store, rows } = given();
      await store.replicas.replace(ROOM, members(1), []);
      await store.replicas.replace('!left:x', members(2), []);
      await store.replicas.drop('!left:x');
      const replacing = store.replicas.replace(ROOM, members(3), members(4));
      await new Promise((resolve) => setImmediate(resolve));
      expect(rows()).toEqual([3, expect.any(Number), expect.any(Number)]);
      await store.close();
      await expect(replacing).rejects.toThrow(StoreDownError);
      const again = given(path);
      expect(again.rows()[1]).toBeGreaterThan(MANY);
      await expect.poll(again.rows).toEqual([1, MANY, 0]);
      const ids = (await again.store.replicas.state(ROOM)).map(({ eventId }) => eventId.split('-')[0]);
      expect(new Set(ids)).toEqual(new Set(['$1']));
    });

    test('that does not fit on the disk leaves the one before it, and no rows when there is room', async () => {
      const { db, store, rows } = given();
      await store.replicas.replace(ROOM, members(1), []);
      const pages = db.get<{ page_count: number }>('PRAGMA page_count')?.page_count ?? 0;
      db.run(`PRAGMA max_page_count = ${pages + 40}`);
      await expect(store.replicas.replace(ROOM, members(2), members(3))).rejects.toThrow(StoreDownError);
      expect(await store.replicas.event(ROOM, '$1-7')).not.toBeNull();
      await expect.poll(rows).toEqual([1, MANY, 0]);
    });
  });
});
