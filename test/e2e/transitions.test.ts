import { afterAll, beforeAll, expect, it } from 'vitest';
import { type ClientEvent, enc, type MatrixClient, register } from '../support/client.ts';
import { newUser } from './accounts.ts';
import { Follower, startFollowing } from './follower.ts';
import { peekCounts } from './metrics.ts';
import { idsOf, sectionOf, timelineOf } from './rooms.ts';
import { forEachStore, type StoredPair } from './stores.ts';
import { until } from './until.ts';

forEachStore((store, { startPairOnStore }) => {
  let pair: StoredPair;
  let alice: MatrixClient;
  beforeAll(async () => {
    pair = await startPairOnStore();
    alice = await register(pair.a.synapse.url, 'alice');
  });
  afterAll(() => pair?.stop());

  /** A room of A that users of B peek, and a device of B that follows it. */
  async function peekedFromB(options = {}) {
    const roomId = await alice.createWorldReadableRoom(options);
    await alice.sendText(roomId, 'before');
    const [bob, dora] = [await newUser(pair.b, 'bob'), await newUser(pair.b, 'dora')];
    const via = [pair.a.serverName];
    const { follower } = await startFollowing(dora, roomId, via);
    const before = await bob.sync();
    expect(await bob.peek(roomId, via)).toMatchObject({ status: 200 });
    const first = await bob.sync({ since: before.next_batch, timeout: 10_000 });
    sectionOf(first, 'peek', roomId);
    return { roomId, follower, bob, since: first.next_batch, via };
  }

  /** The room's events after `from`, as its first member's homeserver has them. */
  async function after(roomId: string, from: string): Promise<readonly ClientEvent[]> {
    const seen = await alice.sync({ filter: { room: { timeline: { limit: 100 } } } });
    const events = timelineOf(sectionOf(seen, 'join', roomId));
    return events.slice(idsOf(events).indexOf(from) + 1);
  }

  /** Messages one after the other while `work` is done, and one more. */
  async function talkDuring(
    sender: MatrixClient,
    roomId: string,
    work: () => Promise<unknown>,
  ): Promise<string> {
    let done = false;
    const talking = (async () => {
      while (!done) await sender.sendText(roomId, 'meanwhile');
    })();
    await work().finally(() => {
      done = true;
    });
    await talking;
    return sender.sendText(roomId, 'the last for now');
  }

  it("Users of B join a remotely peeked room: other devices' peeks go on without gap; the last local user leaves: so they do again", async () => {
    const { roomId, follower, bob, since, via } = await peekedFromB();
    const mark = await alice.sendText(roomId, 'the first that is followed');
    await follower.untilEvent(mark);
    const joined = await talkDuring(alice, roomId, () => bob.join(roomId, via));
    await follower.untilEvent(joined);
    const own = await bob.syncUntil(since, ({ rooms }) => roomId in rooms.join);
    expect(own.rooms.peek).toEqual({});
    expect(own.rooms.leave).toEqual({});
    await until('the peek at A is let go', async () => (await peekCounts(pair.b)).outbound === 0);
    const ofBob = await bob.sendText(roomId, 'from B');
    await follower.untilEvent(ofBob);
    await follower.untilEvent(await alice.sendText(roomId, 'from A'));

    const left = await talkDuring(alice, roomId, () => bob.leave(roomId));
    await follower.untilEvent(left, 30_000);
    await until('the room is peeked at A again', async () => (await peekCounts(pair.b)).outbound === 1);
    await follower.untilEvent(await alice.sendText(roomId, 'by the peek'));

    expect(follower.gaps).toBe(0);
    expect(new Set(follower.ids).size).toBe(follower.ids.length);
    const [told, all] = [follower.events.slice(follower.ids.indexOf(mark) + 1), await after(roomId, mark)];
    expect(idsOf(told).toSorted()).toEqual(idsOf(all).toSorted());
    // Where the room has forked, each homeserver has an order of its own; what one user says is in one line.
    for (const { userId } of [alice, bob]) {
      const by = (events: readonly ClientEvent[]) => idsOf(events.filter(({ sender }) => sender === userId));
      expect(by(told)).toEqual(by(all));
    }
    expect(follower.ended).toBe(false);
    await follower.client.unpeek(roomId);
  });

  if (store === 'Redis') return;

  it('a restricted join through the peeked server: the peek goes on as any other', async () => {
    const space = await alice.createRoom({ preset: 'public_chat' });
    const rule = { join_rule: 'restricted', allow: [{ type: 'm.room_membership', room_id: space }] };
    const { roomId, follower, bob, via } = await peekedFromB({
      initial_state: [{ type: 'm.room.join_rules', state_key: '', content: rule }],
    });
    const refused = await bob.request('POST', `/v3/join/${enc(roomId)}?server_name=${via[0]}`, {});
    expect(refused.status).toBe(403);
    await follower.untilEvent(await alice.sendText(roomId, 'not let in'));
    await bob.join(space, via);
    const last = await talkDuring(alice, roomId, () => bob.join(roomId, via));
    await follower.untilEvent(last);
    await follower.untilEvent(await bob.sendText(roomId, 'from B'));
    await until('the peek at A is let go', async () => (await peekCounts(pair.b)).outbound === 0);
    expect(follower.gaps).toBe(0);
    expect(new Set(follower.ids).size).toBe(follower.ids.length);
    await follower.client.unpeek(roomId);
  });

  it('the room is upgraded: the tombstone is shown, and the old room’s peek goes on', async () => {
    const { roomId, follower } = await peekedFromB();
    const { replacement_room: next } = await alice.require('POST', `/v3/rooms/${enc(roomId)}/upgrade`, {
      new_version: '12',
    });
    const last = await alice.sendText(roomId, 'in the old room');
    await follower.untilEvent(last);
    const tombstone = follower.events.find(({ type }) => type === 'm.room.tombstone');
    expect(tombstone?.content).toMatchObject({ replacement_room: next });
    const { follower: anew } = await startFollowing(follower.client, String(next), [pair.a.serverName]);
    await anew.untilEvent(await alice.sendText(String(next), 'in the new room'));
    for (const room of [roomId, String(next)]) await follower.client.unpeek(room);
  });

  it('the room’s ACL denies us: the peek ends honestly, once in leave', async () => {
    const { roomId, follower } = await peekedFromB();
    await follower.untilEvent(await alice.sendText(roomId, 'the last for B'));
    // All servers of the tests have this name, A too, whose own users are not held to the list.
    await alice.sendState(roomId, 'm.room.server_acl', { allow: ['*'], deny: ['localhost'] });
    const secret = await alice.sendText(roomId, 'not for B');
    await follower.untilEnded();
    expect(follower.ids).not.toContain(secret);
    const later = new Follower(follower.client, roomId, follower.since);
    const answer = await later.step(0);
    expect([Object.keys(answer.rooms.peek), Object.keys(answer.rooms.leave)]).toEqual([[], []]);
    expect(await follower.client.peek(roomId, [pair.a.serverName])).toMatchObject({ status: 403 });
  });

  it('SIGKILL and restart: peeks resume or end cleanly: one room goes on, one that has closed is once in leave', async () => {
    const [going, closing] = [await peekedFromB(), await peekedFromB()];
    await pair.b.proxy.kill();
    const meanwhile = await alice.sendText(going.roomId, 'meanwhile');
    const shut = { history_visibility: 'joined' };
    const last = await alice.sendState(closing.roomId, 'm.room.history_visibility', shut);
    const secret = await alice.sendText(closing.roomId, 'for members');
    await pair.b.proxy.restart();
    await until('peeking is on', async () => (await pair.b.proxy.health()).status === 'ok');
    // A call of B's ends A's pause before it sends again.
    const other = await peekedFromB();
    await going.follower.untilEvent(meanwhile, 60_000);
    await closing.follower.untilEnded(60_000);
    expect([going.follower.gaps, closing.follower.gaps]).toEqual([0, 0]);
    expect(closing.follower.ids.slice(-1)).toEqual([last]);
    expect(closing.follower.ids).not.toContain(secret);
    expect((await closing.follower.step(0)).rooms.leave).toEqual({});
    for (const { follower } of [going, other]) await follower.client.unpeek(follower.roomId);
  });
});
