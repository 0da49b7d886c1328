import { describe, expect, test } from 'vitest';
import { StoreDownError } from '../../../src/store/store.ts';
import { type Given, noticesOf } from './given.ts';
import { devicePeek, entry, FIRST, inboundPeek, ODD_STRINGS, outboundPeek, ROOM } from './samples.ts';

export function outboundPeekConformance(given: Given): void {
  const peeks = () => given.store.outboundPeeks;
  const { peekId } = outboundPeek();

  describe('outbound peeks', () => {
    test('a peek comes back as it was put, and a later one of the same ID takes its place', async () => {
      expect(await peeks().ofRoom(ROOM)).toEqual([]);
      expect(await peeks().put(outboundPeek())).toBe(true);
      expect(await peeks().ofRoom(ROOM)).toEqual([outboundPeek()]);
      const again = outboundPeek({ server: 'b', candidates: [], phase: 'ending', how: 'get' });
      await peeks().put(again);
      expect(await peeks().all()).toEqual([again]);
      expect(await given.store.size()).toBe(1);
    });

    test('a room has several, the oldest first', async () => {
      const [first, second] = [outboundPeek(), outboundPeek({ peekId: 'second', begunAt: 900 })];
      const elsewhere = outboundPeek({ roomId: '!other', peekId, begunAt: 1100 });
      for (const peek of [elsewhere, first, second]) await peeks().put(peek);
      expect(await peeks().ofRoom(ROOM)).toEqual([second, first]);
      expect(await peeks().all()).toEqual([second, first, elsewhere]);
      expect(await given.store.size()).toBe(3);
    });

    test('a peek in the place of another: that one ends or is forgotten in the same step', async () => {
      await peeks().put(outboundPeek());
      const second = outboundPeek({ peekId: 'second', begunAt: 2000 });
      expect(await peeks().put(second, { peekId, becomes: 'ending' })).toBe(true);
      expect(await peeks().ofRoom(ROOM)).toEqual([outboundPeek({ phase: 'ending' }), second]);
      const third = outboundPeek({ peekId: 'third', begunAt: 3000 });
      expect(await peeks().put(third, { peekId: 'second', becomes: 'forgotten' })).toBe(true);
      expect(await peeks().ofRoom(ROOM)).toEqual([outboundPeek({ phase: 'ending' }), third]);
      const renewed = { ...third, renewAt: 9000 };
      expect(await peeks().put(renewed, { peekId: 'third', becomes: 'forgotten' })).toBe(true);
      expect((await peeks().ofRoom(ROOM)).at(1)).toEqual(renewed);
    });

    test('in the place of one that is no longer live: nothing is written', async () => {
      const late = outboundPeek({ peekId: 'late' });
      expect(await peeks().put(late, { peekId, becomes: 'ending' })).toBe(false);
      await peeks().put(outboundPeek({ phase: 'ending' }));
      expect(await peeks().put(late, { peekId, becomes: 'forgotten' })).toBe(false);
      expect(await peeks().put(outboundPeek(), { peekId, becomes: 'ending' })).toBe(false);
      expect(await peeks().all()).toEqual([outboundPeek({ phase: 'ending' })]);
    });

    test('a change is made only to the peek that was meant', async () => {
      await peeks().put(outboundPeek());
      await peeks().put(outboundPeek({ peekId: 'second', begunAt: 2000 }));
      expect(await peeks().update(ROOM, 'other', { phase: 'ending' })).toBe(false);
      expect(await peeks().update('!none', peekId, { phase: 'ending' })).toBe(false);
      expect(await peeks().update(ROOM, peekId, { renewAt: 9, candidates: ['x'] })).toBe(true);
      expect(await peeks().ofRoom(ROOM)).toEqual([
        outboundPeek({ renewAt: 9, candidates: ['x'] }),
        outboundPeek({ peekId: 'second', begunAt: 2000 }),
      ]);
    });

    test('only the peek that was meant is removed', async () => {
      await peeks().put(outboundPeek());
      await peeks().put(outboundPeek({ peekId: 'second' }));
      await peeks().remove(ROOM, 'other');
      expect(await peeks().all()).toHaveLength(2);
      await peeks().remove(ROOM, peekId);
      expect(await peeks().all()).toEqual([outboundPeek({ peekId: 'second' })]);
      await peeks().remove(ROOM, 'second');
      expect(await given.store.size()).toBe(0);
    });

    test('putting, changing and removing give notice of the room', async () => {
      const notice = { kind: 'outbound', roomId: ROOM };
      const over = { peekId: 'none', becomes: 'ending' } as const;
      expect(await noticesOf(given.store, () => peeks().put(outboundPeek()))).toEqual([notice]);
      expect(await noticesOf(given.store, () => peeks().put(outboundPeek(), over))).toEqual([]);
      expect(await noticesOf(given.store, () => peeks().update(ROOM, peekId, { heardAt: 2 }))).toEqual([
        notice,
      ]);
      expect(await noticesOf(given.store, () => peeks().remove(ROOM, peekId))).toEqual([notice]);
      expect(await noticesOf(given.store, () => peeks().remove(ROOM, peekId))).toEqual([]);
    });

    test('rooms and servers may be named anything', async () => {
      for (const odd of ODD_STRINGS)
        await peeks().put(outboundPeek({ roomId: odd, server: odd, candidates: [odd] }));
      expect((await peeks().all()).map((peek) => peek.roomId).sort()).toEqual([...ODD_STRINGS].sort());
      for (const odd of ODD_STRINGS) {
        expect(await peeks().ofRoom(odd)).toMatchObject([{ server: odd, candidates: [odd] }]);
        await peeks().remove(odd, peekId);
      }
      expect(await given.store.size()).toBe(0);
    });
  });
}

export function leaseConformance(given: Given): void {
  const leases = () => given.store.leases;

  describe('leases', () => {
    test('one owner holds a lease at a time', async () => {
      const owners = Array.from({ length: 10 }, (_, n) => `owner${n}`);
      const taken = await Promise.all(owners.map((owner) => leases().acquire('sweep', owner, 60_000)));
      expect(taken.filter(Boolean)).toHaveLength(1);
      const owner = owners[taken.indexOf(true)] ?? '';
      expect(await leases().acquire('sweep', owner, 60_000)).toBe(true);
      expect(await leases().acquire('other', 'somebody', 60_000)).toBe(true);
    });

    test('a lease is given back by its owner alone', async () => {
      await leases().acquire('sweep', 'a', 60_000);
      await leases().release('sweep', 'b');
      expect(await leases().acquire('sweep', 'b', 60_000)).toBe(false);
      await leases().release('sweep', 'a');
      expect(await leases().acquire('sweep', 'b', 60_000)).toBe(true);
    });

    test('a lease that is not prolonged ends', async () => {
      await leases().acquire('short', 'a', 100);
      await leases().acquire('long', 'a', 100);
      await leases().acquire('long', 'a', 60_000);
      await given.pass(150);
      expect(await leases().acquire('short', 'b', 60_000)).toBe(true);
      expect(await leases().acquire('long', 'b', 60_000)).toBe(false);
    });

    test('a lease is no record', async () => {
      await leases().acquire('sweep {x}', 'a', 60_000);
      expect(await given.store.size()).toBe(0);
    });
  });
}

export function storeItselfConformance(given: Given): void {
  describe('the whole', () => {
    test('it answers, and counts its records', async () => {
      const { store } = given;
      await store.ping();
      await store.probe();
      await store.probe();
      expect(await store.size()).toBe(0);
      const log = {
        roomId: ROOM,
        roomVersion: '10',
        feed: 'remote',
        openedAt: 1,
        firstPosition: FIRST,
      } as const;
      await store.logs.open(log, { entries: [entry('$a')] });
      await store.devicePeeks.add(devicePeek(), 1);
      await store.inboundPeeks.put(inboundPeek(), FIRST, 1);
      await store.inboundPeeks.announceLater('gone.example', [{ roomId: ROOM, peekId: 'x' }], 1000);
      await store.outboundPeeks.put(outboundPeek());
      expect(await store.size()).toBe(2 + 1 + 2 + 1 + 1);
    });

    test('a listener may leave, may fail, and may call the store', async () => {
      const { store } = given;
      const calls: Promise<unknown>[] = [];
      // A room of its own: what earlier tests gave notice of may still arrive.
      const peek = outboundPeek({ roomId: '!listened' });
      const leave = store.subscribe(() => {
        throw new Error('a listener that fails on purpose');
      });
      const stop = store.subscribe((notice) => {
        if (notice.kind === 'outbound' && notice.roomId === peek.roomId) {
          calls.push(store.outboundPeeks.ofRoom(peek.roomId));
        }
      });
      await store.outboundPeeks.put(peek);
      await new Promise((done) => setTimeout(done, 20));
      expect(await Promise.all(calls)).toEqual([[peek]]);
      leave();
      stop();
      await store.outboundPeeks.put(peek);
      expect(calls).toHaveLength(1);
    });

    test('a closed store is down', async () => {
      const { store } = given;
      await store.close();
      await expect(store.ping()).rejects.toThrow(StoreDownError);
      await expect(store.probe()).rejects.toThrow(StoreDownError);
      await expect(store.logs.all()).rejects.toThrow(StoreDownError);
      await expect(store.outboundPeeks.put(outboundPeek())).rejects.toThrow(StoreDownError);
    });
  });
}
