import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type MatrixClient, register } from '../support/client.ts';
import { startBareSynapse } from '../support/federation.ts';
import type { RunningSynapse } from '../support/synapse.ts';
import { newUser } from './accounts.ts';
import { startFollowing } from './follower.ts';
import { metric, peekCounts } from './metrics.ts';
import {
  homeserverState,
  homeserverTimeline,
  idsOf,
  roomsNamed,
  sectionOf,
  stateAfter,
  stateOf,
  timelineOf,
} from './rooms.ts';
import { forEachStore, type StoredPair } from './stores.ts';
import { until } from './until.ts';

forEachStore((_store, { startPairOnStore }) => {
  let pair: StoredPair;
  let third: RunningSynapse;
  let alice: MatrixClient;
  beforeAll(async () => {
    [pair, third] = await Promise.all([startPairOnStore(), startBareSynapse('c')]);
    alice = await newUser(pair.a, 'alice');
  });
  afterAll(() => Promise.all([pair?.stop(), third?.stop()]));

  describe.each(['alias', 'ID with server_name'])('by %s', (by) => {
    it('Users can peek over federation', async () => {
      const name = `lobby-${Date.now()}`;
      const roomId = await alice.createWorldReadableRoom({ name: 'The lobby', room_alias_name: name });
      const dave = await newUser(pair.a, 'dave');
      await dave.join(roomId);
      for (let i = 1; i <= 25; i++) await dave.sendText(roomId, `message ${i}`);
      await alice.sendState(roomId, 'm.room.topic', { topic: 'Set last' });

      const bob = await newUser(pair.b, 'bob');
      const before = await bob.sync();
      const peeked =
        by === 'alias'
          ? await bob.peek(`#${name}:${pair.a.serverName}`)
          : await bob.peek(roomId, [pair.a.serverName]);
      expect(peeked).toMatchObject({ status: 200, body: { room_id: roomId } });

      const sync = await bob.sync({ since: before.next_batch, timeout: 10_000 });
      expect(sync.rooms.join).toEqual({});
      const room = sectionOf(sync, 'peek', roomId);
      const shown = idsOf(timelineOf(room));
      expect(shown.length).toBeGreaterThanOrEqual(20);
      expect(shown).toEqual(idsOf(await homeserverTimeline(alice, roomId, shown.length)));
      expect(room.timeline).toMatchObject({ limited: true, prev_batch: expect.stringMatching(/./) });
      expect(idsOf(stateOf(room)).filter((id) => shown.includes(id))).toEqual([]);
      expect(stateAfter(room)).toEqual(await homeserverState(alice, roomId));

      const next = await alice.sendText(roomId, 'after the peek');
      const update = await bob.syncUntil(sync.next_batch, ({ rooms }) => roomId in rooms.peek);
      expect(idsOf(timelineOf(sectionOf(update, 'peek', roomId)))).toEqual([next]);
    });
  });

  it('The peeking server gets all events of the room, in order, and none after the peek ends', async () => {
    const [roomId, otherRoom] = [
      await alice.createWorldReadableRoom(),
      await alice.createWorldReadableRoom(),
    ];
    const carol = await register(third.url, `carol-${Date.now()}`);
    await carol.join(roomId, [pair.a.serverName]);
    const bob = await newUser(pair.b, 'bob');
    const { follower } = await startFollowing(bob, roomId, [pair.a.serverName]);
    const dora = await newUser(pair.b, 'dora');
    const other = (await startFollowing(dora, otherRoom, [pair.a.serverName])).follower;

    const start = await alice.sync();
    const lane = async (sender: MatrixClient) => {
      const sent: string[] = [];
      for (let i = 1; i <= 10; i++) sent.push(await sender.sendText(roomId, `${sender.userId} ${i}`));
      sent.push(await sender.redact(roomId, sent[0] ?? ''));
      return sent;
    };
    const [ofAlice, ofCarol] = await Promise.all([lane(alice), lane(carol)]);
    const topic = await alice.sendState(roomId, 'm.room.topic', { topic: 'Now' });
    // What one homeserver sent last need not be what arrives last at the other.
    const all = [...ofAlice, ...ofCarol, topic];
    for (const id of all) await follower.untilEvent(id);

    const filter = { room: { timeline: { limit: 200 } } };
    const seen = await alice.sync({ since: start.next_batch, filter });
    const order = idsOf(timelineOf(sectionOf(seen, 'join', roomId))).filter((id) => all.includes(id));
    expect(order).toHaveLength(all.length);
    expect(follower.ids).toEqual(order);
    expect(follower.gaps).toBe(0);

    const { inbound } = await peekCounts(pair.a);
    expect(await bob.unpeek(roomId)).toMatchObject({ status: 200 });
    await until('the peek is let go', async () => (await peekCounts(pair.a)).inbound === inbound - 1);
    await follower.untilEnded();
    const [transactions, appended] = ['received_transactions_total', 'log_appended_total'];
    const before = {
      transactions: await metric(pair.b, transactions),
      appended: await metric(pair.b, appended),
    };
    for (const sender of [alice, carol]) await sender.sendText(roomId, 'nobody of B reads this');
    await other.untilEvent(await alice.sendText(otherRoom, 'but this'));
    expect(await metric(pair.b, transactions)).toBe(before.transactions + 1);
    expect(await metric(pair.b, appended)).toBe(before.appended + 1);
    expect(roomsNamed(await follower.step(0))).toEqual([]);
  });
});
