import { setTimeout as sleep } from 'node:timers/promises';
import { pino } from 'pino';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { systemClock } from '../../../src/platform/clock.ts';
import { openStore } from '../../../src/store/open-store.ts';
import { SchemaTooNewError } from '../../../src/store/redis/connection.ts';
import { type Notice, type Store, StoreDownError } from '../../../src/store/store.ts';
import { startSentinel } from '../../support/redis-sentinel.ts';
import { type RedisServer, startRedis } from '../../support/redis-server.ts';
import { storeConformance } from './conformance.ts';
import { allKeys, open, redisUnderTest, withClients } from './redis-under-test.ts';
import { entry, FIRST, outboundPeek, ROOM, stateEvent } from './samples.ts';
import { answersAgain, sharingTests } from './sharing.ts';

storeConformance('Redis', async () => {
  const server = await startRedis();
  return redisUnderTest(server.url, [server], server.stop);
});

describe('several processes on one Redis', () => {
  let server: RedisServer;
  beforeAll(async () => {
    server = await startRedis();
  });
  afterAll(() => server?.stop());
  sharingTests(() => ({ url: server.url, nodes: [server] }));
});

describe('a Redis behind a Sentinel', () => {
  test('is found by the name of the master', async () => {
    const server = await startRedis();
    const sentinel = await startSentinel(server, 'peeks').catch(async (error) => {
      await server.stop();
      throw error;
    });
    try {
      const store = await open(sentinel.url);
      await store.outboundPeeks.put(outboundPeek());
      expect(await store.outboundPeeks.all()).toEqual([outboundPeek()]);
      await store.close();
      const unknown = await open(sentinel.url.replace('peeks', 'nobody'));
      await expect(unknown.ping()).rejects.toThrow(StoreDownError);
      await unknown.close();
    } finally {
      await sentinel.stop();
      await server.stop();
    }
  });
});

describe('a Redis that fails', () => {
  const log = { roomId: ROOM, roomVersion: '10', feed: 'remote', openedAt: 1, firstPosition: FIRST } as const;
  let server: RedisServer;
  let store: Store;
  const start = async (options = {}) => {
    server = await startRedis(options);
    store = await open(server.url);
  };
  const command = (...parts: [string, ...string[]]) =>
    withClients([server], (client) => client.call(...parts));
  afterEach(async () => {
    await store?.close();
    await server?.stop();
  });

  test('kill -9 Redis with AOF: down at once, and nothing acknowledged is lost when it is back', async () => {
    await start({ appendonly: true });
    await store.logs.open(log, { entries: [entry('$a')] });
    await server.kill();
    await sleep(50);
    const began = Date.now();
    await expect(store.logs.get(ROOM)).rejects.toThrow(StoreDownError);
    expect(Date.now() - began).toBeLessThan(50);
    await server.restart();
    await answersAgain(store, 10_000);
    expect(await store.logs.read(ROOM, 0, 10)).toMatchObject([{ eventId: '$a', position: FIRST }]);
  });

  describe('while a large replica is replaced', () => {
    const members = (round: number) =>
      Array.from({ length: 10_000 }, (_, n) => stateEvent(`$${round}-${n}`, 'm.room.member', `@${n}:x`));
    const stagedKeys = async (): Promise<string[]> => {
      for (;;) {
        const staged = (await allKeys([server])).filter((key) => key.includes(':staged/'));
        if (staged.length > 0) return staged;
      }
    };

    test('a process that goes leaves staged keys alone, which expire, and the replica that was there', async () => {
      await start();
      await store.replicas.add(ROOM, [stateEvent('$name', 'm.room.name', '')], []);
      const replacing = store.replicas.replace(ROOM, members(1), []);
      const ended = expect(replacing).rejects.toThrow(StoreDownError);
      const staged = await stagedKeys();
      await store.close();
      await ended;
      for (const key of staged) {
        const [left] = await command('PTTL', key);
        expect(left).toBeGreaterThan(0);
        expect(left).toBeLessThanOrEqual(600_000);
      }
      store = await open(server.url);
      expect(await store.replicas.state(ROOM)).toMatchObject([{ eventId: '$name' }]);
    });

    test('what was staged goes ⇒ nothing is replaced by half of it, and what is whole does not expire', async () => {
      await start();
      await store.replicas.add(ROOM, [stateEvent('$name', 'm.room.name', '')], []);
      const refused = expect(store.replicas.replace(ROOM, members(1), [])).rejects.toThrow('has expired');
      await command('UNLINK', ...((await stagedKeys()) as [string]));
      await refused;
      expect(await store.replicas.state(ROOM)).toMatchObject([{ eventId: '$name' }]);
      await store.replicas.replace(ROOM, members(1), members(2));
      expect(await store.replicas.state(ROOM)).toHaveLength(10_000);
      for (const key of await allKeys([server])) expect(await command('PTTL', key)).toEqual([-1]);
    });
  });

  test('kill -9 Redis without AOF: the store is empty and works', async () => {
    await start();
    await store.logs.open(log, { entries: [entry('$a')] });
    await server.kill();
    await server.restart();
    await answersAgain(store, 10_000);
    expect(await store.logs.all()).toEqual([]);
    expect(await store.size()).toBe(0);
    await store.logs.open(log, { entries: [entry('$b')] });
    expect((await store.logs.get(ROOM))?.head).toBe(FIRST);
  });

  test('a notice of our own is heard while Redis is away', async () => {
    await start();
    const heard: Notice[] = [];
    store.subscribe((notice) => heard.push(notice));
    await command('CLIENT', 'KILL', 'TYPE', 'pubsub');
    await store.outboundPeeks.put(outboundPeek());
    await sleep(20);
    expect(heard).toContainEqual({ kind: 'outbound', roomId: ROOM });
  });

  test('CLIENT KILL: the connection comes back by itself', async () => {
    await start();
    await command('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
    await answersAgain(store, 10_000);
  });

  test('CLIENT PAUSE 10 s: commands fail within some seconds instead of hanging', async () => {
    await start();
    await command('CLIENT', 'PAUSE', '10000');
    const began = Date.now();
    await expect(store.logs.get(ROOM)).rejects.toThrow(StoreDownError);
    expect(Date.now() - began).toBeLessThan(6000);
  });

  test('FLUSHALL and lost scripts do no harm', async () => {
    await start();
    await store.logs.open(log, { entries: [entry('$a')] });
    await command('FLUSHALL');
    await command('SCRIPT', 'FLUSH');
    await store.logs.open(log, { entries: [entry('$b')] });
    expect(await store.logs.read(ROOM, 0, 10)).toMatchObject([{ eventId: '$b', position: FIRST }]);
  });

  test('OOM command not allowed: writes fail whole, reads go on', async () => {
    await start({ args: ['--maxmemory', '6mb', '--maxmemory-policy', 'noeviction'] });
    await store.logs.open(log, { entries: [entry('$a')] });
    const fill = async () => {
      for (let n = 0; n < 500; n++) {
        await store.logs.append(ROOM, { entries: [entry(`$${n}`, { json: 'x'.repeat(50_000) })] });
      }
    };
    await store.probe();
    await expect(fill()).rejects.toThrow(/OOM/);
    // What /health asks: it can be read, and not be written.
    await store.ping();
    await expect(store.probe()).rejects.toThrow(/Redis: OOM command not allowed/);
    const found = await store.logs.get(ROOM);
    const newest = await store.logs.readLast(ROOM, Number.MAX_SAFE_INTEGER, 1);
    expect(newest[0]?.position).toBe(found?.head);
  });

  test('a replica takes no writes: the probe has its words, until it is no replica any more', async () => {
    await start();
    await store.probe();
    await command('REPLICAOF', '127.0.0.1', '1');
    await expect(store.probe()).rejects.toThrow(/READONLY/);
    await command('REPLICAOF', 'NO', 'ONE');
    await answersAgain(store, 10_000);
    await store.probe();
  });

  test.each([
    ['allkeys-lru', true],
    ['noeviction', false],
  ])('with maxmemory and the policy %s the start warns: %s', async (policy, warns) => {
    await start({ args: ['--maxmemory', '50mb', '--maxmemory-policy', policy] });
    const lines: string[] = [];
    const logger = pino({ level: 'warn' }, { write: (line: string) => lines.push(line) });
    const second = await openStore({ redisUrl: server.url, dataDir: '', clock: systemClock, logger });
    await second.close();
    expect(lines.some((line) => line.includes('noeviction'))).toBe(warns);
  });

  test('a password and a database are used', async () => {
    server = await startRedis({ args: ['--requirepass', 'se:cr@t'] });
    store = await open(`redis://:se%3Acr%40t@127.0.0.1:${server.port}/3`);
    await store.ping();
    const without = await open(server.url);
    await expect(without.ping()).rejects.toThrow(StoreDownError);
    await without.close();
  });

  test('keys of a newer release are refused', async () => {
    await start();
    await command('SET', 'mpp:schema', '99');
    await expect(open(server.url)).rejects.toThrow(SchemaTooNewError);
  });

  test('a Redis that is away at the start does not stop it, and is used once it is there', async () => {
    await start();
    await store.close();
    await server.kill();
    const lines: string[] = [];
    const logger = pino({ level: 'warn' }, { write: (line: string) => lines.push(line) });
    store = await openStore({ redisUrl: server.url, dataDir: '', clock: systemClock, logger });
    await expect(store.ping()).rejects.toThrow(StoreDownError);
    expect(lines.some((line) => line.includes('peeking is off'))).toBe(true);
    await server.restart();
    await answersAgain(store, 10_000);
  });
});
