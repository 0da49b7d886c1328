import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { MatrixClient } from '../support/client.ts';
import { newUser } from './accounts.ts';
import { startFollowing } from './follower.ts';
import { homeserverState, idsOf, roomsNamed, sectionOf, stateAfter, timelineOf } from './rooms.ts';
import { forEachStore, type StoredPair } from './stores.ts';

/** Well below any long-poll of these tests. */
const AT_ONCE_MS = 3_000;

forEachStore((_store, { startPairOnStore }) => {
  let pair: StoredPair;
  let alice: MatrixClient;
  beforeAll(async () => {
    pair = await startPairOnStore();
    alice = await newUser(pair.a, 'alice');
  });
  afterAll(() => pair?.stop());

  describe.each(['a', 'b'] as const)('from site %s into rooms of site a', (where) => {
    const peeker = () => newUser(pair[where], 'bob');
    const peek = async (bob: MatrixClient, roomId: string) => {
      expect(await bob.peek(roomId, [pair.a.serverName])).toMatchObject({ status: 200 });
    };

    it('A since-less sync cancels delivered peeks only', async () => {
      const [stale, fresh] = [await alice.createWorldReadableRoom(), await alice.createWorldReadableRoom()];
      const bob = await peeker();
      const { follower } = await startFollowing(bob, stale, [pair.a.serverName]);
      await follower.untilEvent(await alice.sendText(stale, 'so the first section has come'));
      await follower.step(0);
      await peek(bob, fresh);

      const first = await bob.sync();
      expect(Object.keys(first.rooms.peek)).toEqual([fresh]);
      // Its answer was lost on its way: what is asked for again is there again.
      const again = await bob.sync();
      expect(Object.keys(again.rooms.peek)).toEqual([fresh]);

      await alice.sendText(stale, 'nobody reads this');
      const message = await alice.sendText(fresh, 'but this');
      const next = await bob.syncUntil(again.next_batch, ({ rooms }) => fresh in rooms.peek);
      expect(idsOf(timelineOf(sectionOf(next, 'peek', fresh)))).toEqual([message]);
      expect(roomsNamed(next)).toEqual([fresh]);
      expect(await bob.unpeek(fresh)).toMatchObject({ status: 200 });
    });

    it('Peek then first sync delivers', async () => {
      const roomId = await alice.createWorldReadableRoom();
      const bob = await peeker();
      await peek(bob, roomId);
      const first = await bob.sync();
      expect(stateAfter(sectionOf(first, 'peek', roomId))).toEqual(await homeserverState(alice, roomId));
      const message = await alice.sendText(roomId, 'next');
      const next = await bob.syncUntil(first.next_batch, ({ rooms }) => roomId in rooms.peek);
      expect(idsOf(timelineOf(sectionOf(next, 'peek', roomId)))).toEqual([message]);
    });

    it('A sync that wants no waiting gets none while an earlier poll goes on', async () => {
      const roomId = await alice.createWorldReadableRoom();
      const bob = await peeker();
      const { next_batch: since } = await bob.sync();
      await peek(bob, roomId);
      const long = await bob.sync({ since, timeout: 30_000 });
      sectionOf(long, 'peek', roomId);
      expect(long.answer.ms).toBeLessThan(AT_ONCE_MS);
      for (const timeout of [0, 500]) {
        const short = await bob.sync({ since: long.next_batch, timeout });
        expect(roomsNamed(short)).toEqual([]);
        expect(short.answer.ms).toBeLessThan(AT_ONCE_MS);
      }
    });
  });
});
