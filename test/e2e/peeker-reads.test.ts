import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ClientEvent, enc, type Json, MatrixClient } from '../support/client.ts';
import { newUser } from './accounts.ts';
import { sectionOf } from './rooms.ts';
import { onStore, type StoredPair } from './stores.ts';
import { until } from './until.ts';

/** The endpoints of a room that only read. */
const READS = [
  'state',
  'state/m.room.create',
  'state/m.room.create/?format=event',
  'members',
  'joined_members',
  'aliases',
  'messages?dir=b',
  'initialSync',
  'context/$event',
  'event/$event',
  'relations/$event',
  'threads',
  'timestamp_to_event?ts=1&dir=f',
  'hierarchy',
];

onStore('SQLite', ({ startPairOnStore }) => {
  let pair: StoredPair;
  let alice: MatrixClient;
  let bob: MatrixClient;
  let via: string[];
  beforeAll(async () => {
    pair = await startPairOnStore();
    via = [pair.a.serverName];
    [alice, bob] = await Promise.all([newUser(pair.a, 'alice'), newUser(pair.b, 'bob')]);
  });
  afterAll(() => pair?.stop());

  const get = (client: MatrixClient, roomId: string, path: string) => {
    const version = /^(?:relations|threads|timestamp_to_event|hierarchy)/.test(path) ? 'v1' : 'v3';
    return client.request('GET', `/${version}/rooms/${enc(roomId)}/${path}`);
  };

  const post = (client: MatrixClient, roomId: string, path: string, body: Json = {}) =>
    client.request('POST', `/v3/rooms/${enc(roomId)}/${path}`, body);

  /** The same device without the proxy. */
  const past = (client: MatrixClient, url: string) => new MatrixClient(url, client);

  /** A room of Alice's, which a user of the other server peeks into. */
  async function peekedRoom(options: Json = {}, peeker = bob): Promise<string> {
    const roomId = await alice.createWorldReadableRoom(options);
    expect(await peeker.peek(roomId, via)).toMatchObject({ status: 200 });
    return roomId;
  }

  it('who peeks into a remote room reads its state as a member of it does', async () => {
    const name = `kept-${Date.now()}`;
    const roomId = await alice.createWorldReadableRoom({
      name: 'Lobby',
      topic: 'Talk',
      room_alias_name: name,
    });
    const dave = await newUser(pair.a, 'dave');
    const erin = await newUser(pair.a, 'erin');
    await dave.join(roomId);
    await dave.leave(roomId);
    await erin.join(roomId);
    await alice.require('POST', `/v3/rooms/${enc(roomId)}/invite`, {
      user_id: bob.userId.replace('bob', 'nobody'),
    });
    for (const key of ['', 'a/b %c', 'ä', '__proto__'])
      await alice.sendState(roomId, 'test/odd', { key }, key);
    await alice.sendState(roomId, 'm.room.topic', { topic: 'Before the peek' });
    expect(await bob.peek(roomId, via)).toMatchObject({ status: 200 });
    const { next_batch: before } = await bob.sync();
    const last = await alice.sendState(roomId, 'm.room.topic', { topic: 'After it' });
    const { next_batch: after } = await bob.syncUntil(
      before,
      ({ rooms }) => rooms.peek[roomId]?.timeline?.events.some(({ event_id }) => event_id === last) ?? false,
    );
    expect(await newUser(pair.a, 'late').then((late) => late.join(roomId))).toBe(roomId);

    const listed = async (client: MatrixClient, path: string) => {
      const { status, text } = await get(client, roomId, path);
      expect([path, status]).toEqual([path, 200]);
      const events = path === 'state' ? JSON.parse(text) : JSON.parse(text).chunk;
      return (events as ClientEvent[]).map(asSent).toSorted((a, b) => (a.event_id < b.event_id ? -1 : 1));
    };
    const members = async (client: MatrixClient) => (await listed(client, 'members')).length;
    const present = await members(alice);
    await until('the last join is here', async () => (await members(bob)) === present);

    for (const path of ['state', 'members', 'members?membership=join', 'members?not_membership=join']) {
      expect([path, await listed(bob, path)]).toEqual([path, await listed(alice, path)]);
    }
    expect(await listed(bob, `members?at=${enc(after)}`)).toHaveLength(present - 1);
    for (const path of [
      'joined_members',
      'state/m.room.topic',
      'state/m.room.member',
      'state/none/at%2Fall',
    ]) {
      const [ours, theirs] = await Promise.all([get(bob, roomId, path), get(alice, roomId, path)]);
      expect([path, ours.status, ours.body.errcode]).toEqual([path, theirs.status, theirs.body.errcode]);
      if (ours.status === 200) expect(ours.body).toEqual(theirs.body);
    }
    const compared = (await listed(alice, 'state')).map(async ({ type, state_key: key = '' }) => {
      const path = `state/${enc(type)}/${enc(key)}`;
      const [ours, theirs] = await Promise.all([get(bob, roomId, path), get(alice, roomId, path)]);
      expect([path, ours.body]).toEqual([path, theirs.body]);
      const [event, asMember] = await Promise.all(
        [bob, alice].map((client) => get(client, roomId, `${path}?format=event`)),
      );
      expect(asSent(event?.body as ClientEvent)).toEqual(asSent(asMember?.body as ClientEvent));
    });
    await Promise.all(compared);
    // The aliases of the server that is asked, which has none of this room.
    expect((await get(alice, roomId, 'aliases')).body).toEqual({
      aliases: [`#${name}:${pair.a.serverName}`],
    });
    expect((await get(bob, roomId, 'aliases')).body).toEqual({ aliases: [] });
    for (const format of ['content', 'nonsense']) {
      const odd = await get(bob, roomId, `state/m.room.create?format=${format}`);
      expect(odd.status).toBe((await get(alice, roomId, `state/m.room.create?format=${format}`)).status);
    }
  });

  it('token of user A, peek of B: every read is answered as the homeserver does', async () => {
    const roomId = await peekedRoom();
    expect((await get(bob, roomId, 'state')).status).toBe(200);
    const carol = await newUser(pair.b, 'carol');
    // Anybody may preview a world-readable room, and then reads it.
    const reads = READS.filter((path) => path !== 'initialSync').map(async (path) => {
      const [ours, theirs] = await Promise.all(
        [carol, past(carol, pair.b.synapse.url)].map((client) => get(client, roomId, path)),
      );
      expect([path, ours?.status, ours?.body]).toEqual([path, theirs?.status, theirs?.body]);
      expect([403, 404]).toContain(ours?.status);
    });
    await Promise.all(reads);
  });

  it('`joined`/`invited`/`shared` room ⇒ 403, all endpoints, from the closing event on', async () => {
    const closings = ['joined', 'invited', 'shared'].map(async (visibility) => {
      const peeker = await newUser(pair.b, 'peeker');
      const roomId = await peekedRoom({}, peeker);
      expect((await get(peeker, roomId, 'state')).status).toBe(200);
      const { next_batch: since } = await peeker.sync();
      await alice.sendState(roomId, 'm.room.history_visibility', { history_visibility: visibility });
      await peeker.syncUntil(since, ({ rooms }) => roomId in rooms.leave);
      const reads = READS.map(async (path) => {
        const { status, body } = await get(peeker, roomId, path);
        const refusal = /^(?:context|event)\//.test(path) ? [404, 'M_NOT_FOUND'] : [403, 'M_FORBIDDEN'];
        expect([path, status, body.errcode]).toEqual([path, ...refusal]);
      });
      await Promise.all(reads);
    });
    await Promise.all(closings);
  });

  it.each(['remote', 'resident'])(
    'receipts of who peeks into a %s room are shown to nobody',
    async (kind) => {
      const roomId = await peekedRoom();
      const dave = await newUser(pair.a, 'dave');
      await dave.join(roomId);
      const peeker = kind === 'remote' ? bob : await newUser(pair.a, 'peeker');
      if (kind === 'resident') expect(await peeker.peek(roomId)).toMatchObject({ status: 200 });
      const eventId = await alice.sendText(roomId, 'read me');
      const { next_batch: since } = await alice.sync();
      const markers = { 'm.fully_read': eventId, 'm.read': eventId };
      for (const answer of [
        await post(peeker, roomId, `receipt/m.read/${enc(eventId)}`),
        await post(peeker, roomId, `receipt/m.fully_read/${enc(eventId)}`),
        await post(peeker, roomId, 'read_markers', markers),
      ]) {
        expect(answer).toMatchObject({ status: 200, text: '{}' });
      }
      // A member's, sent later, is shown.
      expect(await post(dave, roomId, 'read_markers', markers)).toMatchObject({ status: 200 });
      const readers = new Set<string>();
      await alice.syncUntil(since, ({ answer }) => {
        for (const userId of readersIn(answer.body, roomId)) readers.add(userId);
        return readers.has(dave.userId);
      });
      expect([...readers]).toEqual([dave.userId]);
      if (kind === 'resident') await peeker.unpeek(roomId);
    },
  );

  describe('joining a peeked room without naming a server', () => {
    it('works by /rooms/{roomId}/join, which it does not at the homeserver alone; after leaving it can be peeked again', async () => {
      const roomId = await peekedRoom();
      const { next_batch: since } = await bob.sync();
      const bare = await post(past(bob, pair.b.synapse.url), roomId, 'join');
      expect(bare.status).toBe(404);
      expect(await post(bob, roomId, 'join', { reason: 'to talk' })).toMatchObject({
        status: 200,
        body: { room_id: roomId },
      });
      const joined = await bob.syncUntil(since, ({ rooms }) => roomId in rooms.join);
      expect(joined.rooms.peek).not.toHaveProperty([roomId]);
      const member = await get(alice, roomId, `state/m.room.member/${enc(bob.userId)}`);
      expect(member.body).toMatchObject({ membership: 'join', reason: 'to talk' });

      await bob.leave(roomId);
      const left = await bob.syncUntil(joined.next_batch, ({ rooms }) => roomId in rooms.leave);
      let peeked = await bob.peek(roomId, via);
      await until('the room can be peeked again', async () => {
        if (peeked.status !== 200) peeked = await bob.peek(roomId, via);
        return peeked.status === 200;
      });
      const again = await bob.syncUntil(left.next_batch, ({ rooms }) => roomId in rooms.peek);
      sectionOf(again, 'peek', roomId);
      expect((await get(bob, roomId, 'state/m.room.create')).status).toBe(200);
    });

    it('works by /join/{roomId} and by an alias', async () => {
      const name = `open-${Date.now()}`;
      const [byId, byAlias] = await Promise.all([peekedRoom(), peekedRoom({ room_alias_name: name })]);
      const { next_batch: since } = await bob.sync();
      expect(await bob.join(byId)).toBe(byId);
      const first = await bob.syncUntil(since, ({ rooms }) => byId in rooms.join);
      expect(await bob.join(`#${name}:${pair.a.serverName}`)).toBe(byAlias);
      const second = await bob.syncUntil(first.next_batch, ({ rooms }) => byAlias in rooms.join);
      expect([first.rooms.peek, second.rooms.peek]).toEqual([
        expect.not.objectContaining({ [byId]: expect.anything() }),
        expect.not.objectContaining({ [byAlias]: expect.anything() }),
      ]);
    });

    it('that fails leaves the peek, and says what the homeserver says; a knock arrives', async () => {
      const rule = (join_rule: string) => ({
        initial_state: [{ type: 'm.room.join_rules', state_key: '', content: { join_rule } }],
      });
      const [shut, knocking] = [await peekedRoom(rule('invite')), await peekedRoom(rule('knock'))];
      const { next_batch: since } = await bob.sync();
      const refused = await post(bob, shut, 'join');
      expect([refused.status, refused.body.errcode]).toEqual([403, 'M_FORBIDDEN']);
      const next = await alice.sendText(shut, 'still here');
      await bob.syncUntil(
        since,
        ({ rooms }) => rooms.peek[shut]?.timeline?.events.some(({ event_id }) => event_id === next) ?? false,
      );
      expect((await get(bob, shut, 'state/m.room.create')).status).toBe(200);

      const knock = (client: MatrixClient) => client.request('POST', `/v3/knock/${enc(knocking)}`, {});
      expect((await knock(past(bob, pair.b.synapse.url))).status).toBe(404);
      expect((await knock(bob)).status).toBe(200);
      const member = await get(alice, knocking, `state/m.room.member/${enc(bob.userId)}`);
      expect(member.body).toMatchObject({ membership: 'knock' });
    });
  });
});

/** What its sender made of it, and where it is. */
function asSent({ type, state_key, sender, content, event_id, origin_server_ts, room_id }: ClientEvent) {
  return { type, state_key, sender, content, event_id, origin_server_ts, room_id };
}

/** Whose receipts of the room an answer to `/sync` has. */
function readersIn(body: Json, roomId: string): string[] {
  const rooms = (body.rooms as { join?: Record<string, { ephemeral?: { events: ClientEvent[] } }> }).join;
  const receipts = rooms?.[roomId]?.ephemeral?.events.filter(({ type }) => type === 'm.receipt') ?? [];
  return receipts.flatMap(({ content }) =>
    Object.values(content as Record<string, Record<string, Json>>).flatMap((byType) =>
      Object.values(byType).flatMap((readers) => Object.keys(readers)),
    ),
  );
}
