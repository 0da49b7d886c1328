import { deflateSync, gzipSync } from 'node:zlib';
import { describe, expect, test, vi } from 'vitest';
import { unwrapToken } from '../../../src/client-sync/sync-token.ts';
import { HomeserverDown } from '../../../src/homeserver/homeserver.ts';
import { StoreDownError } from '../../../src/store/store.ts';
import { ALICE, brief, type HouseOptions, PEER, TestDevice } from '../../support/peeking-house.ts';
import { RoomBuilder } from '../../support/room-builder.ts';
import { SyncHouse } from '../../support/sync-house.ts';

const TOKEN = 's44_17_4_3_2_1_1_3_0_1_1_1_1_1';
const LATER = 's45_17_4_3_2_1_1_3_0_1_1_1_1_1';
const POLL = { timeout: '30000' };
/** What an answer of ours says of one-time keys, so that no client uploads more of them. */
const ENOUGH = { signed_curve25519: 50 };

/** Alice peeks into a room of our own homeserver. */
async function peeking(options: HouseOptions = {}) {
  const sync = await SyncHouse.open(options);
  const { house } = sync;
  const room = house.resident(new RoomBuilder());
  room.message('old');
  await house.peek(room.roomId);
  return { sync, house, room };
}

/** The same with the first section delivered, and the token that came with it. */
async function followed() {
  const all = await peeking();
  all.sync.script = ({ answer }) => answer({ next_batch: TOKEN });
  const first = await all.sync.sync();
  all.sync.script = () => {};
  all.sync.asked.length = 0;
  const since = first.body.next_batch;
  return { ...all, since, first };
}

const section = (answer: { body: { rooms?: { peek?: Record<string, never> } } }, roomId: string) =>
  brief(answer.body.rooms?.peek?.[roomId]);

describe('a device that peeks', () => {
  test('gets its peeks beside what the homeserver says, in one token', async () => {
    const { first, room } = await followed();
    expect(section(first, room.roomId)?.timeline.at(-1)).toBe('old');
    expect(first.body.next_batch).not.toBe(TOKEN);
    expect(unwrapToken(first.body.next_batch)).toMatchObject({ homeserver: TOKEN });
    expect(first.headers.get('content-length')).toBe(String(Buffer.byteLength(first.text)));
  });

  test('its homeserver sees its own token, every other byte of the target as it came', async () => {
    const { sync, since } = await followed();
    const waiting = sync.sync({ filter: '{"a":"b c"}', since, ...POLL, set_presence: 'offline' });
    const asked = await sync.upstream(0);
    expect(asked.req.url).toBe(
      `/_matrix/client/v3/sync?filter=%7B%22a%22%3A%22b+c%22%7D&since=${TOKEN}&timeout=30000&set_presence=offline`,
    );
    asked.answer({ next_batch: LATER });
    expect(unwrapToken((await waiting).body.next_batch).homeserver).toBe(LATER);
  });

  test('full_state, filter (lazy members, types, limit 0), set_presence pass through, and hold for the peeked room', async () => {
    const { sync, room, since } = await followed();
    sync.script = ({ answer }) => answer({ next_batch: LATER });
    const state = { types: ['m.room.m*', 'm.room.join_rules'], lazy_load_members: true };
    const filter = JSON.stringify({ room: { timeline: { limit: 0 }, state } });
    const query = { since, full_state: 'true', filter, set_presence: 'unavailable' };
    const answer = await sync.sync(query);
    const asked = new URL(sync.target({ ...query, since: TOKEN }));
    expect((await sync.upstream(0)).req.url).toBe(`${asked.pathname}${asked.search}`);
    // Nobody speaks in the timeline: no member is needed.
    expect(section(answer, room.roomId)).toEqual({ timeline: [], state: ['join_rules='], limited: false });
  });

  test('event arrives during the poll ⇒ answered at once (≤ 100 ms), the homeserver’s part of the token unchanged', async () => {
    const { sync, house, room, since } = await followed();
    const waiting = sync.sync({ since, ...POLL });
    await sync.upstream(0);
    room.message('new');
    const started = performance.now();
    await house.settle();
    const answer = await waiting;
    expect(performance.now() - started).toBeLessThan(100);
    expect(section(answer, room.roomId)).toMatchObject({ timeline: ['new'], limited: false });
    expect(unwrapToken(answer.body.next_batch).homeserver).toBe(TOKEN);
  });

  test('how long a waiting poll takes to wake is measured, and nothing where there is news already', async () => {
    const { sync, house, room, since } = await followed();
    const measured = async () => {
      const { values } = await house.metrics.syncWake.get();
      return values.find(({ metricName }) => metricName?.endsWith('_count'))?.value ?? 0;
    };
    const watch = vi.spyOn(house.wakes, 'watch');
    const waiting = sync.sync({ since, ...POLL });
    await vi.waitFor(() => expect(watch).toHaveBeenCalled());
    await new Promise((resolve) => setTimeout(resolve, 20));
    room.message('new');
    await house.settle();
    await waiting;
    expect(await measured()).toBe(1);
    await sync.sync({ since, ...POLL });
    expect(await measured()).toBe(1);
  });

  test('the detached poll is taken over by the next request: none of the homeserver’s answers is lost', async () => {
    const { sync, house, room, since } = await followed();
    const waiting = sync.sync({ since, ...POLL });
    const asked = await sync.upstream(0);
    room.message('new');
    await house.settle();
    const early = await waiting;
    asked.answer({ next_batch: LATER, to_device: { events: [{ type: 'm.once' }] } });
    const next = await sync.sync({ since: early.body.next_batch, ...POLL });
    expect(next.body).toMatchObject({ to_device: { events: [{ type: 'm.once' }] } });
    expect(next.body.rooms?.peek).toBeUndefined();
    expect(unwrapToken(next.body.next_batch).homeserver).toBe(LATER);
    expect(sync.asked).toHaveLength(1);
  });

  test('a second poll, begun before it was known who asks, goes on beside the first; whichever answers first is the answer', async () => {
    const { sync, house, room, since } = await followed();
    const waiting = sync.sync({ since, ...POLL });
    const first = await sync.upstream(0);
    room.message('new');
    await house.settle();
    const early = await waiting;
    house.homeserver.remembered = () => null;
    const whoami = house.homeserver.whoami.bind(house.homeserver);
    house.homeserver.whoami = async (caller) => {
      await sync.upstream(1);
      return whoami(caller);
    };
    const next = sync.sync({ since: early.body.next_batch, ...POLL });
    const second = await sync.upstream(1);
    first.answer({ next_batch: LATER });
    await vi.waitFor(() => expect(second.res.destroyed).toBe(true));
    expect(unwrapToken((await next).body.next_batch).homeserver).toBe(LATER);
  });

  test('client aborts at every stage ⇒ a peeking device’s /sync runs on, at most 60 s', async () => {
    const { sync, house, since } = await followed();
    const abort = new AbortController();
    const waiting = sync.sync({ since, ...POLL }, 'alice', abort.signal).catch(() => 'gone');
    const asked = await sync.upstream(0);
    const cut = new Promise((resolve) => asked.res.once('close', resolve));
    abort.abort();
    expect(await waiting).toBe('gone');
    await new Promise((resolve) => setTimeout(resolve, 20));
    await house.clock.advance(59_000);
    expect(asked.res.destroyed).toBe(false);
    await house.clock.advance(2_000);
    await cut;
    expect(asked.res.writableFinished).toBe(false);
  });

  test('a request without `since`, with full_state or with timeout=0 waits for the homeserver', async () => {
    const { sync, room, house, since } = await followed();
    room.message('new');
    await house.settle();
    let n = 0;
    for (const query of [{ ...POLL }, { since, full_state: 'true', ...POLL }, { since }]) {
      const waiting = sync.sync(query);
      const asked = await sync.upstream(n++);
      asked.answer({ next_batch: LATER, device_one_time_keys_count: { n } });
      expect((await waiting).body).toMatchObject({ device_one_time_keys_count: { n } });
    }
  });

  test('a new peek ends a waiting poll', async () => {
    const { sync, house, since } = await followed();
    const waiting = sync.sync({ since, ...POLL });
    await sync.upstream(0);
    const other = house.remoteRoom(new RoomBuilder('10', PEER, 'other'));
    await house.peek(other.roomId);
    expect(section(await waiting, other.roomId)).toMatchObject({ limited: true });
  });

  test('an unpeek ends a waiting poll, and the room is once in leave', async () => {
    const { sync, house, room, since } = await followed();
    const waiting = sync.sync({ since, ...POLL });
    await sync.upstream(0);
    await house.peeking.unpeek(ALICE, room.roomId);
    const answer = await waiting;
    expect(answer.body.rooms).toEqual({ leave: { [room.roomId]: {} } });
    expect(answer.body.next_batch).toBe(TOKEN);
  });

  test('the room turns private ⇒ the waiting polls of all devices and users that peek end at once, at that event', async () => {
    const { sync, house, room, since } = await followed();
    sync.script = ({ url, answer }) => {
      if (!url.searchParams.has('since')) answer({ next_batch: TOKEN });
    };
    const tokens = new Map([['alice', since]]);
    for (const [name, more] of [
      ['laptop', { deviceId: 'LAPTOP' }],
      ['bob', { userId: '@bob:here.test' }],
    ] as const) {
      const device = { ...ALICE, ...more };
      house.homeserver.identities.set(`Bearer ${name}`, device);
      await house.peek(room.roomId, device);
      tokens.set(name, (await sync.sync({}, name)).body.next_batch);
    }
    sync.asked.length = 0;
    const waiting = [...tokens].map(([name, token]) => sync.sync({ ...POLL, since: token }, name));
    await sync.upstream(2);
    room.message('seen');
    room.state('m.room.history_visibility', '', { history_visibility: 'joined' });
    room.message('unseen');
    await house.settle();
    for (const { body } of await Promise.all(waiting)) {
      const { peek = {}, leave = {} } = body.rooms ?? {};
      const told = [...Object.keys(peek), ...Object.keys(leave)];
      expect(told).toEqual([room.roomId]);
      expect(brief(leave[room.roomId])?.timeline).toEqual(['seen', 'history_visibility=joined']);
    }
    const live = (await house.store.devicePeeks.all()).filter(({ ended }) => ended === null);
    expect(live).toEqual([]);
  });

  test('a retry of the same token gives the same sections', async () => {
    const { sync, house, room, since } = await followed();
    room.message('new');
    await house.settle();
    sync.script = ({ answer }) => answer({ next_batch: LATER });
    const [one, two] = [await sync.sync({ since }), await sync.sync({ since })];
    expect(one.body).toEqual(two.body);
    expect(section(one, room.roomId)?.timeline).toEqual(['new']);
  });

  test.each([
    ['gzip', gzipSync],
    ['deflate', deflateSync],
  ])('an answer that is coded all the same (%s) is read', async (coding, code) => {
    const { sync, room } = await peeking();
    sync.script = ({ res }) => {
      res.setHeader('content-encoding', coding);
      res.end(code(JSON.stringify({ next_batch: TOKEN })));
    };
    const answer = await sync.sync();
    expect(section(answer, room.roomId)).toBeDefined();
    expect(answer.headers.get('content-encoding')).toBeNull();
  });
});

describe('never worse than absent', () => {
  test.each<[string, number, string, string]>([
    ['upstream not JSON', 200, 'text/plain', 'no JSON at all'],
    ['502 HTML', 502, 'text/html', '<html>Bad Gateway</html>'],
    ['truncated', 200, 'application/json', '{"next_batch":"s1","rooms":{"join":{'],
    ['429', 429, 'application/json', '{"errcode":"M_LIMIT_EXCEEDED","retry_after_ms":5}'],
    ['401', 401, 'application/json', '{"errcode":"M_UNKNOWN_TOKEN"}'],
  ])('upstream not JSON / 502 HTML / truncated ⇒ bytes unchanged: %s', async (_, status, type, body) => {
    const { sync, since } = await followed();
    sync.script = ({ res }) => {
      res.writeHead(status, { 'content-type': type, 'x-kept': 'yes' });
      res.end(body);
    };
    const answer = await sync.sync({ since });
    expect([answer.status, answer.text]).toEqual([status, body]);
    expect(answer.headers.get('content-type')).toBe(type);
    expect(answer.headers.get('x-kept')).toBe('yes');
  });

  test('upstream not JSON, coded ⇒ bytes unchanged, the coding still said', async () => {
    const { sync, since } = await followed();
    sync.script = ({ res }) => {
      res.writeHead(200, { 'content-encoding': 'gzip' });
      res.end(gzipSync('no JSON at all'));
    };
    const answer = await sync.sync({ since });
    expect(answer.text).toBe('no JSON at all');
    expect(answer.headers.get('content-encoding')).toBe('gzip');
  });

  test('a coding that nobody knows ⇒ bytes unchanged', async () => {
    const { sync, since } = await followed();
    sync.script = ({ res }) => {
      res.writeHead(200, { 'content-encoding': 'x-own' });
      res.end('{"next_batch":"s1"}');
    };
    const answer = await sync.sync({ since });
    expect(answer.text).toBe('{"next_batch":"s1"}');
  });

  test('upstream dies before it answers ⇒ 502 JSON `errcode`, CORS headers present', async () => {
    const { sync, since } = await followed();
    sync.script = ({ res }) => res.destroy();
    const answer = await sync.sync({ since });
    expect(answer.status).toBe(502);
    expect(answer.body).toMatchObject({ errcode: 'M_UNKNOWN' });
    expect(answer.headers.get('access-control-allow-origin')).toBe('*');
  });

  test('the store fails ⇒ the homeserver’s answer, our part of the token kept', async () => {
    const { sync, house, since } = await followed();
    await house.store.close();
    sync.script = ({ answer }) => answer({ next_batch: LATER, rooms: { join: { '!a:b': {} } } });
    const answer = await sync.sync({ since });
    expect(answer.body.rooms).toEqual({ join: { '!a:b': {} } });
    expect(unwrapToken(answer.body.next_batch)).toEqual({ homeserver: LATER, ours: unwrapToken(since).ours });
  });

  test('a stored filter that cannot be had ⇒ the homeserver’s answer alone, and what it held back comes with the next', async () => {
    const { sync, house, room, since } = await followed();
    house.homeserver.filters.set(`${ALICE.userId} 7`, { room: { timeline: { types: ['m.room.message'] } } });
    const filter = house.homeserver.filter.bind(house.homeserver);
    house.homeserver.filter = () => Promise.reject(new HomeserverDown('busy'));
    room.state('m.room.topic', '', { topic: 'new' });
    room.message('new');
    await house.settle();
    sync.script = ({ answer }) => answer({ next_batch: LATER, rooms: { join: { '!a:b': {} } } });
    const alone = await sync.sync({ since, filter: '7' });
    expect(alone.body.rooms).toEqual({ join: { '!a:b': {} } });
    house.homeserver.filter = filter;
    const next = await sync.sync({ since: alone.body.next_batch, filter: '7' });
    expect(section(next, room.roomId)).toMatchObject({ timeline: ['new'], state: ['topic=new'] });
  });

  test('a stored filter that the homeserver does not tell in time ⇒ its answer is not held up by that', async () => {
    const { sync, house, room, since } = await followed();
    house.homeserver.filter = () => new Promise(() => {});
    room.message('new');
    await house.settle();
    sync.script = ({ answer }) => answer({ next_batch: LATER });
    let answered = false;
    const waiting = sync.sync({ since, filter: '7' }).finally(() => {
      answered = true;
    });
    for (let waited = 0; !answered && waited < 2_000; waited += 50) {
      await new Promise((resolve) => setTimeout(resolve, 10));
      await house.clock.advance(50);
    }
    const alone = await waiting;
    expect(alone.body.rooms).toBeUndefined();
    const next = await sync.sync({ since: alone.body.next_batch });
    expect(section(next, room.roomId)).toMatchObject({ timeline: ['new'] });
  });

  test('the store fails while a join is booked ⇒ the homeserver’s answer, our part of the token kept', async () => {
    const { sync, house, room, since } = await followed();
    house.store.devicePeeks.ofRoom = () => Promise.reject(new StoreDownError('down'));
    sync.script = ({ answer }) => answer({ next_batch: LATER, rooms: { join: { [room.roomId]: {} } } });
    const answer = await sync.sync({ since });
    expect(answer.body.rooms).toEqual({ join: { [room.roomId]: {} } });
    expect(unwrapToken(answer.body.next_batch).homeserver).toBe(LATER);
  });

  test.each(['suffix', 'ninth-field'] as const)(
    'our part of the token unknown/foreign/garbled ⇒ taken out, the homeserver’s own token goes upstream (%s)',
    async (mode) => {
      const { sync, house, room } = await peeking();
      sync.tokenMode = mode;
      sync.script = ({ answer }) => answer({ next_batch: TOKEN });
      const { next_batch: since } = (await sync.sync()).body;
      const foreign = { ...ALICE, userId: '@bob:here.test' };
      house.homeserver.identities.set('Bearer bob', foreign);
      await house.peek(room.roomId, foreign);
      const garbled =
        mode === 'suffix' ? `${since.slice(0, -2)}AA` : since.replace(/\d{12}(?=_1_1_1_1_1$)/, '0');
      for (const [token, who] of [
        [since, 'bob'],
        [garbled, 'alice'],
      ] as const) {
        sync.asked.length = 0;
        const answer = await sync.sync({ since: token }, who);
        expect((await sync.upstream(0)).url.searchParams.get('since')).toBe(TOKEN);
        expect(section(answer, room.roomId)).toMatchObject({ limited: true });
      }
    },
  );

  test('a token without our part ⇒ unchanged, and the peeks are new', async () => {
    const { sync, room } = await peeking();
    sync.script = ({ answer }) => answer({ next_batch: LATER });
    const answer = await sync.sync({ since: TOKEN });
    expect((await sync.upstream(0)).url.searchParams.get('since')).toBe(TOKEN);
    expect(section(answer, room.roomId)).toMatchObject({ limited: true });
  });
});

describe('rooms that the homeserver has itself', () => {
  test('join of peeked room: once in join, zero in peek; the user’s peeks on it end, on all devices', async () => {
    const { sync, house, room, since } = await followed();
    const laptop = { ...ALICE, deviceId: 'LAPTOP' };
    await house.peek(room.roomId, laptop);
    room.message('new');
    await house.settle();
    sync.script = ({ answer }) => answer({ next_batch: LATER, rooms: { join: { [room.roomId]: { a: 1 } } } });
    const answer = await sync.sync({ since });
    expect(answer.body.rooms).toEqual({ join: { [room.roomId]: { a: 1 } } });
    expect(answer.body.next_batch).toBe(LATER);
    expect(await house.store.devicePeeks.ofRoom(room.roomId)).toEqual([]);
    expect((await new TestDevice(house, laptop).sync()).leave.size).toBe(0);
  });

  describe('a join of a peeked room', () => {
    const AFTER = 'org.matrix.msc4222.state_after';

    /** The peeker has the room's state but for its newest topic; what `query` asks is answered with the join. */
    async function joinedBy(query: (since: string) => Record<string, string>, name = 'state') {
      const { sync, house, room } = await peeking();
      const asks: Record<string, string> =
        name === 'state' ? {} : { 'org.matrix.msc4222.use_state_after': 'true' };
      const elsewhere = { '!o:b': { [name]: { events: [] } } };
      sync.script = ({ answer }) => answer({ next_batch: TOKEN, rooms: { join: elsewhere } });
      const first = await sync.sync(asks);
      const brought = room.currentState.map(({ eventId, pdu }) => ({
        content: pdu.content,
        event_id: eventId,
        type: pdu.type,
        state_key: pdu.state_key,
      }));
      const topic = room.state('m.room.topic', '', { topic: 'new' });
      await house.settle();
      const fresh = { event_id: topic.eventId, type: 'm.room.topic', state_key: '' };
      const [create, ...others] = brought;
      const join = (events: unknown[]) => ({
        '!o:b': { [name]: { events: brought } },
        [room.roomId]: { timeline: { events: brought }, [name]: { events } },
      });
      const whole = join([create, fresh, ...others]);
      sync.script = ({ answer }) => answer({ next_batch: LATER, rooms: { join: whole } });
      const { join: got } = (await sync.sync({ ...asks, ...query(first.body.next_batch) })).body.rooms ?? {};
      return { got, whole, withoutWhatItHas: join([fresh]) };
    }

    test.each(['state', AFTER])(
      'comes without the %s that the device has; its timeline and other rooms whole',
      async (name) => {
        const { got, withoutWhatItHas } = await joinedBy((since) => ({ since }), name);
        expect(got).toEqual(withoutWhatItHas);
      },
    );

    test.each<[string, (since: string) => Record<string, string>]>([
      ['with full_state', (since) => ({ since, full_state: 'true' })],
      ['without `since`', () => ({})],
      ['with a token that knows nothing of the peek', () => ({ since: TOKEN })],
      ['to another filter', (since) => ({ since, filter: '{"event_fields":["type"]}' })],
    ])('comes whole %s', async (_how, query) => {
      const { got, whole } = await joinedBy(query);
      expect(got).toEqual(whole);
    });
  });

  describe('state after the timeline (MSC4222)', () => {
    const AFTER = 'org.matrix.msc4222.state_after';
    const asked = { [AFTER.replace('state_after', 'use_state_after')]: 'true' };
    const names = (answer: { body: { rooms?: { peek?: Record<string, object> } } }, roomId: string) =>
      Object.keys(answer.body.rooms?.peek?.[roomId] ?? {}).filter(
        (name) => !['timeline', 'ephemeral'].includes(name),
      );
    const other = (name: string) => ({ join: { '!o:b': { timeline: {}, [name]: { events: [] } } } });

    test.each([
      [AFTER, AFTER],
      ['state_after', 'state_after'],
      ['state', 'state'],
    ])('follows the homeserver: its rooms have %s', async (theirs, ours) => {
      const { sync, room } = await peeking();
      sync.script = ({ answer }) => answer({ next_batch: TOKEN, rooms: other(theirs) });
      expect(names(await sync.sync(asked), room.roomId)).toEqual([ours]);
    });

    test('is as in its last answer where this one has no rooms, or is not waited for; at first `state`', async () => {
      const { sync, house, room } = await peeking();
      sync.script = ({ answer }) => answer({ next_batch: TOKEN });
      expect(names(await sync.sync(asked), room.roomId)).toEqual(['state']);
      sync.script = ({ answer }) => answer({ next_batch: TOKEN, rooms: other(AFTER) });
      const { next_batch: since } = (await sync.sync(asked)).body;
      sync.script = () => {};
      room.message('new');
      await house.settle();
      expect(names(await sync.sync({ ...asked, since, ...POLL }), room.roomId)).toEqual([AFTER]);
    });

    test('is never there for who has not asked', async () => {
      const { sync, room } = await peeking();
      sync.script = ({ answer }) => answer({ next_batch: TOKEN, rooms: other('state') });
      expect(names(await sync.sync(), room.roomId)).toEqual(['state']);
    });
  });

  test('leave after join: not back in peek', async () => {
    const { sync, room, since } = await followed();
    sync.script = ({ answer }) => answer({ next_batch: LATER, rooms: { join: { [room.roomId]: {} } } });
    const joined = await sync.sync({ since });
    sync.script = ({ answer }) =>
      answer({ next_batch: LATER, rooms: { leave: { [room.roomId]: { b: 1 } } } });
    const left = await sync.sync({ since: joined.body.next_batch });
    expect(left.body.rooms).toEqual({ leave: { [room.roomId]: { b: 1 } } });
    sync.script = ({ answer }) => answer({ next_batch: LATER });
    expect((await sync.sync({ since: left.body.next_batch })).body.rooms).toBeUndefined();
  });

  test.each(['invite', 'leave'] as const)(
    'in %s: the homeserver’s wins, ours waits for the next response',
    async (name) => {
      const { sync, house, room, since } = await followed();
      room.message('new');
      await house.settle();
      sync.script = ({ answer }) =>
        answer({ next_batch: LATER, rooms: { [name]: { [room.roomId]: { c: 1 } } } });
      const answer = await sync.sync({ since });
      expect(answer.body.rooms).toEqual({ [name]: { [room.roomId]: { c: 1 } } });
      sync.script = ({ answer }) => answer({ next_batch: LATER });
      const next = await sync.sync({ since: answer.body.next_batch });
      expect(section(next, room.roomId)?.timeline).toEqual(['new']);
    },
  );

  test('an ended peek of a room that is in invite is told in the next response', async () => {
    const { sync, house, room, since } = await followed();
    await house.peeking.unpeek(ALICE, room.roomId);
    sync.script = ({ answer }) => answer({ next_batch: LATER, rooms: { invite: { [room.roomId]: {} } } });
    const answer = await sync.sync({ since });
    expect(answer.body.rooms).toEqual({ invite: { [room.roomId]: {} } });
    sync.script = ({ answer }) => answer({ next_batch: LATER });
    const next = await sync.sync({ since: answer.body.next_batch });
    expect(next.body.rooms).toEqual({ leave: { [room.roomId]: {} } });
  });
});

describe('the end of the process', () => {
  test('a held poll of a peeking device is answered with the token that it came with', async () => {
    const { sync, since } = await followed();
    const waiting = sync.sync({ since, ...POLL });
    await sync.upstream(0);
    await new Promise((resolve) => setTimeout(resolve, 20));
    sync.held.release();
    expect((await waiting).body).toEqual({ next_batch: since, device_one_time_keys_count: ENOUGH });
    expect(sync.held.count).toBe(0);
  });
});

describe('a device whose peeks are not known here', () => {
  test('a device without peeks gets the homeserver’s bytes and token, untouched', async () => {
    const { sync, house } = await peeking();
    house.homeserver.identities.set('Bearer bob', { ...ALICE, userId: '@bob:here.test' });
    const text = '{ "next_batch" : "s1",\n"n": 1.0 }';
    sync.script = ({ res }) => {
      res.writeHead(200, { 'content-type': 'application/json', 'x-odd': 'é' });
      res.end(text);
    };
    const answer = await sync.sync({}, 'bob');
    expect(answer.text).toBe(text);
    expect((await sync.upstream(0)).req.headers['accept-encoding']).toBe('gzip');
  });

  test('an unknown token is looked up beside the upstream request', async () => {
    const { sync, house, room } = await peeking();
    house.homeserver.remembered = () => null;
    sync.script = ({ answer }) => answer({ next_batch: TOKEN });
    const answer = await sync.sync();
    expect(section(answer, room.roomId)).toMatchObject({ limited: true });
    expect(sync.asked).toHaveLength(1);
  });

  test('whoami slow ⇒ answer not held more than the grace, and our part of the token is kept', async () => {
    const { sync, house, since } = await followed();
    house.homeserver.remembered = () => null;
    house.homeserver.whoami = () => new Promise(() => {});
    sync.script = ({ answer }) => answer({ next_batch: LATER });
    const waiting = sync.sync({ since });
    await sync.upstream(0);
    await new Promise((resolve) => setTimeout(resolve, 30));
    await house.clock.advance(50);
    expect(unwrapToken((await waiting).body.next_batch)).toEqual({
      homeserver: LATER,
      ours: unwrapToken(since).ours,
    });
  });

  test('before the store was read, just after a start, our part of the token is kept', async () => {
    const { sync, house, since } = await followed();
    Object.defineProperty(house.devicePeeks, 'anyPeeks', { value: false });
    Object.defineProperty(house.devicePeeks, 'started', { value: false });
    sync.script = ({ answer }) => answer({ next_batch: LATER });
    const answer = await sync.sync({ since });
    expect(unwrapToken(answer.body.next_batch)).toEqual({ homeserver: LATER, ours: unwrapToken(since).ours });
  });
});
