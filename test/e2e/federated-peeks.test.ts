import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { enc, type Json, type MatrixClient, register } from '../support/client.ts';
import { startBareSynapse } from '../support/federation.ts';
import type { RunningSynapse } from '../support/synapse.ts';
import { newUser } from './accounts.ts';
import { authorizationOf, sendBytes } from './federation-requests.ts';
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
    it('Users can peek into world-readable remote rooms', async () => {
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

  it('Users can re-peek into world-readable remote rooms', async () => {
    const roomId = await alice.createWorldReadableRoom();
    const bob = await newUser(pair.b, 'bob');
    const via = [pair.a.serverName];
    const { inbound } = await peekCounts(pair.a);
    const { follower } = await startFollowing(bob, roomId, via);
    expect(await bob.peek(roomId, via)).toMatchObject({ status: 200, body: { room_id: roomId } });
    expect((await peekCounts(pair.a)).inbound).toBe(inbound + 1);
    await follower.untilEvent(await alice.sendText(roomId, 'renewed'));

    expect(await bob.unpeek(roomId)).toMatchObject({ status: 200 });
    await until('the peek is let go', async () => (await peekCounts(pair.a)).inbound === inbound);
    await alice.sendText(roomId, 'while nobody of B looked');
    const again = (await startFollowing(bob, roomId, via)).follower;
    expect((await peekCounts(pair.a)).inbound).toBe(inbound + 1);
    await again.untilEvent(await alice.sendText(roomId, 'and again'));
  });

  it('Users cannot peek into remote rooms with non-world-readable history visibility', async () => {
    const roomId = await alice.createRoom({ preset: 'public_chat' });
    const bob = await newUser(pair.b, 'bob');
    const before = await peekCounts(pair.a);
    const refused = await bob.peek(roomId, [pair.a.serverName]);
    expect(refused).toMatchObject({ status: 403, body: { errcode: 'M_FORBIDDEN' } });
    expect(await peekCounts(pair.a)).toEqual(before);
  });

  it("Remote peeks are cancelled if a room's history visibility changes to non-world-readable", async () => {
    const roomId = await alice.createWorldReadableRoom();
    const bob = await newUser(pair.b, 'bob');
    const { inbound } = await peekCounts(pair.a);
    const { follower } = await startFollowing(bob, roomId, [pair.a.serverName]);
    const closing = await alice.sendState(roomId, 'm.room.history_visibility', {
      history_visibility: 'shared',
    });
    await alice.sendText(roomId, 'among ourselves');
    await follower.untilEnded();
    expect(follower.ids).toEqual([closing]);
    await until('A has let go of the peek', async () => (await peekCounts(pair.a)).inbound === inbound);
  });

  it('Joining a peeked remote room moves it atomically from peeked to joined rooms', async () => {
    const roomId = await alice.createWorldReadableRoom();
    const bob = await newUser(pair.b, 'bob');
    const { follower } = await startFollowing(bob, roomId, [pair.a.serverName]);
    const last = await alice.sendText(roomId, 'the last as a peeker');
    await follower.untilEvent(last);
    await bob.join(roomId);
    const joined = await bob.syncUntil(follower.since, ({ rooms }) => {
      expect(Object.keys(rooms.leave)).toEqual([]);
      return roomId in rooms.join;
    });
    expect(Object.keys(joined.rooms.peek)).toEqual([]);
    const next = await alice.sendText(roomId, 'the first as a member');
    const update = await bob.syncUntil(joined.next_batch, ({ rooms }) => roomId in rooms.join);
    expect(idsOf(timelineOf(sectionOf(update, 'join', roomId)))).toContain(next);
    expect(Object.keys(update.rooms.peek)).toEqual([]);
  });

  it('Peeking uses server_name to specify the peeking server', async () => {
    const carol = await register(third.url, `carol-${Date.now()}`);
    // Its ID names C, which cannot be peeked.
    const roomId = await carol.createWorldReadableRoom({ room_version: '11' });
    await alice.join(roomId, [third.serverName]);
    const bob = await newUser(pair.b, 'bob');
    const refused = await bob.peek(roomId);
    expect(refused).toMatchObject({ status: 502, body: { errcode: 'M_UNKNOWN' } });
    expect(refused.body.error).toContain(third.serverName);

    const { follower } = await startFollowing(bob, roomId, [pair.a.serverName]);
    await follower.untilEvent(await carol.sendText(roomId, 'through A'));
  });

  const put = async (roomId: string, peekId: string, ver: string, method = 'PUT') => {
    const uri = `/_matrix/federation/v1/peek/${enc(roomId)}/${peekId}?ver=${ver}`;
    const body = method === 'PUT' ? { content: {} } : {};
    const toSign = { method, uri, from: pair.b, to: pair.a.serverName, ...body };
    const authorization = await authorizationOf(toSign);
    const answer = await sendBytes(
      pair.a.url,
      method,
      uri,
      { authorization },
      method === 'PUT' ? '{}' : null,
    );
    return { ...answer, body: JSON.parse(answer.text) as Json };
  };

  it('Server implements PUT /peek over federation correctly', async () => {
    const roomId = await alice.createWorldReadableRoom({ room_version: '11' });
    await alice.sendText(roomId, 'the newest');
    const { inbound } = await peekCounts(pair.a);
    const answer = await put(roomId, 'abcDEF12', '11');
    expect(answer).toMatchObject({
      status: 200,
      body: {
        peek_id: 'abcDEF12',
        room_version: '11',
        renewal_interval: 3_600_000,
        auth_chain: expect.any(Array),
        latest_event: { type: 'm.room.message', content: { body: 'the newest' } },
      },
    });
    const state = answer.body.state as { type: string; state_key: string }[];
    const slots = state.map(({ type, state_key }) => `${type} ${state_key}`);
    expect(slots.toSorted()).toEqual([...(await homeserverState(alice, roomId)).keys()].toSorted());
    // The same again is a renewal.
    expect((await put(roomId, 'abcDEF12', '11')).status).toBe(200);
    expect((await peekCounts(pair.a)).inbound).toBe(inbound + 1);
  });

  it('Server implements DELETE /peek over federation correctly', async () => {
    const roomId = await alice.createWorldReadableRoom({ room_version: '11' });
    const { inbound } = await peekCounts(pair.a);
    expect((await put(roomId, 'abcDEF56', '11')).status).toBe(200);
    expect((await peekCounts(pair.a)).inbound).toBe(inbound + 1);
    expect(await put(roomId, 'abcDEF56', '11', 'DELETE')).toMatchObject({ status: 200, body: {} });
    expect((await peekCounts(pair.a)).inbound).toBe(inbound);
    const again = await put(roomId, 'abcDEF56', '11', 'DELETE');
    expect(again).toMatchObject({ status: 404, errcode: 'M_NOT_FOUND' });
  });

  it("Server can't peek into unknown room versions", async () => {
    const roomId = await alice.createWorldReadableRoom({ room_version: '11' });
    const { inbound } = await peekCounts(pair.a);
    const refused = await put(roomId, 'abcDEF34', '9&ver=10&ver=org.example.unknown');
    expect(refused).toMatchObject({
      status: 400,
      errcode: 'M_INCOMPATIBLE_ROOM_VERSION',
      body: { room_version: '11' },
    });
    expect((await peekCounts(pair.a)).inbound).toBe(inbound);
  });

  it("Can't peek if server-ACL'd", async () => {
    const roomId = await alice.createWorldReadableRoom();
    await alice.sendState(roomId, 'm.room.server_acl', {
      allow: ['*'],
      deny: ['localhost'],
    });
    const bob = await newUser(pair.b, 'bob');
    const refused = await bob.peek(roomId, [pair.a.serverName]);
    expect(refused).toMatchObject({ status: 403, body: { errcode: 'M_FORBIDDEN' } });
  });
});
