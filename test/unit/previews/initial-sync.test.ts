import { beforeEach, describe, expect, test, vi } from 'vitest';
import type { JsonObject } from '../../../src/matrix/json.ts';
import { limitExceeded } from '../../../src/platform/matrix-error.ts';
import { RemoteRefusal } from '../../../src/remote-servers/remote-servers.ts';
import { statePartialMark, stateWholeMark } from '../../../src/rooms/log-entries.ts';
import type { DevicePeek } from '../../../src/store/store.ts';
import { ALICE, PEER, PeekingHouse } from '../../support/peeking-house.ts';
import { BOB, messagesOf, PreviewHouse, REFUSED, said } from '../../support/preview-house.ts';
import { RoomBuilder } from '../../support/room-builder.ts';

let preview: PreviewHouse;
beforeEach(async () => {
  preview = await PreviewHouse.open();
});

const puts = () => preview.house.remote.sent('PUT').length;

/** Resolves when the homeserver has been asked so many times. */
async function untilAsked(times: number): Promise<void> {
  while (preview.asked.length < times) await preview.house.clock.advance(0);
}

describe('the initial sync of a room that the homeserver is not in', () => {
  test('shows the newest events, oldest first, the current state, and where to go on', async () => {
    const room = preview.remote(new RoomBuilder());
    room.state('m.room.name', '', { name: 'The lobby' });
    room.messages(25);
    const answer = await preview.initialSync(room, 'limit=20');
    expect(answer.status).toBe(200);
    expect(answer.headers.get('access-control-allow-origin')).toBe('*');
    expect(answer.body).toMatchObject({ room_id: room.roomId, presence: [], receipts: [] });
    expect(answer.body).not.toHaveProperty('membership');
    const { chunk, start, end } = messagesOf(answer);
    expect(said(chunk)).toEqual(Array.from({ length: 20 }, (_, i) => `message ${i + 5}`));
    expect([start, end]).toEqual([expect.stringMatching(/^PEEK-/), expect.stringMatching(/^PEEK-/)]);
    const state = answer.body.state as JsonObject[];
    expect(state.map(({ event_id }) => event_id).toSorted()).toEqual(
      room.currentState.map(({ eventId }) => eventId).toSorted(),
    );
    for (const event of [...chunk, ...state]) {
      expect(event).toMatchObject({ room_id: room.roomId, event_id: expect.stringMatching(/^\$/) });
    }
  });

  test('is begun once, and the log says for whom', async () => {
    const room = preview.remote(new RoomBuilder());
    const info = vi.spyOn(preview.house.logger, 'info');
    await preview.initialSync(room);
    await preview.initialSync(room);
    const begun = info.mock.calls.filter(([, text]) => text === 'a preview was begun');
    expect(begun.map(([about]) => about)).toEqual([{ user: ALICE.userId, room: room.roomId }]);
  });

  test.each(['api/v1', 'r0', 'v3', 'unstable'])('and polls are answered under %s', async (prefix) => {
    const room = preview.remote(new RoomBuilder());
    const [path, id] = [`/_matrix/client/${prefix}`, encodeURIComponent(room.roomId)];
    const shown = await preview.get(`${path}/rooms/${id}/initialSync`);
    expect(shown).toMatchObject({ status: 200, body: { room_id: room.roomId } });
    const from = encodeURIComponent(messagesOf(shown).end);
    const polled = await preview.get(`${path}/events?room_id=${id}&timeout=0&from=${from}`);
    expect(polled).toMatchObject({ status: 200, body: { chunk: [] } });
  });

  test('shows nothing that was said before the room was world-readable', async () => {
    const room = new RoomBuilder();
    room.state('m.room.history_visibility', '', { history_visibility: 'shared' });
    room.message('in private');
    room.state('m.room.history_visibility', '', { history_visibility: 'world_readable' });
    room.message('in public');
    const answer = await preview.initialSync(preview.remote(room));
    expect(said(messagesOf(answer).chunk)).toEqual(['history_visibility=world_readable', 'in public']);
    expect(answer.text).not.toContain('in private');
  });

  test('of a room that is peeked already does not wait for the homeserver', async () => {
    const room = preview.remote(new RoomBuilder());
    await preview.house.peek(room.roomId);
    preview.script = () => {};
    expect((await preview.initialSync(room)).status).toBe(200);
    expect(preview.asked).toEqual([]);
    expect(puts()).toBe(1);
  });

  test('is told to all who ask at the same time, of one peek', async () => {
    const room = preview.remote(new RoomBuilder());
    const answers = await Promise.all(
      ['alice', 'bob', 'tablet', 'alice'].map((token) => preview.initialSync(room, 'limit=5', token)),
    );
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 200]);
    expect(puts()).toBe(1);
    expect(preview.house.previewing.count).toBe(3);
  });

  test('waits a moment for the state of a large room, and then shows what is there', async () => {
    const { store, clock } = preview.house;
    const room = preview.remote(new RoomBuilder());
    await preview.initialSync(room);
    await store.logs.append(room.roomId, { entries: [statePartialMark(clock.now())] });
    const waiting = preview.initialSync(room);
    let answered = false;
    void waiting.then(() => {
      answered = true;
    });
    while (clock.pending < 3) await clock.advance(0);
    await clock.advance(1_499);
    expect(answered).toBe(false);
    await clock.advance(1);
    expect((await waiting).status).toBe(200);

    const whole = preview.initialSync(room);
    while (clock.pending < 3) await clock.advance(0);
    await store.logs.append(room.roomId, { entries: [stateWholeMark(clock.now())] });
    expect((await whole).status).toBe(200);
    expect(preview.asked).toHaveLength(1);
  });

  test('wakes a room of which nobody is awake who reads it, through the servers that let us before', async () => {
    const { house } = preview;
    const room = house.remoteRoom(new RoomBuilder('12'));
    await house.peeking.peek(ALICE, room.roomId, [PEER]);
    await house.store.devicePeeks.update((await house.devicePeeks.of(ALICE))[0] as DevicePeek, {
      dormantSince: 1,
    });
    await house.readers.release(room.roomId);
    expect((await house.log(room.roomId)).asleep).not.toBe(null);
    // A process that has heard of no server that has the room.
    const restarted = await PeekingHouse.on(house.store, house.clock);
    restarted.remoteRoom(room);
    const again = await PreviewHouse.open({ house: restarted });
    expect((await again.initialSync(room)).status).toBe(200);
    expect((await house.log(room.roomId)).asleep).toBe(null);
  });

  test('tells what state replaced, and who redacted what', async () => {
    const room = new RoomBuilder();
    room.member('@dora:there.test', 'join', { displayname: 'Dora' });
    const before = room.stateEvent('m.room.member', '@dora:there.test');
    room.member('@dora:there.test', 'join', { displayname: 'Dorothy' });
    const bad = room.message('bad');
    preview.remote(room);
    await preview.initialSync(room);
    const redaction = room.redaction(bad.eventId);
    await preview.house.ingest(room, [redaction]);
    const [renamed, pruned] = messagesOf(await preview.initialSync(room, 'limit=3')).chunk;
    expect(renamed).toMatchObject({
      content: { displayname: 'Dorothy' },
      unsigned: { replaces_state: before.eventId, prev_content: { displayname: 'Dora' } },
    });
    expect(pruned).toMatchObject({
      event_id: bad.eventId,
      unsigned: { redacted_because: { event_id: redaction.eventId, room_id: room.roomId } },
    });
    expect(pruned?.content).toEqual({});
  });

  test('does not show what ignored users say', async () => {
    const room = new RoomBuilder();
    room.member('@troll:there.test', 'join');
    room.message('noise', '@troll:there.test');
    room.message('signal');
    preview.house.homeserver.accountDataOf.set(`${ALICE.userId} m.ignored_user_list`, {
      ignored_users: { '@troll:there.test': {} },
    });
    const { chunk } = messagesOf(await preview.initialSync(preview.remote(room)));
    expect(said(chunk)).toContain('signal');
    expect(said(chunk)).not.toContain('noise');
  });
});

describe('the homeserver’s own answer goes out as it came', () => {
  const expectRefused = async (room: RoomBuilder, query?: string, token?: string) => {
    const answer = await preview.initialSync(room, query, token);
    expect([answer.status, answer.text, answer.headers.get('x-homeserver')]).toEqual([403, REFUSED, 'own']);
  };

  test('where it has the room', async () => {
    const room = preview.house.resident(new RoomBuilder('10', 'here.test'));
    preview.house.learned.learn(room.roomId, [PEER], 'named', 'somebody');
    preview.script = (_req, res) => res.end('{"room_id": "by the homeserver"}');
    expect((await preview.initialSync(room)).text).toBe('{"room_id": "by the homeserver"}');
    preview.script = (_req, res) => res.writeHead(403, { 'x-homeserver': 'own' }).end(REFUSED);
    await expectRefused(room);
    await expectRefused(room);
    expect(puts()).toBe(0);
    // What it has once said of its rooms is not asked again with each request.
    const { calls } = preview.house.homeserver;
    expect(calls.filter((name) => name === 'membership')).toHaveLength(1);
  });

  test('where no server is known that has the room', async () => {
    await expectRefused(new RoomBuilder('12'));
    await expectRefused(new RoomBuilder('10', 'here.test', 'gone'));
    expect(preview.house.remote.calls).toEqual([]);
  });

  test('where nobody lets us peek; who asks again is answered at once, until it is worth a try', async () => {
    const room = new RoomBuilder();
    preview.house.remote.refuse(PEER, 'PUT', '/peek/', 403, 'M_FORBIDDEN');
    await expectRefused(room);
    expect(puts()).toBe(1);
    await expectRefused(room, 'limit=20', 'bob');
    expect(puts()).toBe(1);
    await preview.house.clock.advance(2 * 60_000);
    await expectRefused(room);
    expect(puts()).toBe(2);
    preview.house.learned.learn(room.roomId, ['other.test'], 'named', 'somebody');
    preview.house.remoteRoom(room, 'other.test');
    expect((await preview.initialSync(room)).status).toBe(200);
  });

  test('to all who ask at the same time; servers are asked once', async () => {
    const { clock, remote } = preview.house;
    const room = new RoomBuilder();
    const theirs = Promise.withResolvers<JsonObject>();
    remote.on(PEER, 'PUT', '/peek/', () => theirs.promise);
    const answers = ['alice', 'bob', 'tablet', 'alice', 'bob'].map((token) =>
      preview.initialSync(room, 'limit=5', token),
    );
    await untilAsked(1);
    while (puts() === 0) await clock.advance(0);
    for (let i = 0; i < 20; i++) await clock.advance(0);
    theirs.reject(new RemoteRefusal(PEER, 403, 'M_FORBIDDEN', {}));
    for (const answer of answers) expect((await answer).text).toBe(REFUSED);
    expect(puts()).toBe(1);
  });

  test('when the user reads too much', async () => {
    const reads = { spend: async () => Promise.reject(limitExceeded('Too much', 1000)) };
    preview = await PreviewHouse.open({ reads });
    const room = preview.remote(new RoomBuilder());
    await preview.house.peek(room.roomId);
    await expectRefused(room);
  });

  test('to whoever asks for a large room while one is read for them; others are not held up', async () => {
    const { clock, store } = preview.house;
    const room = preview.remote(new RoomBuilder());
    await preview.house.peek(room.roomId);
    const read = store.replicas.state.bind(store.replicas);
    const disk = Promise.withResolvers<void>();
    const reads: string[] = [];
    store.replicas.state = async (roomId) => {
      reads.push(roomId);
      await disk.promise;
      return read(roomId);
    };
    const ask = (token: string) => preview.initialSync(room, 'limit=20', token);
    const alices = Array.from({ length: 5 }, () => ask('alice'));
    while (reads.length === 0) await clock.advance(0);
    const bobs = ask('bob');
    while (reads.length === 1) await clock.advance(0);
    for (let i = 0; i < 20; i++) await clock.advance(0);
    expect(reads).toHaveLength(2);
    await clock.advance(2_000);
    for (const answer of [...alices, bobs]) expect((await answer).text).toBe(REFUSED);
    disk.resolve();
    store.replicas.state = read;
    expect((await ask('alice')).status).toBe(200);
    expect(reads).toHaveLength(2);
  });

  test('two seconds later at most, when a server is slow; the room is there when it has answered', async () => {
    const { clock, remote } = preview.house;
    const room = preview.remote(new RoomBuilder());
    const theirs = Promise.withResolvers<JsonObject>();
    remote.on(PEER, 'PUT', '/peek/', () => theirs.promise);
    const first = preview.initialSync(room);
    await untilAsked(1);
    while (puts() === 0) await clock.advance(0);
    let answered = false;
    void first.then(() => {
      answered = true;
    });
    await clock.advance(1_999);
    expect(answered).toBe(false);
    await clock.advance(1);
    expect([(await first).status, (await first).text]).toEqual([403, REFUSED]);
    // Again, without a moment's wait.
    await expectRefused(room);
    theirs.resolve(room.peekAnswer());
    while (preview.house.previewing.count === 0) await clock.advance(0);
    preview.script = () => {};
    expect((await preview.initialSync(room)).status).toBe(200);
    expect(puts()).toBe(1);
  });

  test('to somebody whom the room has banned, and to nobody else', async () => {
    const room = new RoomBuilder();
    room.state('m.room.member', ALICE.userId, { membership: 'ban' });
    preview.remote(room);
    await expectRefused(room);
    expect((await preview.initialSync(room, 'limit=5', 'bob')).status).toBe(200);
    await expectRefused(room);
    expect(preview.house.previewing.count).toBe(1);
  });

  test.each(['limit=many', 'limit=-1', 'limit=1.5'])('where the request is malformed: %s', async (query) => {
    const room = preview.remote(new RoomBuilder());
    await preview.house.peek(room.roomId);
    await expectRefused(room, query);
  });

  test('when the user tries too often', async () => {
    preview = await PreviewHouse.open({ rate: { count: 2, perMs: 60_000 } });
    const rooms = ['one', 'two', 'three'].map((name) => preview.remote(new RoomBuilder('10', PEER, name)));
    const statuses: number[] = [];
    for (const room of rooms) statuses.push((await preview.initialSync(room)).status);
    expect(statuses).toEqual([200, 200, 403]);
    expect(puts()).toBe(2);
    // Rooms that are open cost nobody anything.
    expect((await preview.initialSync(rooms[0] as RoomBuilder)).status).toBe(200);
  });

  test('when the store is down', async () => {
    const room = preview.remote(new RoomBuilder());
    await preview.initialSync(room);
    await preview.house.store.close();
    await expectRefused(room);
    expect((await preview.events(room)).text).toBe(REFUSED);
  });

  test('and a homeserver that cannot be reached is 502', async () => {
    preview.script = (_req, res) => void res.destroy();
    expect((await preview.initialSync(new RoomBuilder())).status).toBe(502);
  });
});

describe('previews', () => {
  test('of one user are twenty at most; the one that was read the longest ago makes room', async () => {
    const { house } = preview;
    const rooms = Array.from({ length: 21 }, (_, i) =>
      preview.remote(new RoomBuilder('10', PEER, `room${i}`)),
    );
    for (const room of rooms) {
      await preview.initialSync(room, 'limit=1', rooms.indexOf(room) % 2 === 0 ? 'alice' : 'tablet');
      await house.clock.advance(10);
    }
    await house.settle();
    expect(house.previewing.count).toBe(20);
    expect(house.previewing.mayRead(ALICE, rooms[0]?.roomId ?? '')).toBe(false);
    expect(house.previewing.mayRead(ALICE, rooms[2]?.roomId ?? '')).toBe(true);
    expect(house.previewing.mayRead(BOB, rooms[2]?.roomId ?? '')).toBe(false);
    expect(house.remote.sent('DELETE')).toHaveLength(1);
    expect((await preview.initialSync(rooms[20] as RoomBuilder, 'limit=1', 'bob')).status).toBe(200);
  });

  test('end some minutes after the client was heard last, without a trace', async () => {
    const { house } = preview;
    const room = preview.remote(new RoomBuilder());
    await preview.initialSync(room);
    await house.clock.advance(4 * 60_000);
    await house.sweeps.run();
    expect(house.remote.sent('DELETE')).toEqual([]);
    await house.clock.advance(60_000);
    await house.sweeps.run();
    await house.settle();
    expect(house.remote.sent('DELETE')).toHaveLength(1);
    expect(house.previewing.count).toBe(0);
    expect(await house.store.size()).toBe(0);
  });

  test('are nothing to /sync', async () => {
    const { house } = preview;
    const room = preview.remote(new RoomBuilder());
    await preview.initialSync(room);
    expect(house.devicePeeks.anyPeeks).toBe(false);
    expect(house.devicePeeks.mayPeek(ALICE)).toBe(false);
    expect(await house.devicePeeks.of(ALICE)).toEqual([]);
    // A peek of the same device is another matter, and outlives the preview.
    await house.peek(room.roomId);
    await house.clock.advance(10 * 60_000);
    await house.sweeps.run();
    expect(await house.devicePeeks.of(ALICE)).toHaveLength(1);
    expect(house.previewing.count).toBe(0);
    expect(house.remote.sent('DELETE')).toEqual([]);
  });
});
