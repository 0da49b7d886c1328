import { setTimeout as sleep } from 'node:timers/promises';
import { pino } from 'pino';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { RedisConnection } from '../../../src/store/redis/connection.ts';
import { parseRedisUrl } from '../../../src/store/redis/redis-url.ts';
import { type Notice, type Store, StoreDownError } from '../../../src/store/store.ts';
import type { RedisServer } from '../../support/redis-server.ts';
import { allKeys, flush, open, openWithGrace } from './redis-under-test.ts';
import {
  devicePeek,
  entry,
  FIRST,
  inboundPeek,
  ODD_STRINGS,
  outboundPeek,
  ROOM,
  stateEvent,
} from './samples.ts';

const LOG = { roomId: ROOM, roomVersion: '10', feed: 'remote', openedAt: 1, firstPosition: FIRST } as const;

/** What holds when several processes share one Redis or one Cluster. */
export function sharingTests(servers: () => { url: string; nodes: readonly RedisServer[] }): void {
  let stores: Store[] = [];
  const two = () => stores as [Store, Store];

  beforeEach(async () => {
    await flush(servers().nodes);
    stores = [await open(servers().url), await open(servers().url)];
  });
  afterEach(async () => {
    for (const store of stores) await store.close();
  });

  test('two processes that append at once get consecutive positions and store each event once', async () => {
    const [a, b] = two();
    const opened = await Promise.all([a.logs.open(LOG), b.logs.open({ ...LOG, firstPosition: FIRST + 99 })]);
    expect(opened[0]).toEqual(opened[1]);
    const first = opened[0].tail;
    const writes = Array.from({ length: 100 }, (_, n) =>
      (n % 2 === 0 ? a : b).logs.append(ROOM, {
        entries: [entry(`$${Math.floor(n / 4)}`), entry(`$own${n}`)],
      }),
    );
    const answers = (await Promise.all(writes)).flat().map((one) => one.position);
    const held = await a.logs.read(ROOM, 0, 1000);
    expect(held.map((one) => one.position)).toEqual(Array.from({ length: 125 }, (_, n) => first + n));
    expect(answers.sort((x, y) => x - y)).toEqual(held.map((one) => one.position));
    expect(await b.logs.read(ROOM, 0, 1000)).toEqual(held);
  });

  test('two processes that add peeks at once keep to the limit', async () => {
    const added = await Promise.all(
      Array.from({ length: 40 }, (_, n) =>
        two()[n % 2 === 0 ? 0 : 1].devicePeeks.add(devicePeek({ roomId: `!${n}`, instance: n + 1 }), 9),
      ),
    );
    expect(added.filter((one) => one !== 'full')).toHaveLength(9);
  });

  test('a lease is held by one process', async () => {
    const [a, b] = two();
    const taken = await Promise.all([a.leases.acquire('x', 'a', 60_000), b.leases.acquire('x', 'b', 60_000)]);
    expect(taken.filter(Boolean)).toHaveLength(1);
  });

  test('notices reach the other process, and the own one once', async () => {
    const [a, b] = two();
    const here: Notice[] = [];
    const there: Notice[] = [];
    a.subscribe((notice) => here.push(notice));
    b.subscribe((notice) => there.push(notice));
    // The subscription is made beside the opening: repeat until the first one arrives.
    for (let tries = 0; there.length === 0 && tries < 100; tries++) {
      await a.outboundPeeks.put(outboundPeek());
      await sleep(20);
    }
    here.length = 0;
    there.length = 0;
    await a.devicePeeks.add(devicePeek(), 5);
    await a.inboundPeeks.put(inboundPeek(), FIRST, 5);
    await sleep(200);
    const kinds = ['device', 'inbound'];
    expect(here.map((notice) => notice.kind)).toEqual(kinds);
    expect(there.map((notice) => notice.kind).sort()).toEqual(kinds);
    expect(there).toContainEqual({ kind: 'device', userId: devicePeek().userId, deviceId: 'DEVICE' });
  });

  test('when all peeks have ended no key is left but the version of the schema', async () => {
    const store = await openWithGrace(servers().url, 50);
    stores.push(store);
    for (const odd of [...ODD_STRINGS.slice(0, 6), ROOM]) {
      const peek = devicePeek({ roomId: odd, userId: odd });
      await store.logs.open({ ...LOG, roomId: odd }, { entries: [entry('$a')] });
      await store.replicas.add(odd, [stateEvent('$n', 'm.room.name', '')], [stateEvent('$c', 'c', '')]);
      await store.devicePeeks.add(peek, 5);
      await store.inboundPeeks.put(inboundPeek({ server: odd, roomId: odd }), FIRST, 5);
      await store.inboundPeeks.remove(odd, odd, inboundPeek().peekId, FIRST + 1);
      await store.inboundPeeks.advance(odd, odd, FIRST + 1);
      await store.inboundPeeks.announceLater(odd, [{ roomId: odd, peekId: 'x' }], 1000);
      await store.inboundPeeks.announced(odd, [{ roomId: odd, peekId: 'x' }]);
      await store.outboundPeeks.put(outboundPeek({ roomId: odd }));
      await store.outboundPeeks.remove(odd, outboundPeek().peekId);
      await store.devicePeeks.end(peek, { at: 1, reason: 'unpeek', position: 1 });
      await store.devicePeeks.remove(peek);
      await store.logs.drop(odd);
    }
    expect(await store.size()).toBe(0);
    await sleep(150);
    await store.reconcile();
    expect(await allKeys(servers().nodes)).toEqual(['mpp:schema']);
  });

  test('a check takes no member out that has a record', async () => {
    const store = await openWithGrace(servers().url, 20);
    stores.push(store);
    for (let round = 0; round < 3; round++) {
      await store.devicePeeks.remove(devicePeek());
      await store.devicePeeks.add(devicePeek(), 5);
      await store.inboundPeeks.put(inboundPeek(), FIRST, 5);
      await store.logs.open(LOG);
      await store.outboundPeeks.put(outboundPeek());
      await Promise.all([store.reconcile(), sleep(60).then(() => store.reconcile())]);
    }
    expect(await store.devicePeeks.devices()).toHaveLength(1);
    expect(await store.devicePeeks.ofRoom(ROOM)).toHaveLength(1);
    expect(await store.inboundPeeks.ofRoom(ROOM)).toHaveLength(1);
    expect(await store.logs.all()).toHaveLength(1);
    expect(await store.outboundPeeks.all()).toHaveLength(1);
    expect((await allKeys(servers().nodes)).filter((key) => key === 'mpp:checks')).toEqual([]);
  });

  test('adding and removing at once never leaves a record that is not listed', async () => {
    const store = await openWithGrace(servers().url, 10);
    stores.push(store);
    const churn = async (userId: string) => {
      for (let n = 1; n <= 15; n++) {
        await store.devicePeeks.add(devicePeek({ userId, instance: n }), 5);
        if (n < 15) await store.devicePeeks.remove(devicePeek({ userId, instance: n }));
      }
    };
    const users = Array.from({ length: 8 }, (_, n) => `@${n}:example.org`);
    let churning = true;
    const sweep = async () => {
      while (churning) await store.reconcile();
    };
    const sweeps = [sweep(), sweep()];
    await Promise.all(users.map(churn));
    churning = false;
    await Promise.all(sweeps);
    await sleep(40);
    await store.reconcile();
    expect((await store.devicePeeks.ofRoom(ROOM)).map((peek) => peek.userId).sort()).toEqual(users);
    expect((await store.devicePeeks.devices()).map((one) => one.userId).sort()).toEqual(users);
  });

  test('index members without a record, as a crash leaves them, are passed over', async () => {
    const [a] = two();
    const raw = new RedisConnection(parseRedisUrl(servers().url), pino({ level: 'silent' }));
    await raw.ready(5000);
    for (const key of ['rooms', 'servers', 'outbound']) await raw.call('ZADD', `mpp:${key}`, 1, '!gone');
    await raw.call('ZADD', 'mpp:devices', 1, '["@gone:x",""]');
    await raw.close();
    expect(await a.logs.all()).toEqual([]);
    expect(await a.devicePeeks.devices()).toEqual([]);
    expect(await a.devicePeeks.all()).toEqual([]);
    expect(await a.inboundPeeks.servers()).toEqual([]);
    expect(await a.outboundPeeks.all()).toEqual([]);
    expect(await a.size()).toBe(0);
  });
}

/** Waits until the store answers; until then it may only say `StoreDownError`. Waits at most `ms`. */
export async function answersAgain(store: Store, ms: number): Promise<void> {
  const deadline = Date.now() + ms;
  for (;;) {
    try {
      return await store.ping();
    } catch (error) {
      expect(error).toBeInstanceOf(StoreDownError);
      if (Date.now() > deadline) throw error;
      await sleep(50);
    }
  }
}
