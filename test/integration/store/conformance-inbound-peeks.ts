import { describe, expect, test } from 'vitest';
import { type Given, noticesOf } from './given.ts';
import { FIRST, inboundPeek, ODD_STRINGS, ROOM } from './samples.ts';

export function inboundPeekConformance(given: Given): void {
  const peeks = () => given.store.inboundPeeks;
  const { server, peekId } = inboundPeek();
  const cursorAt = (position: number, stopAt: number | null = null) => [
    { server, roomId: ROOM, position: FIRST + position, stopAt: stopAt === null ? null : FIRST + stopAt },
  ];

  describe('inbound peeks', () => {
    test('a peek is registered with a cursor', async () => {
      expect(await peeks().put(inboundPeek(), FIRST, 5)).toBe('created');
      expect(await peeks().get(server, ROOM, peekId)).toEqual(inboundPeek());
      expect(await peeks().get(server, ROOM, 'other')).toBeNull();
      expect(await peeks().ofRoom(ROOM)).toEqual([inboundPeek()]);
      expect(await peeks().ofServer(server)).toEqual([inboundPeek()]);
      expect(await peeks().all()).toEqual([inboundPeek()]);
      expect(await peeks().cursors()).toEqual(cursorAt(0));
      expect(await peeks().servers()).toEqual([server]);
      expect(await given.store.size()).toBe(2);
    });

    test('a renewal moves the times, not the cursor nor the beginning', async () => {
      await peeks().put(inboundPeek(), FIRST, 1);
      const renewal = inboundPeek({ createdAt: 3000, renewedAt: 3000, expiresAt: 9000 });
      expect(await peeks().put(renewal, FIRST + 50, 1)).toBe('renewed');
      expect(await peeks().get(server, ROOM, peekId)).toEqual({ ...renewal, createdAt: 1000 });
      expect(await peeks().cursorsOf(server)).toEqual(cursorAt(0));
    });

    test('a server holds no more peeks than its limit', async () => {
      const added = await Promise.all(
        Array.from({ length: 12 }, (_, n) =>
          peeks().put(inboundPeek({ roomId: `!${n % 4}`, peekId: `p${n}` }), 1, 5),
        ),
      );
      expect(added.filter((one) => one === 'created')).toHaveLength(5);
      expect(added.filter((one) => one === 'full')).toHaveLength(7);
      expect(await peeks().ofServer(server)).toHaveLength(5);
      expect(await peeks().put(inboundPeek({ server: 'second.example' }), 1, 5)).toBe('created');
    });

    test('a refused peek leaves no cursor', async () => {
      expect(await peeks().put(inboundPeek(), FIRST, 0)).toBe('full');
      expect(await peeks().cursors()).toEqual([]);
      expect(await peeks().ofRoom(ROOM)).toEqual([]);
      expect(await given.store.size()).toBe(0);
    });

    test('several peeks of a server in a room share one cursor, which goes with the last', async () => {
      await peeks().put(inboundPeek(), FIRST, 5);
      await peeks().put(inboundPeek({ peekId: 'second' }), FIRST + 9, 5);
      expect(await peeks().cursors()).toEqual(cursorAt(0));
      expect(await peeks().remove(server, ROOM, peekId)).toBe(true);
      expect(await peeks().remove(server, ROOM, peekId)).toBe(false);
      expect(await peeks().cursors()).toEqual(cursorAt(0));
      expect(await peeks().remove(server, ROOM, 'second')).toBe(true);
      expect(await peeks().cursors()).toEqual([]);
      expect(await peeks().servers()).toEqual([]);
      expect(await given.store.size()).toBe(0);
    });

    test('a cursor that owes events goes on to there and is removed', async () => {
      await peeks().put(inboundPeek(), FIRST, 5);
      await peeks().remove(server, ROOM, peekId, FIRST + 10);
      expect(await peeks().cursors()).toEqual(cursorAt(0, 10));
      expect(await peeks().advance(server, ROOM, FIRST + 4)).toBe(false);
      expect(await peeks().cursors()).toEqual(cursorAt(4, 10));
      expect(await peeks().cursor(server, ROOM)).toEqual(cursorAt(4, 10)[0]);
      expect(await peeks().servers()).toEqual([server]);
      expect(await peeks().advance(server, ROOM, FIRST + 10)).toBe(true);
      expect(await peeks().advance(server, ROOM, FIRST + 11)).toBe(false);
      expect(await peeks().cursor(server, ROOM)).toBeNull();
      expect(await peeks().cursors()).toEqual([]);
      expect(await given.store.size()).toBe(0);
    });

    test('a cursor that owes nothing goes with the peek', async () => {
      await peeks().put(inboundPeek(), FIRST, 5);
      await peeks().advance(server, ROOM, FIRST + 3);
      await peeks().remove(server, ROOM, peekId, FIRST + 3);
      expect(await peeks().cursors()).toEqual([]);
    });

    test('a new peek takes over the cursor that was to stop', async () => {
      await peeks().put(inboundPeek(), FIRST, 5);
      await peeks().remove(server, ROOM, peekId, FIRST + 10);
      expect(await peeks().put(inboundPeek({ peekId: 'second' }), FIRST + 20, 5)).toBe('created');
      expect(await peeks().cursors()).toEqual(cursorAt(0));
      await peeks().advance(server, ROOM, FIRST + 11);
      expect(await peeks().cursors()).toEqual(cursorAt(11));
    });

    test('a cursor never moves back', async () => {
      await peeks().put(inboundPeek(), FIRST, 5);
      await Promise.all([3, 8, 5, 1].map((n) => peeks().advance(server, ROOM, FIRST + n)));
      expect(await peeks().cursors()).toEqual(cursorAt(8));
      await peeks().advance('none.example', ROOM, FIRST);
      await peeks().advance(server, '!none', FIRST);
      expect(await peeks().cursors()).toEqual(cursorAt(8));
    });

    test('peeks are counted, found when they are due, and rooms by whether anybody has a cursor there', async () => {
      const ends = [5000, 3000, 4000].entries();
      for (const [n, expiresAt] of ends)
        await peeks().put(inboundPeek({ peekId: `p${n}`, expiresAt }), FIRST, 5);
      await peeks().put(inboundPeek({ server: 'other.example', expiresAt: 9000 }), FIRST, 5);
      expect([...(await peeks().countByServer())].toSorted()).toEqual(
        [
          [server, 3],
          ['other.example', 1],
        ].toSorted(),
      );
      await peeks().remove('other.example', ROOM, inboundPeek().peekId);
      expect((await peeks().due(4000, 10)).map((peek) => peek.peekId).toSorted()).toEqual(['p1', 'p2']);
      expect(await peeks().due(4000, 1)).toHaveLength(1);
      expect(await peeks().due(2999, 10)).toEqual([]);
      expect(await peeks().hasCursors('!none')).toBe(false);
      for (let n = 0; n < 3; n++) {
        expect(await peeks().hasCursors(ROOM)).toBe(true);
        await peeks().remove(server, ROOM, `p${n}`, FIRST + 5);
      }
      expect((await peeks().countByServer()).get(server) ?? 0).toBe(0);
      expect(await peeks().hasCursors(ROOM)).toBe(true);
      await peeks().advance(server, ROOM, FIRST + 5);
      expect(await peeks().hasCursors(ROOM)).toBe(false);
    });

    test('cursors of many servers that move at the same time each move on their own', async () => {
      const servers = Array.from({ length: 20 }, (_, n) => `s${n}.example`);
      for (const each of servers) await peeks().put(inboundPeek({ server: each }), FIRST, 5);
      await peeks().remove('s7.example', ROOM, peekId, FIRST + 7);
      const ended = await Promise.all(servers.map((each, n) => peeks().advance(each, ROOM, FIRST + n)));
      expect(ended).toEqual(servers.map((each) => each === 's7.example'));
      const left = servers.flatMap((each, n) => (n === 7 ? [] : [[each, FIRST + n]]));
      const cursors = (await peeks().cursors()).map((cursor) => [cursor.server, cursor.position]);
      expect(new Map(cursors as [string, number][])).toEqual(new Map(left as [string, number][]));
    });

    test('evicted peeks are kept until they have been announced', async () => {
      const [a, b] = [
        { roomId: ROOM, peekId: 'a' },
        { roomId: ROOM, peekId: 'b' },
      ];
      await peeks().announceLater(server, [a, b], 1000);
      await peeks().announceLater(server, [a], 2000);
      await peeks().announceLater(server, [], 2000);
      expect((await peeks().toAnnounce(server)).sort((x, y) => x.peekId.localeCompare(y.peekId))).toEqual([
        a,
        b,
      ]);
      expect(await peeks().servers()).toEqual([server]);
      await peeks().announced(server, [a]);
      expect(await peeks().toAnnounce(server)).toEqual([b]);
      await peeks().announced(server, [b, a]);
      expect(await peeks().servers()).toEqual([]);
      expect(await given.store.size()).toBe(0);
    });

    test('announcements noted too long ago are dropped, for every server', async () => {
      const named = (id: string) => ({ roomId: ROOM, peekId: id });
      await peeks().announceLater(server, [named('a'), named('b')], 1000);
      await peeks().announceLater(server, [named('a'), named('c')], 3000);
      await peeks().announceLater('other.example', [named('a')], 2000);
      await peeks().dropAnnouncements(999);
      expect(await peeks().toAnnounce(server)).toHaveLength(3);
      await peeks().dropAnnouncements(2000);
      expect(await peeks().toAnnounce(server)).toEqual([named('c')]);
      expect(await peeks().servers()).toEqual([server]);
      await peeks().dropAnnouncements(3000);
      expect(await given.store.size()).toBe(0);
    });

    test('a peek that comes again before its end was announced is not announced', async () => {
      await peeks().announceLater(server, [{ roomId: ROOM, peekId }], 1000);
      await peeks().put(inboundPeek(), FIRST, 5);
      expect(await peeks().toAnnounce(server)).toEqual([]);
    });

    test('putting and removing give notice of the server and the room', async () => {
      const notice = { kind: 'inbound', server, roomId: ROOM };
      const remove = () => peeks().remove(server, ROOM, peekId);
      expect(await noticesOf(given.store, () => peeks().put(inboundPeek(), FIRST, 5))).toEqual([notice]);
      expect(await noticesOf(given.store, remove)).toEqual([notice]);
      expect(await noticesOf(given.store, remove)).toEqual([]);
    });

    test('servers and rooms may be named anything', async () => {
      for (const odd of ODD_STRINGS) {
        for (const roomId of [odd, `${odd}/`, `${odd}x`]) {
          await peeks().put(inboundPeek({ server: odd, roomId, peekId: '$a=b/!' }), FIRST, 100);
        }
      }
      for (const odd of ODD_STRINGS) {
        const peek = inboundPeek({ server: odd, roomId: odd, peekId: '$a=b/!' });
        expect(await peeks().ofRoom(odd)).toEqual([peek]);
        expect(await peeks().ofServer(odd)).toHaveLength(3);
        expect(await peeks().cursorsOf(odd)).toHaveLength(3);
        await peeks().announceLater(odd, [peek], 1000);
        expect(await peeks().toAnnounce(odd)).toEqual([{ roomId: odd, peekId: '$a=b/!' }]);
        await peeks().announced(odd, [peek]);
        for (const roomId of [odd, `${odd}/`, `${odd}x`]) await peeks().remove(odd, roomId, peek.peekId);
      }
      expect(await given.store.size()).toBe(0);
    });
  });
}
