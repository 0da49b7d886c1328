import { describe, expect, test } from 'vitest';
import type { Append } from '../../../src/store/store.ts';
import { type Given, noticesOf } from './given.ts';
import { entry, FIRST, ODD_STRINGS, ROOM, stateEntry, stateEvent } from './samples.ts';

export function roomLogConformance(given: Given): void {
  const open = (first?: Append, roomId = ROOM, firstPosition = FIRST) =>
    given.store.logs.open({ roomId, roomVersion: '10', feed: 'remote', openedAt: 7, firstPosition }, first);
  const idsAt = async (after = 0) =>
    (await given.store.logs.read(ROOM, after, 100)).map((one) => [one.position - FIRST, one.eventId]);

  describe('room logs', () => {
    test('an empty log begins just before its first position', async () => {
      const log = await open();
      expect(log).toEqual({
        roomId: ROOM,
        roomVersion: '10',
        feed: 'remote',
        head: FIRST - 1,
        tail: FIRST,
        feedToken: null,
        needsCatchUp: false,
        closed: null,
        asleep: null,
        openedAt: 7,
      });
      expect(await given.store.logs.get(ROOM)).toEqual(log);
      expect(await given.store.logs.all()).toEqual([log]);
      expect(await given.store.logs.get('!other:example.org')).toBeNull();
    });

    test('a log is opened with its first entries, and as it is found the second time', async () => {
      const first = await open({ entries: [entry('$a'), entry('$b')], feedToken: 's1' });
      expect(first).toMatchObject({ head: FIRST + 1, tail: FIRST, feedToken: 's1' });
      const again = await open({ entries: [entry('$c')], feedToken: 's2' }, ROOM, FIRST + 1000);
      expect(again).toEqual(first);
      expect(await idsAt()).toEqual([
        [0, '$a'],
        [1, '$b'],
      ]);
    });

    test('entries come back as they were appended', async () => {
      await open();
      const hidden = entry('$b', { shown: false, replaces: '$a', stateKey: '', applied: true });
      const appended = await given.store.logs.append(ROOM, { entries: [entry('$a'), hidden] });
      expect(appended).toEqual([
        { ...entry('$a'), position: FIRST },
        { ...hidden, position: FIRST + 1 },
      ]);
      expect(await given.store.logs.read(ROOM, 0, 10)).toEqual(appended);
    });

    test('positions are consecutive and an event ID is held once', async () => {
      await open({ entries: [entry('$a')] });
      const appended = await given.store.logs.append(ROOM, {
        entries: [entry('$a'), entry('$b'), entry('$b'), entry('$c')],
      });
      expect(appended.map((one) => [one.position - FIRST, one.eventId])).toEqual([
        [1, '$b'],
        [2, '$c'],
      ]);
      expect(await given.store.logs.append(ROOM, { entries: [entry('$c')] })).toEqual([]);
      expect((await given.store.logs.get(ROOM))?.head).toBe(FIRST + 2);
    });

    test('many appends at once give each event one position and leave no hole', async () => {
      await open();
      const batches = Array.from({ length: 30 }, (_, n) => [entry(`$${n % 20}`), entry(`$own${n}`)]);
      await Promise.all(batches.map((entries) => given.store.logs.append(ROOM, { entries })));
      const held = await given.store.logs.read(ROOM, 0, 1000);
      expect(held.map((one) => one.position)).toEqual(Array.from({ length: 50 }, (_, n) => FIRST + n));
      expect(new Set(held.map((one) => one.eventId)).size).toBe(50);
    });

    test('a feed token is stored with the entries, or alone and then without a notice', async () => {
      await open();
      await given.store.logs.append(ROOM, { entries: [entry('$a')], feedToken: 's1' });
      const heard = await noticesOf(given.store, async () => {
        expect(await given.store.logs.append(ROOM, { entries: [], feedToken: 's2' })).toEqual([]);
        await given.store.logs.append(ROOM, { entries: [entry('$a')], feedToken: 's3' });
      });
      expect(await given.store.logs.get(ROOM)).toMatchObject({ head: FIRST, feedToken: 's3' });
      expect(heard).toEqual([]);
    });

    test('a closed log takes nothing', async () => {
      await open();
      const close = { reason: 'encrypted' };
      await given.store.logs.append(ROOM, { entries: [entry('$a')], close });
      expect(await given.store.logs.append(ROOM, { entries: [entry('$b')], feedToken: 's9' })).toEqual([]);
      const closed = { at: FIRST, reason: 'encrypted' };
      expect(await given.store.logs.get(ROOM)).toMatchObject({ head: FIRST, feedToken: null, closed });
      expect((await open()).closed).toEqual(closed);
    });

    test('a log that is not there takes nothing', async () => {
      expect(await given.store.logs.append(ROOM, { entries: [entry('$a')], feedToken: 's1' })).toEqual([]);
      expect(await given.store.logs.get(ROOM)).toBeNull();
      expect(await given.store.size()).toBe(0);
    });

    test('appending and closing wake readers', async () => {
      await open();
      const notice = { kind: 'log', roomId: ROOM };
      const append = (appended: Append) => () => given.store.logs.append(ROOM, appended);
      expect(await noticesOf(given.store, append({ entries: [entry('$a')] }))).toEqual([notice]);
      expect(await noticesOf(given.store, append({ entries: [], close: { reason: 'x' } }))).toEqual([notice]);
    });

    test('reading goes forward from a position, or back from one', async () => {
      await open({ entries: ['$0', '$1', '$2', '$3', '$4'].map((id) => entry(id)) });
      const forward = await given.store.logs.read(ROOM, FIRST + 1, 2);
      expect(forward.map((one) => one.eventId)).toEqual(['$2', '$3']);
      const back = async (upTo: number, limit: number) =>
        (await given.store.logs.readLast(ROOM, upTo, limit)).map((one) => one.eventId);
      expect(await back(FIRST + 3, 2)).toEqual(['$2', '$3']);
      expect(await back(Number.MAX_SAFE_INTEGER, 2)).toEqual(['$3', '$4']);
      expect(await back(FIRST + 1, 100)).toEqual(['$0', '$1']);
      expect(await back(FIRST - 1, 10)).toEqual([]);
      expect(await given.store.logs.read(ROOM, FIRST + 4, 10)).toEqual([]);
      expect(await given.store.logs.read(ROOM, 0, 0)).toEqual([]);
      expect(await given.store.logs.readLast('!none', FIRST, 10)).toEqual([]);
    });

    test('event IDs are looked up', async () => {
      await open({ entries: [entry('$a'), entry('$b')] });
      const found = await given.store.logs.positions(ROOM, ['$b', '$x', '$a']);
      expect([...found].sort()).toEqual([
        ['$a', FIRST],
        ['$b', FIRST + 1],
      ]);
      expect(await given.store.logs.positions(ROOM, [])).toEqual(new Map());
      expect(await given.store.logs.positions('!none', ['$a'])).toEqual(new Map());
    });

    test('a redaction is appended together with what it makes of the events that it names', async () => {
      const json = '{"redacted":true}';
      const topic = stateEntry('$topic', 'm.room.topic', '');
      const member = stateEvent('$member', 'm.room.member', '@a:b');
      await open({ entries: [topic], intoReplica: true });
      await given.store.replicas.add(ROOM, [], [member]);
      const amend = ['$topic', '$member', '$new', '$none'].map((eventId) => ({ eventId, json }));
      await given.store.logs.append(ROOM, { entries: [entry('$new'), entry('$redaction')], amend });
      expect(await given.store.logs.read(ROOM, 0, 10)).toEqual([
        { ...topic, json, position: FIRST },
        { ...entry('$new'), json, position: FIRST + 1 },
        { ...entry('$redaction'), position: FIRST + 2 },
      ]);
      expect(await given.store.replicas.state(ROOM)).toEqual([
        { ...stateEvent('$topic', 'm.room.topic', ''), json },
      ]);
      expect(await given.store.replicas.event(ROOM, '$member')).toEqual({ ...member, json });
      expect(await given.store.replicas.event(ROOM, '$none')).toBeNull();
      await given.store.logs.append('!none', { entries: [], amend });
      expect(await given.store.logs.all()).toHaveLength(1);
    });

    test('after a gap the first new event leaves out a position; what was before it stays', async () => {
      await open({ entries: [entry('$a'), entry('$b')] });
      const append = { entries: [entry('$b'), entry('$c'), entry('$d')], afterGap: true, needsCatchUp: true };
      expect((await given.store.logs.append(ROOM, append)).map((one) => one.position - FIRST)).toEqual([
        3, 4,
      ]);
      const log = { tail: FIRST, head: FIRST + 4, needsCatchUp: true };
      expect(await given.store.logs.get(ROOM)).toMatchObject(log);
      const all = [
        [0, '$a'],
        [1, '$b'],
        [3, '$c'],
        [4, '$d'],
      ];
      expect(await idsAt()).toEqual(all);
      const read = async (after: number, limit: number) =>
        (await given.store.logs.read(ROOM, FIRST + after, limit)).map((one) => one.eventId);
      const last = async (upTo: number, limit: number) =>
        (await given.store.logs.readLast(ROOM, FIRST + upTo, limit)).map((one) => one.eventId);
      expect([await read(0, 2), await read(1, 1), await read(2, 9)]).toEqual([
        ['$b', '$c'],
        ['$c'],
        ['$c', '$d'],
      ]);
      expect([await last(3, 2), await last(2, 1), await last(4, 3)]).toEqual([
        ['$b', '$c'],
        ['$b'],
        ['$b', '$c', '$d'],
      ]);
      expect(await given.store.logs.positions(ROOM, ['$b', '$c'])).toEqual(
        new Map([
          ['$b', FIRST + 1],
          ['$c', FIRST + 3],
        ]),
      );
      await given.store.logs.append(ROOM, { entries: [entry('$d')], afterGap: true });
      expect(await given.store.logs.get(ROOM)).toMatchObject(log);
      await given.store.logs.append(ROOM, { entries: [], needsCatchUp: false });
      expect(await given.store.logs.get(ROOM)).toMatchObject({ ...log, needsCatchUp: false });
    });

    test('a gap alone leaves out the position at the head, and readers are woken', async () => {
      await open({ entries: [entry('$a')] });
      const told = await noticesOf(given.store, async () => {
        expect(await given.store.logs.append(ROOM, { entries: [], afterGap: true })).toEqual([]);
      });
      expect(told).toContainEqual({ kind: 'log', roomId: ROOM });
      expect(await given.store.logs.get(ROOM)).toMatchObject({ tail: FIRST, head: FIRST + 1 });
      expect((await given.store.logs.readLast(ROOM, FIRST + 1, 1)).map((one) => one.eventId)).toEqual(['$a']);
      const [next] = await given.store.logs.append(ROOM, { entries: [entry('$b')] });
      expect(next?.position).toBe(FIRST + 2);
    });

    test('the feed of a log changes field by field', async () => {
      await open({ entries: [], feedToken: 's1' });
      await given.store.logs.setFeed(ROOM, { needsCatchUp: true });
      expect(await given.store.logs.get(ROOM)).toMatchObject({ needsCatchUp: true, feedToken: 's1' });
      await given.store.logs.setFeed(ROOM, { feed: 'resident', feedToken: null, needsCatchUp: false });
      const changed = { feed: 'resident', needsCatchUp: false, feedToken: null };
      expect(await given.store.logs.get(ROOM)).toMatchObject(changed);
      await given.store.logs.setFeed('!none', { feedToken: 's1' });
      expect(await given.store.logs.all()).toHaveLength(1);
    });

    test('a log falls asleep and wakes up, with the servers to peek through again', async () => {
      await open();
      const asleep = { via: ['remote.example', '__proto__', 'ünïcødé "{}"'] };
      await given.store.logs.setFeed(ROOM, { needsCatchUp: true, asleep });
      expect(await given.store.logs.get(ROOM)).toMatchObject({ needsCatchUp: true, asleep });
      await given.store.logs.setFeed(ROOM, { needsCatchUp: false });
      await given.store.logs.append(ROOM, { entries: [entry('$a')] });
      expect(await given.store.logs.all()).toMatchObject([{ needsCatchUp: false, asleep }]);
      await given.store.logs.setFeed(ROOM, { asleep: { via: [] } });
      expect(await given.store.logs.get(ROOM)).toMatchObject({ asleep: { via: [] } });
      await given.store.logs.setFeed(ROOM, { asleep: null });
      expect(await given.store.logs.get(ROOM)).toMatchObject({ asleep: null });
    });

    test('pruning moves the tail, never the head', async () => {
      await open({ entries: ['$0', '$1', '$2', '$3'].map((id) => entry(id)) });
      await given.store.logs.prune(ROOM, FIRST + 2);
      expect(await given.store.logs.get(ROOM)).toMatchObject({ tail: FIRST + 2, head: FIRST + 3 });
      expect(await idsAt()).toEqual([
        [2, '$2'],
        [3, '$3'],
      ]);
      expect((await given.store.logs.readLast(ROOM, FIRST + 2, 10)).map((one) => one.eventId)).toEqual([
        '$2',
      ]);
      await given.store.logs.prune(ROOM, FIRST);
      expect((await given.store.logs.get(ROOM))?.tail).toBe(FIRST + 2);
      expect(await given.store.logs.positions(ROOM, ['$1'])).toEqual(new Map());
      await given.store.logs.prune(ROOM, FIRST + 1000);
      expect(await given.store.logs.get(ROOM)).toMatchObject({ tail: FIRST + 4, head: FIRST + 3 });
      expect(await idsAt()).toEqual([]);
      expect(await given.store.logs.append(ROOM, { entries: [entry('$4')] })).toMatchObject([
        { position: FIRST + 4 },
      ]);
      await given.store.logs.prune('!none', FIRST);
      expect(await given.store.logs.all()).toHaveLength(1);
    });

    test('the bytes of some entries are told, and little more', async () => {
      const large = entry('$b', { json: JSON.stringify({ body: 'é'.repeat(5000) }) });
      await open({ entries: [entry('$a'), large, entry('$c')] });
      const bytes = (first: number, last: number) =>
        given.store.logs.bytes(ROOM, FIRST + first, FIRST + last);
      const sizes = [entry('$a'), large, entry('$c')].map(({ json }) => Buffer.byteLength(json));
      const [a = 0, b = 0, c = 0] = sizes;
      for (const [first, last, size] of [
        [1, 1, b],
        [0, 2, a + b + c],
        [-500, 0, a],
        [2, 500, c],
      ] as const) {
        expect(await bytes(first, last)).toBeGreaterThanOrEqual(size);
        expect(await bytes(first, last)).toBeLessThan(size + 500);
      }
      expect(await bytes(3, 500)).toBe(0);
      await given.store.logs.prune(ROOM, FIRST + 2);
      expect(await bytes(0, 2)).toBe(await bytes(2, 2));
      expect(await given.store.logs.bytes('!none', FIRST, FIRST + 500)).toBe(0);
    });

    test('a dropped log leaves nothing and may be opened again above its earlier self', async () => {
      await open({ entries: [stateEntry('$a', 'm.room.name', '')], intoReplica: true });
      await given.store.replicas.add(ROOM, [], [stateEvent('$create', 'm.room.create', '')]);
      await given.store.logs.drop(ROOM);
      expect(await given.store.logs.get(ROOM)).toBeNull();
      expect(await given.store.logs.all()).toEqual([]);
      expect(await given.store.replicas.state(ROOM)).toEqual([]);
      expect(await given.store.replicas.event(ROOM, '$create')).toBeNull();
      expect(await given.store.size()).toBe(0);
      const again = await open({ entries: [entry('$a')] }, ROOM, FIRST + 500);
      expect(again).toMatchObject({ head: FIRST + 500, tail: FIRST + 500, closed: null });
    });

    test('applied state events of a remote room replace their key in the replica', async () => {
      await open();
      await given.store.replicas.add(ROOM, [stateEvent('$old', 'm.room.name', '')], []);
      const lost = { ...stateEntry('$lost', 'm.room.name', ''), applied: false };
      const entries = [stateEntry('$new', 'm.room.name', '', '$old'), lost, entry('$message')];
      await given.store.logs.append(ROOM, { entries, intoReplica: true });
      expect(await given.store.replicas.state(ROOM)).toEqual([stateEvent('$new', 'm.room.name', '')]);
      await given.store.logs.append(ROOM, { entries: [stateEntry('$x', 'm.room.name', '')] });
      expect(await given.store.replicas.state(ROOM)).toEqual([stateEvent('$new', 'm.room.name', '')]);
    });

    test.each(ODD_STRINGS)('rooms, events and state keys may be named %j', async (odd) => {
      await open({ entries: [entry(odd, { type: odd, stateKey: odd, replaces: odd, applied: true })] }, odd);
      await open({ entries: [] }, `${odd}2`);
      const [held] = await given.store.logs.read(odd, 0, 10);
      expect(held).toMatchObject({ eventId: odd, type: odd, stateKey: odd, replaces: odd });
      expect([...(await given.store.logs.positions(odd, [odd]))]).toEqual([[odd, FIRST]]);
      expect((await given.store.logs.all()).map((log) => log.roomId).sort()).toEqual([odd, `${odd}2`].sort());
      await given.store.logs.drop(odd);
      await given.store.logs.drop(`${odd}2`);
      expect(await given.store.size()).toBe(0);
    });
  });
}
