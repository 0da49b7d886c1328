import { describe, expect, test } from 'vitest';
import { AnswersUnderWay } from '../../../src/inbound-peeks/room-answer.ts';
import type { JsonObject } from '../../../src/matrix/json.ts';
import { newEntry } from '../../../src/rooms/log-entries.ts';
import { HOUR, House, PEER, ROOM } from './house.ts';

function refusal(status: number, errcode: string) {
  return expect.objectContaining({ status, errcode });
}

describe('PUT /peek answers', () => {
  test('the union of fields that peeking servers read', async () => {
    const house = await House.open();
    const answer = await house.put();
    expect(answer).toMatchObject({ peek_id: 'peek1', room_version: '10', renewal_interval: HOUR });
    expect(answer.latest_event).toMatchObject({ content: { body: 'newest' } });
    expect(answer.state).toHaveLength(2);
    expect(answer.auth_chain).toHaveLength(1);
  });

  test('at most 50 messages, world-readable ones only, oldest first', async () => {
    const house = await House.open();
    for (let i = 0; i < 60; i++) house.homeserver.addEvent(`$m${i}`, { content: { body: i } }, i % 2 === 0);
    for (let i = 60; i < 120; i++) house.homeserver.addEvent(`$m${i}`, { content: { body: i } });
    const { messages } = await house.put();
    const bodies = (messages as { content: { body: number } }[]).map((pdu) => pdu.content.body);
    expect(bodies).toEqual(Array.from({ length: 50 }, (_, i) => 70 + i));
  });

  test.each(['', 'a b', 'a/b', 'ü', 'x'.repeat(256)])(
    'bad peek ID %j ⇒ 400 M_UNRECOGNIZED',
    async (peekId) => {
      const house = await House.open();
      await expect(house.put(PEER, peekId)).rejects.toEqual(refusal(400, 'M_UNRECOGNIZED'));
    },
  );

  test.each(['a', 'x'.repeat(255), '!room:here.test', 'A-z_0.9=$'])(
    'peek ID %j is accepted',
    async (peekId) => {
      const house = await House.open();
      await expect(house.put(PEER, peekId)).resolves.toMatchObject({ peek_id: peekId });
    },
  );

  test('unknown room ⇒ 404, partial room ⇒ 503', async () => {
    const house = await House.open();
    await expect(house.put(PEER, 'p', '!other:here.test')).rejects.toEqual(refusal(404, 'M_NOT_FOUND'));
    house.homeserver.addRoom('!half:here.test').membership = 'partial';
    await expect(house.put(PEER, 'p', '!half:here.test')).rejects.toEqual(refusal(503, 'M_UNKNOWN'));
  });

  test.each(['joined', 'invited', 'shared', 'WORLD_READABLE', 7])(
    '`joined`/`invited`/`shared` room ⇒ 403, all endpoints; malformed value (%j)',
    async (value) => {
      const house = await House.open();
      house.homeserver.setState(ROOM, 'm.room.history_visibility', '', { history_visibility: value });
      await expect(house.put()).rejects.toEqual(refusal(403, 'M_FORBIDDEN'));
      await expect(house.snapshotOnly()).rejects.toEqual(refusal(403, 'M_FORBIDDEN'));
      expect(await house.store.inboundPeeks.all()).toEqual([]);
    },
  );

  test('encrypted room ⇒ 403; a server that the ACL denies ⇒ 403; our own server ⇒ 403', async () => {
    const house = await House.open();
    house.homeserver.setState(ROOM, 'm.room.server_acl', '', { allow: ['*'], deny: ['there.*'] });
    await expect(house.put()).rejects.toEqual(refusal(403, 'M_FORBIDDEN'));
    await expect(house.put('else.test')).resolves.toBeDefined();
    await expect(house.put('here.test')).rejects.toEqual(refusal(403, 'M_FORBIDDEN'));
    house.homeserver.setState(ROOM, 'm.room.encryption', '', { algorithm: 'm.megolm.v1.aes-sha2' });
    await expect(house.put('else.test')).rejects.toEqual(refusal(403, 'M_FORBIDDEN'));
  });

  test('a room version that the peer does not name ⇒ 400 with the room version', async () => {
    const house = await House.open();
    const put = house.peeks.put(PEER, ROOM, 'p', ['1']);
    await expect(put).rejects.toMatchObject({
      status: 400,
      errcode: 'M_INCOMPATIBLE_ROOM_VERSION',
      fields: { room_version: '10' },
    });
  });

  test('nobody reads rooms here (no reader) ⇒ 404 M_UNRECOGNIZED', async () => {
    const house = await House.open();
    house.homeserver.ready = false;
    await expect(house.put()).rejects.toEqual(refusal(404, 'M_UNRECOGNIZED'));
  });

  test('an extremity that was not world-readable goes out redacted', async () => {
    const house = await House.open();
    house.homeserver.addEvent('$latest', { type: 'm.room.message', content: { body: 'secret' } }, false);
    expect((await house.put()).latest_event).toMatchObject({ type: 'm.room.message', content: {} });
  });

  test('a room that closes while it is read ⇒ 403, and nothing stays registered', async () => {
    const house = await House.open();
    house.homeserver.duringSnapshot = async () => {
      house.homeserver.setState(ROOM, 'm.room.history_visibility', '', { history_visibility: 'shared' });
    };
    await expect(house.put()).rejects.toEqual(refusal(403, 'M_FORBIDDEN'));
    expect(await house.store.inboundPeeks.cursors()).toEqual([]);
    expect(house.released).toEqual([ROOM]);
  });
});

test('a room that is encrypted while it is read ⇒ 403, for the snapshot too', async () => {
  const house = await House.open();
  house.homeserver.duringSnapshot = async () => {
    house.homeserver.setState(ROOM, 'm.room.encryption', '', { algorithm: 'm.megolm.v1.aes-sha2' });
  };
  await expect(house.snapshotOnly()).rejects.toEqual(refusal(403, 'M_FORBIDDEN'));
});

describe('registration', () => {
  test('the same PUT again is a renewal, with the same answer and one peek', async () => {
    const house = await House.open();
    const first = await house.put();
    await house.settle(HOUR / 2);
    expect(await house.put()).toEqual(first);
    const peeks = await house.store.inboundPeeks.all();
    expect(peeks).toHaveLength(1);
    expect(peeks[0]?.renewedAt).toBe(house.clock.now());
  });

  test('a snapshot registers nothing', async () => {
    const house = await House.open();
    const answer = await house.snapshotOnly();
    expect(answer).not.toHaveProperty('peek_id');
    expect(answer).toHaveProperty('state');
    expect(await house.store.size()).toBe(0);
  });

  test('10 000 peeks from one origin ⇒ quota 429 (a renewal still passes)', async () => {
    const house = await House.open({ maxPerServer: 2 });
    await house.put(PEER, 'a');
    await house.put(PEER, 'b');
    await expect(house.put(PEER, 'c')).rejects.toMatchObject({
      status: 429,
      fields: { retry_after_ms: expect.any(Number) },
    });
    await expect(house.put(PEER, 'a')).resolves.toBeDefined();
    await expect(house.put('else.test', 'c')).resolves.toBeDefined();
  });

  test('1 000 servers may peek a room; one of them may have a further peek, and other rooms are open', async () => {
    const house = await House.open();
    house.homeserver.addRoom('!b:here.test');
    const times = { createdAt: 0, renewedAt: 0, expiresAt: house.clock.now() + HOUR };
    for (let i = 0; i < 1000; i++) {
      const peek = { server: `s${i}.test`, roomId: ROOM, peekId: 'p', ...times };
      await house.store.inboundPeeks.put(peek, 100, 1000);
    }
    await expect(house.put('more.test')).rejects.toEqual(refusal(429, 'M_LIMIT_EXCEEDED'));
    expect(await house.put('s7.test', 'another')).toMatchObject({ peek_id: 'another' });
    expect(await house.put('more.test', 'p', '!b:here.test')).toMatchObject({ peek_id: 'p' });
  });

  test('names of one domain get half of the places of a room; other servers get the rest', async () => {
    const house = await House.open();
    const times = { createdAt: 0, renewedAt: 0, expiresAt: house.clock.now() + HOUR };
    for (let i = 0; i < 500; i++) {
      const peek = { server: `s${i}.greedy.test`, roomId: ROOM, peekId: 'p', ...times };
      await house.store.inboundPeeks.put(peek, 100, 1000);
    }
    await expect(house.put('s500.greedy.test')).rejects.toEqual(refusal(429, 'M_LIMIT_EXCEEDED'));
    expect(await house.put('s7.greedy.test', 'another')).toMatchObject({ peek_id: 'another' });
    expect(await house.put('more.test')).toMatchObject({ peek_id: 'peek1' });
  });

  test('names of one domain, or addresses, get half of all peeks; what they have they may renew', async () => {
    const house = await House.open({ maxTotal: 6 });
    for (const server of ['a.greedy.test', 'b.greedy.test', 'c.greedy.test:1']) await house.put(server);
    await expect(house.put('d.greedy.test')).rejects.toEqual(refusal(429, 'M_LIMIT_EXCEEDED'));
    expect(await house.put('a.greedy.test')).toMatchObject({ peek_id: 'peek1' });
    for (const server of ['1.2.3.4', '[::1]', 'else.test']) await house.put(server);
    await house.settle(60_000);
    await house.peeks.remove('else.test', ROOM, 'peek1');
    await house.settle(60_000);
    await expect(house.put('d.greedy.test')).rejects.toEqual(refusal(429, 'M_LIMIT_EXCEEDED'));
    expect(await house.put('1.2.3.5')).toMatchObject({ peek_id: 'peek1' });
  });

  test('peeks of all servers together have a quota too', async () => {
    const house = await House.open({ maxTotal: 2 });
    await house.put('a.test');
    await house.put('b.test');
    await expect(house.put('c.test')).rejects.toEqual(refusal(429, 'M_LIMIT_EXCEEDED'));
  });

  test('a hundred servers that peek a room cost one snapshot', async () => {
    const house = await House.open();
    await Promise.all(Array.from({ length: 100 }, (_, i) => house.put(`s${i}.test`)));
    expect(house.homeserver.snapshots).toBe(1);
  });

  test('ten PUTs for ten huge rooms of one domain keep no other server waiting', async () => {
    const house = await House.open();
    const rooms = Array.from({ length: 10 }, (_, n) => `!huge${n}:here.test`);
    for (const roomId of [...rooms, '!small:here.test']) house.homeserver.addRoom(roomId);
    const slow = Promise.withResolvers<void>();
    house.homeserver.duringSnapshot = () => slow.promise;
    const greedy = rooms.map((roomId, n) => house.put(`s${n}.greedy.test`, 'peek', roomId));
    await house.settle();
    expect(house.homeserver.snapshots).toBe(1);
    house.homeserver.duringSnapshot = async () => {};
    expect(await house.put(PEER, 'peek', '!small:here.test')).toMatchObject({ peek_id: 'peek' });
    // Nor does a room of which the other domain has begun to wait.
    expect(await house.put(PEER, 'peek', '!huge9:here.test')).toMatchObject({ peek_id: 'peek' });
    slow.resolve();
    await Promise.all(greedy);
    expect(house.homeserver.snapshots).toBe(11);
  });

  test('an event that arrives while the room is read is relayed: nothing falls between', async () => {
    const house = await House.open();
    house.homeserver.duringSnapshot = () => house.append(ROOM, ['meanwhile']);
    await house.put();
    await house.settle();
    expect(house.servers.bodies(PEER)).toEqual(['meanwhile']);
  });

  test('renew prolongs and names the interval; DELETE ends; both answer 404 for an unknown peek', async () => {
    const house = await House.open();
    await house.put();
    await house.settle(HOUR / 2);
    expect(await house.peeks.renew(PEER, ROOM, 'peek1')).toEqual({ renewal_interval: HOUR });
    await expect(house.peeks.renew(PEER, ROOM, 'other')).rejects.toEqual(refusal(404, 'M_NOT_FOUND'));
    await expect(house.peeks.renew('else.test', ROOM, 'peek1')).rejects.toEqual(refusal(404, 'M_NOT_FOUND'));
    expect(await house.peeks.remove(PEER, ROOM, 'peek1')).toEqual({});
    await expect(house.peeks.remove(PEER, ROOM, 'peek1')).rejects.toEqual(refusal(404, 'M_NOT_FOUND'));
    expect(house.released).toEqual([ROOM]);
  });

  test('renew ⇒ 403 once the ACL denies the server', async () => {
    const house = await House.open();
    await house.put();
    house.homeserver.setState(ROOM, 'm.room.server_acl', '', { allow: ['*'], deny: [PEER] });
    await expect(house.peeks.renew(PEER, ROOM, 'peek1')).rejects.toEqual(refusal(403, 'M_FORBIDDEN'));
  });

  test('a room is released only when its last reader is gone', async () => {
    const house = await House.open();
    await house.put(PEER, 'a');
    await house.put(PEER, 'b');
    await house.put('else.test');
    await house.peeks.remove(PEER, ROOM, 'a');
    await house.peeks.remove('else.test', ROOM, 'peek1');
    expect(house.released).toEqual([]);
    await house.peeks.remove(PEER, ROOM, 'b');
    expect(house.released).toEqual([ROOM]);
  });
});

describe('what a room costs', () => {
  const message = (body: string, prev: string): JsonObject => ({ content: { body }, prev_events: [prev] });
  /** The newest event of the room, at the homeserver and in its log. */
  async function says(house: House, body: string, fields: JsonObject): Promise<string> {
    const eventId = `$${body}`;
    const pdu = { type: 'm.room.message', room_id: ROOM, ...fields };
    house.homeserver.addEvent(eventId, pdu);
    const room = house.homeserver.rooms.get(ROOM);
    if (room !== undefined) room.latest = eventId;
    const entry = newEntry({ eventId, pdu, replaces: null }, 0, { shown: true, applied: true });
    await house.store.logs.append(ROOM, { entries: [entry] });
    return eventId;
  }

  test('its state again, where only messages have come since it was read; the newest event and messages are new', async () => {
    const house = await House.open();
    await house.put();
    await says(house, 'one', message('one', '$latest'));
    expect(await house.put('b.test')).toMatchObject({ latest_event: { content: { body: 'one' } } });
    expect(house.homeserver.snapshots).toBe(2);
    await says(house, 'two', message('two', '$one'));
    const newest = await says(house, 'three', message('three', '$two'));
    const first = await house.put('c.test');
    expect(house.homeserver.snapshots).toBe(2);
    expect(first.latest_event).toMatchObject({ content: { body: 'three' } });
    expect((first.messages as JsonObject[]).map((pdu) => pdu.content)).toEqual([
      { body: 'one' },
      { body: 'two' },
      { body: 'three' },
    ]);
    expect(first.state).toHaveLength(2);
    await says(house, 'four', message('four', newest));
    expect(await house.put('d.test')).toMatchObject({ latest_event: { content: { body: 'four' } } });
    expect(house.homeserver.snapshots).toBe(2);
  });

  test.each([
    ['a state event', { type: 'm.room.topic', state_key: '', prev_events: ['$one'], content: {} }],
    ['a branch from before', { content: {}, prev_events: ['$one', '$older'] }],
  ])('read anew after %s', async (_, fields) => {
    const house = await House.open();
    await house.put();
    await says(house, 'one', message('one', '$latest'));
    await house.put();
    await says(house, 'two', fields);
    await says(house, 'three', message('three', '$two'));
    expect(await house.put()).toMatchObject({ latest_event: { content: { body: 'three' } } });
    expect(house.homeserver.snapshots).toBe(3);
  });

  test('a visibility or an ACL that has changed counts at once, though the room is kept', async () => {
    const house = await House.open();
    await house.put();
    house.homeserver.setState(ROOM, 'm.room.server_acl', '', { allow: ['*'], deny: ['b.test'] });
    await expect(house.put('b.test')).rejects.toEqual(refusal(403, 'M_FORBIDDEN'));
    house.homeserver.setState(ROOM, 'm.room.history_visibility', '', { history_visibility: 'joined' });
    await expect(house.put('c.test')).rejects.toEqual(refusal(403, 'M_FORBIDDEN'));
    await expect(house.put()).rejects.toEqual(refusal(403, 'M_FORBIDDEN'));
  });
});

test('answers under way: a room counts once however many read it, and more than 256 MiB of rooms ⇒ 503', () => {
  const underWay = new AnswersUnderWay();
  const [large, other] = [{}, {}];
  const held = Array.from({ length: 100 }, () => underWay.hold(large, 200 * 1024 * 1024));
  expect(() => underWay.hold(other, 100 * 1024 * 1024)).toThrow('Too many large rooms');
  for (const release of held.slice(1)) release();
  held[1]?.();
  expect(() => underWay.hold(other, 100 * 1024 * 1024)).toThrow('Too many large rooms');
  held[0]?.();
  underWay.hold(other, 300 * 1024 * 1024)();
  underWay.hold(large, 200 * 1024 * 1024)();
});
