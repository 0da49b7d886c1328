import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { MatrixClient } from '../support/client.ts';
import { furtherDevice, newUser } from './accounts.ts';
import { startFollowing } from './follower.ts';
import { metric } from './metrics.ts';
import { homeserverState, idsOf, roomsNamed, sectionOf, stateAfter, timelineOf } from './rooms.ts';
import { forEachStore, type StoredPair } from './stores.ts';
import { until } from './until.ts';

forEachStore((_store, { startPairOnStore }) => {
  let pair: StoredPair;
  let alice: MatrixClient;
  beforeAll(async () => {
    pair = await startPairOnStore();
    alice = await newUser(pair.a, 'alice');
  });
  afterAll(() => pair?.stop());

  it('Local users can peek into world_readable rooms by room ID', async () => {
    const roomId = await alice.createWorldReadableRoom({ name: 'By ID' });
    const message = await alice.sendText(roomId, 'before the peek');
    const bob = await newUser(pair.a, 'bob');
    const before = await bob.sync();

    const peeked = await bob.peek(roomId);
    expect(peeked).toMatchObject({ status: 200, body: { room_id: roomId } });
    expect(peeked.body.peek_expiry_ts).toBeGreaterThan(Date.now());

    const sync = await bob.sync({ since: before.next_batch, timeout: 10_000 });
    const room = sectionOf(sync, 'peek', roomId);
    expect(stateAfter(room)).toEqual(await homeserverState(alice, roomId));
    expect(idsOf(timelineOf(room)).at(-1)).toBe(message);
    expect(room.timeline).toMatchObject({
      limited: expect.any(Boolean),
      prev_batch: expect.stringMatching(/./),
    });
    expect(sync.rooms.join).toEqual({});

    const next = await alice.sendText(roomId, 'after the peek');
    const update = await bob.syncUntil(sync.next_batch, ({ rooms }) => roomId in rooms.peek);
    expect(idsOf(timelineOf(sectionOf(update, 'peek', roomId)))).toEqual([next]);
  });

  it('Local users can peek into world_readable rooms by room alias', async () => {
    const name = `lobby-${Date.now()}`;
    const roomId = await alice.createWorldReadableRoom({ room_alias_name: name });
    const bob = await newUser(pair.a, 'bob');
    const before = await bob.sync();

    const peeked = await bob.peek(`#${name}:${pair.a.serverName}`);
    expect(peeked).toMatchObject({ status: 200, body: { room_id: roomId } });

    const sync = await bob.sync({ since: before.next_batch, timeout: 10_000 });
    expect(stateAfter(sectionOf(sync, 'peek', roomId))).toEqual(await homeserverState(alice, roomId));
  });

  it('Peeked rooms only turn up in the sync for the device who peeked them', async () => {
    const roomId = await alice.createWorldReadableRoom();
    const bob = await newUser(pair.a, 'bob');
    const others = [await furtherDevice(bob), await newUser(pair.a, 'carol')];
    const starts = await Promise.all(others.map((other) => other.sync()));

    const { follower, first } = await startFollowing(bob, roomId);
    expect(first.rooms.peek).toHaveProperty([roomId]);
    await follower.untilEvent(await alice.sendText(roomId, 'for the device that peeks'));

    for (const [i, other] of others.entries()) {
      const since = starts[i]?.next_batch ?? '';
      expect(roomsNamed(await other.sync({ since }))).toEqual([]);
      expect(roomsNamed(await other.sync())).toEqual([]);
    }
  });

  it('Users can unpeek', async () => {
    const roomId = await alice.createWorldReadableRoom();
    const bob = await newUser(pair.a, 'bob');
    const { follower } = await startFollowing(bob, roomId);

    expect(await bob.unpeek(roomId)).toMatchObject({ status: 200, body: {} });
    const told = await follower.step();
    expect(told.rooms.leave).toHaveProperty([roomId]);
    expect(told.rooms.peek).toEqual({});

    await alice.sendText(roomId, 'bob does not read this');
    expect(roomsNamed(await follower.step(0))).toEqual([]);

    const again = await bob.unpeek(roomId);
    expect(again).toMatchObject({ status: 400, body: { errcode: 'M_BAD_STATE' } });
    const unknown = await bob.unpeek(`!nowhere:${pair.a.serverName}`);
    expect(unknown).toMatchObject({ status: 404, body: { errcode: 'M_NOT_FOUND' } });
  });

  for (const visibility of ['shared', 'invited', 'joined']) {
    it(`We can't peek into rooms with ${visibility} history_visibility`, async () => {
      const roomId = await alice.createRoom({
        preset: 'public_chat',
        initial_state: [
          { type: 'm.room.history_visibility', state_key: '', content: { history_visibility: visibility } },
        ],
      });
      for (const site of [pair.a, pair.b]) {
        const bob = await newUser(site, 'bob');
        const refused = await bob.peek(roomId, [pair.a.serverName]);
        expect(refused).toMatchObject({ status: 403, body: { errcode: 'M_FORBIDDEN' } });
        expect(roomsNamed(await bob.sync())).toEqual([]);
      }
    });
  }

  it('Peeking an unknown room gives the right error', async () => {
    for (const site of [pair.a, pair.b]) {
      const bob = await newUser(site, 'bob');
      const via = [pair.a.serverName];
      for (const unknown of [
        `!nowhere:${pair.a.serverName}`,
        `!${'A'.repeat(43)}`,
        `#nowhere:${pair.a.serverName}`,
      ]) {
        const answer = await bob.peek(unknown, via);
        expect([unknown, answer.status, answer.body.errcode]).toEqual([unknown, 404, 'M_NOT_FOUND']);
      }
      const neither = await bob.peek('nowhere', via);
      expect(neither).toMatchObject({ status: 400, body: { errcode: 'M_INVALID_PARAM' } });
    }
  });

  describe.each(['a', 'b'] as const)('from site %s into a room of site a', (where) => {
    const peeker = () => newUser(pair[where], 'bob');

    it('A waiting sync is woken by an event in a peeked room', async () => {
      const roomId = await alice.createWorldReadableRoom();
      const bob = await peeker();
      const { follower } = await startFollowing(bob, roomId, [pair.a.serverName]);
      await follower.step(0);

      const series = 'sync_requests_total{kind="peeking"';
      const before = await metric(pair[where], series);
      const waiting = bob.sync({ since: follower.since, timeout: 30_000 });
      waiting.catch(() => {});
      await until('the poll is held', async () => (await metric(pair[where], series)) > before);
      const sent = performance.now();
      const message = await alice.sendText(roomId, 'wake up');
      const answer = await waiting;
      expect(performance.now() - sent).toBeLessThan(5_000);
      expect(idsOf(timelineOf(sectionOf(answer, 'peek', roomId)))).toEqual([message]);
    });

    it.each([
      ['A room that closes', 'm.room.history_visibility', { history_visibility: 'joined' }],
      ['A room that turns encrypted', 'm.room.encryption', { algorithm: 'm.megolm.v1.aes-sha2' }],
    ])('%s ends its peeks at that event', async (_what, type, content) => {
      const roomId = await alice.createWorldReadableRoom();
      const bob = await peeker();
      const { follower } = await startFollowing(bob, roomId, [pair.a.serverName]);

      const last = await alice.sendText(roomId, 'the last that all may read');
      const closing = await alice.sendState(roomId, type, content);
      await alice.sendText(roomId, 'among ourselves');
      await follower.untilEnded();
      expect(follower.ids).toEqual([last, closing]);

      await alice.sendText(roomId, 'still among ourselves');
      expect(roomsNamed(await follower.step(0))).toEqual([]);
      const refused = await bob.peek(roomId, [pair.a.serverName]);
      expect(refused).toMatchObject({ status: 403, body: { errcode: 'M_FORBIDDEN' } });
    });
  });
});
