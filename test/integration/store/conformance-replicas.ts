import { describe, expect, test } from 'vitest';
import type { StoredEvent } from '../../../src/store/store.ts';
import type { Given } from './given.ts';
import { entry, FIRST, ODD_STRINGS, ROOM, stateEvent } from './samples.ts';

const byId = (events: readonly StoredEvent[]) => events.map((event) => event.eventId).sort();

export function replicaConformance(given: Given): void {
  describe('replicas', () => {
    const name = stateEvent('$name', 'm.room.name', '');
    const alice = stateEvent('$alice', 'm.room.member', '@alice:example.org');
    const create = stateEvent('$create', 'm.room.create', '');

    test('a room that has none has an empty one', async () => {
      expect(await given.store.replicas.state(ROOM)).toEqual([]);
      expect(await given.store.replicas.stateOf(ROOM, [['m.room.name', '']])).toEqual([]);
      expect(await given.store.replicas.event(ROOM, '$name')).toBeNull();
    });

    test('adding replaces the keys of the state and keeps the rest', async () => {
      await given.store.replicas.add(ROOM, [name, alice], [create]);
      const renamed = stateEvent('$name2', 'm.room.name', '');
      await given.store.replicas.add(ROOM, [renamed], []);
      expect(byId(await given.store.replicas.state(ROOM))).toEqual(['$alice', '$name2']);
      expect(await given.store.replicas.event(ROOM, '$name')).toBeNull();
      expect(await given.store.replicas.event(ROOM, '$create')).toEqual(create);
    });

    test('adding the same event again changes nothing', async () => {
      await given.store.replicas.add(ROOM, [name], [create]);
      await given.store.replicas.add(ROOM, [name], [create]);
      expect(await given.store.replicas.state(ROOM)).toEqual([name]);
      expect(await given.store.replicas.event(ROOM, '$name')).toEqual(name);
      expect(await given.store.size()).toBe(2);
    });

    test('replacing leaves only what is given', async () => {
      await given.store.replicas.add(ROOM, [name, alice], [create]);
      await given.store.replicas.replace(ROOM, [alice], []);
      expect(await given.store.replicas.state(ROOM)).toEqual([alice]);
      expect(await given.store.replicas.event(ROOM, '$create')).toBeNull();
      await given.store.replicas.replace(ROOM, [], []);
      expect(await given.store.size()).toBe(0);
    });

    test('a large replica is replaced in one step', async () => {
      const members = (round: number) =>
        Array.from({ length: 5000 }, (_, n) => stateEvent(`$${round}-${n}`, 'm.room.member', `@${n}:x`));
      await given.store.replicas.replace(ROOM, members(1), members(0));
      const [, seen] = await Promise.all([
        given.store.replicas.replace(ROOM, members(2), []),
        given.store.replicas.state(ROOM),
      ]);
      expect(seen).toHaveLength(5000);
      expect(new Set(seen.map((event) => event.eventId.split('-')[0])).size).toBe(1);
      expect(await given.store.size()).toBe(5000);
    });

    describe('a large one', () => {
      const members = (round: number, count = 1300) =>
        Array.from({ length: count }, (_, n) => stateEvent(`$${round}-${n}`, 'm.room.member', `@${n}:x`));

      test('is read as it was, though it is replaced, dropped or added to meanwhile', async () => {
        const { replicas } = given.store;
        for (const change of [
          () => replicas.replace(ROOM, members(2), members(2)),
          () => replicas.add(ROOM, members(3, 700), []),
          () => replicas.drop(ROOM),
        ]) {
          await replicas.replace(ROOM, members(1), members(0));
          const [seen] = await Promise.all([replicas.state(ROOM), change()]);
          const keys = new Set(seen.map(({ stateKey }) => stateKey));
          expect(seen.length).toBe(keys.size);
          expect([0, 1300]).toContain(seen.length);
        }
        expect(await given.store.size()).toBe(0);
      });

      test('replaces it: what is added meanwhile goes with the one before', async () => {
        const { replicas } = given.store;
        await replicas.add(ROOM, [name], []);
        await Promise.all([replicas.replace(ROOM, members(1), [create]), replicas.add(ROOM, [alice], [])]);
        expect(byId(await replicas.state(ROOM))).toEqual(byId(members(1)));
        expect(await replicas.event(ROOM, '$create')).toEqual(create);
      });

      test('written twice at once is one of the two', async () => {
        const { replicas } = given.store;
        await Promise.all([1, 2].map((round) => replicas.replace(ROOM, members(round), members(round))));
        const rounds = new Set((await replicas.state(ROOM)).map(({ eventId }) => eventId.split('-')[0]));
        expect(rounds.size).toBe(1);
        expect(await given.store.size()).toBe(2600);
      });

      test('that was dropped is gone at once, and a new one may come at once', async () => {
        const { replicas } = given.store;
        await replicas.replace(ROOM, members(1), members(0));
        await replicas.drop(ROOM);
        expect(await given.store.size()).toBe(0);
        expect(await replicas.event(ROOM, '$1-7')).toBeNull();
        await replicas.add(ROOM, [name], []);
        await replicas.add('!other:x', members(2, 3), []);
        expect(await replicas.state(ROOM)).toEqual([name]);
        expect(await given.store.size()).toBe(4);
      });
    });

    test('the state of one type is read in slices, each event once', async () => {
      const members = Array.from({ length: 1201 }, (_, n) => stateEvent(`$${n}`, 'm.room.member', `@${n}:x`));
      const others = ODD_STRINGS.map((odd, n) => stateEvent(`$odd${n}`, 'm.odd', odd));
      const keyless = stateEvent('$keyless', 'm.odd', '');
      await given.store.replicas.add(ROOM, [name, keyless, ...members, ...others], [create]);
      const read = async (type: string, room = ROOM) => {
        const slices = [];
        for await (const slice of given.store.replicas.stateOfType(room, type)) slices.push(slice);
        return slices;
      };
      const slices = await read('m.room.member');
      expect(slices.length).toBeGreaterThan(2);
      expect(Math.max(...slices.map(({ length }) => length))).toBeLessThan(1000);
      expect(byId(slices.flat())).toEqual(byId(members));
      expect(byId((await read('m.odd')).flat())).toEqual(byId([keyless, ...others]));
      expect(await read('m.room.topic')).toEqual([]);
      expect(await read('m.room.member', '!none')).toEqual([]);
    });

    test('state is read by keys, those that are missing left out', async () => {
      await given.store.replicas.add(ROOM, [name, alice], []);
      const keys = [
        ['m.room.member', '@alice:example.org'],
        ['m.room.topic', ''],
        ['m.room.name', ''],
      ] as const;
      expect(byId(await given.store.replicas.stateOf(ROOM, keys))).toEqual(['$alice', '$name']);
      expect(await given.store.replicas.stateOf(ROOM, [])).toEqual([]);
    });

    test('an event is found in the log, the state or the auth chain, the log first', async () => {
      await given.store.replicas.add(ROOM, [name], [create]);
      const logged = entry('$name', { type: 'm.room.name', stateKey: '', json: '{"amended":1}' });
      const log = {
        roomId: ROOM,
        roomVersion: '10',
        feed: 'remote',
        openedAt: 1,
        firstPosition: FIRST,
      } as const;
      await given.store.logs.open(log, { entries: [logged, entry('$message')] });
      expect(await given.store.replicas.event(ROOM, '$name')).toEqual({ ...name, json: '{"amended":1}' });
      const message = {
        eventId: '$message',
        type: 'm.room.message',
        stateKey: null,
        json: entry('$message').json,
      };
      expect(await given.store.replicas.event(ROOM, '$message')).toEqual(message);
      expect(await given.store.replicas.event(ROOM, '$create')).toEqual(create);
    });

    test('a dropped replica leaves the log', async () => {
      await given.store.replicas.add(ROOM, [name], [create]);
      const log = {
        roomId: ROOM,
        roomVersion: '10',
        feed: 'remote',
        openedAt: 1,
        firstPosition: FIRST,
      } as const;
      await given.store.logs.open(log, { entries: [entry('$a')] });
      await given.store.replicas.drop(ROOM);
      expect(await given.store.replicas.state(ROOM)).toEqual([]);
      expect(await given.store.replicas.event(ROOM, '$a')).not.toBeNull();
      expect(await given.store.size()).toBe(2);
    });

    test('rooms, event IDs, types and state keys may be any string', async () => {
      const events = ODD_STRINGS.map((odd) => stateEvent(odd, odd, odd));
      for (const odd of ODD_STRINGS) await given.store.replicas.add(odd, events, events);
      for (const odd of ODD_STRINGS) {
        expect(byId(await given.store.replicas.state(odd))).toEqual([...ODD_STRINGS].sort());
        expect(await given.store.replicas.stateOf(odd, [[odd, odd]])).toMatchObject([{ eventId: odd }]);
        expect((await given.store.replicas.event(odd, odd))?.stateKey).toBe(odd);
        await given.store.replicas.drop(odd);
      }
      expect(await given.store.size()).toBe(0);
    });
  });
}
