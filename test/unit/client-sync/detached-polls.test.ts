import { describe, expect, test, vi } from 'vitest';
import { unwrapToken } from '../../../src/client-sync/sync-token.ts';
import { ALICE } from '../../support/peeking-house.ts';
import { RoomBuilder } from '../../support/room-builder.ts';
import { SyncHouse } from '../../support/sync-house.ts';

const TOKEN = 's44_17_4_3_2_1_1_3_0_1_1_1_1_1';
const LATER = 's45_17_4_3_2_1_1_3_0_1_1_1_1_1';
const KEYS = { to_device: { events: [{ type: 'm.room.encrypted' }] } };
const MEMBER = { rooms: { join: { '!r:here': { state: { events: [{ type: 'm.room.member' }] } } } } };

/** Alice peeks into a room of our own homeserver; the first section is delivered. */
async function followed(filter?: string) {
  const sync = await SyncHouse.open();
  const { house } = sync;
  const room = house.resident(new RoomBuilder());
  await house.peek(room.roomId);
  sync.script = ({ answer }) => answer({ next_batch: TOKEN });
  const { next_batch: since } = (await sync.sync(filter === undefined ? {} : { filter })).body;
  sync.script = () => {};
  sync.asked.length = 0;
  /** A peeked event ends the request that waits, whose poll is then detached. */
  const detach = async (query: Record<string, string> = {}) => {
    const waiting = sync.sync({ since, timeout: '30000', ...query });
    const asked = await sync.upstream(sync.asked.length);
    room.message('news');
    await house.settle();
    await waiting;
    return asked;
  };
  /** Until the answer of a detached poll has come in. */
  const arrived = () => new Promise((resolve) => setTimeout(resolve, 30));
  return { sync, house, room, since, detach, arrived };
}

const tokenIn = (answer: { body: { next_batch: string } }) => unwrapToken(answer.body.next_batch).homeserver;

describe('no computed homeserver answer is lost', () => {
  test('a client that goes away while the answer is written to it gets it again', async () => {
    const { sync, since } = await followed();
    const padding = 'x'.repeat(8 * 1024 * 1024);
    sync.script = ({ answer }) => answer({ next_batch: LATER, ...KEYS, padding });
    const abort = new AbortController();
    const response = await fetch(sync.target({ since, timeout: '30000' }), {
      headers: { authorization: 'Bearer alice' },
      signal: abort.signal,
    });
    expect(response.status).toBe(200);
    abort.abort();
    await vi.waitFor(() => expect(sync.held.count).toBe(0));
    const again = await sync.sync({ since, timeout: '30000' });
    expect(again.body).toMatchObject(KEYS);
    expect(sync.asked).toHaveLength(1);
  });

  test('a hundred retries of one `since`, with whatever timeout, get the answer that was computed once', async () => {
    const { sync, since } = await followed();
    sync.script = ({ answer }) => answer({ next_batch: LATER, ...KEYS, ...MEMBER });
    for (let retry = 0; retry < 100; retry++) {
      const answer = await sync.sync({ since, timeout: String(retry % 3) });
      expect(answer.body).toMatchObject({ ...KEYS, ...MEMBER });
    }
    expect(sync.asked).toHaveLength(1);
    await sync.sync({ since: LATER });
    await sync.sync({ since });
    expect(sync.asked).toHaveLength(3);
  });

  test('a client that goes away before it is known who it is: the poll runs on and is found', async () => {
    const { sync, house, since } = await followed();
    const remembered = house.homeserver.remembered.bind(house.homeserver);
    const whoami = house.homeserver.whoami.bind(house.homeserver);
    const told = Promise.withResolvers<void>();
    house.homeserver.remembered = () => null;
    house.homeserver.whoami = async (caller) => {
      await told.promise;
      return whoami(caller);
    };
    const abort = new AbortController();
    const gone = sync.sync({ since, timeout: '30000' }, 'alice', abort.signal).catch(() => 'gone');
    const asked = await sync.upstream(0);
    abort.abort();
    expect(await gone).toBe('gone');
    await new Promise((resolve) => setTimeout(resolve, 20));
    told.resolve();
    house.homeserver.remembered = remembered;
    await vi.waitFor(() => expect(sync.held.count).toBe(0));
    expect(asked.res.destroyed).toBe(false);
    asked.answer({ next_batch: LATER, ...KEYS });
    expect((await sync.sync({ since, timeout: '30000' })).body).toMatchObject(KEYS);
    expect(sync.asked).toHaveLength(1);
  });

  test('one who turns out to peek nothing is let go with its client', async () => {
    const { sync, house } = await followed();
    house.homeserver.identities.set('Bearer bob', { ...ALICE, userId: '@bob:here.test' });
    house.homeserver.remembered = () => null;
    const abort = new AbortController();
    const gone = sync.sync({ since: TOKEN, timeout: '30000' }, 'bob', abort.signal).catch(() => 'gone');
    const asked = await sync.upstream(0);
    abort.abort();
    expect(await gone).toBe('gone');
    await vi.waitFor(() => expect(asked.res.destroyed).toBe(true));
    expect(sync.held.count).toBe(0);
  });

  test('two syncs of one device at once get the same answer, of one poll', async () => {
    const { sync, since } = await followed();
    const both = [sync.sync({ since, timeout: '30000' }), sync.sync({ since, timeout: '20000' })];
    const asked = await sync.upstream(0);
    await vi.waitFor(() => expect(sync.held.count).toBe(2));
    asked.answer({ next_batch: LATER, ...KEYS });
    for (const answer of await Promise.all(both)) expect(answer.body).toMatchObject(KEYS);
    expect(sync.asked).toHaveLength(1);
  });

  test('a changed filter asks for itself, and the poll with the old one is still there to go back to', async () => {
    const { sync, since, detach, arrived } = await followed();
    const first = await detach();
    const other = sync.sync({ since, timeout: '30000', filter: '{"room":{"timeline":{"limit":0}}}' });
    const second = await sync.upstream(1);
    expect(second.url.searchParams.get('filter')).toContain('limit');
    second.answer({ next_batch: LATER });
    expect(tokenIn(await other)).toBe(LATER);
    first.answer({ next_batch: LATER, ...MEMBER });
    await arrived();
    expect((await sync.sync({ since, timeout: '30000' })).body).toMatchObject(MEMBER);
    expect(sync.asked).toHaveLength(2);
  });
});

describe('an answer that came while no client was there', () => {
  test('with nothing in it ⇒ is not handed out: what has come since is asked for', async () => {
    const { sync, house, since, detach, arrived } = await followed();
    (await detach()).answer({ next_batch: TOKEN });
    await arrived();
    await house.clock.advance(50_000);
    sync.script = ({ answer }) => answer({ next_batch: LATER, ...KEYS });
    expect((await sync.sync({ since })).body).toMatchObject(KEYS);
    expect(sync.asked).toHaveLength(2);
  });

  test('502 of a homeserver that restarts ⇒ is not handed out', async () => {
    const { sync, since, detach, arrived } = await followed();
    const { res } = await detach();
    res.writeHead(502);
    res.end('<html>Bad Gateway</html>');
    await arrived();
    sync.script = ({ answer }) => answer({ next_batch: LATER, ...KEYS });
    expect((await sync.sync({ since })).body).toMatchObject(KEYS);
  });

  test('the homeserver dies in the middle of a detached poll ⇒ the next request asks it again', async () => {
    const { sync, since, detach, arrived } = await followed();
    const { res } = await detach();
    res.write('{"next_batch":"s4');
    res.destroy();
    await arrived();
    sync.script = ({ answer }) => answer({ next_batch: LATER, ...KEYS });
    expect((await sync.sync({ since })).body).toMatchObject(KEYS);
  });
});

describe('timeout', () => {
  test.each<[string, { timeout?: string }]>([
    ['absent', {}],
    ['0', { timeout: '0' }],
    ['nonsense', { timeout: 'soon' }],
    ['negative', { timeout: '-1' }],
    ['broken', { timeout: '0.5' }],
    ['hexadecimal', { timeout: '0x10' }],
    ['infinite', { timeout: 'Infinity' }],
    ['empty', { timeout: '' }],
  ])('%s ⇒ goes to the homeserver as it is, whose answer is waited for', async (_, query) => {
    const { sync, house, room, since } = await followed();
    room.message('news');
    await house.settle();
    const waiting = sync.sync({ since, ...(query.timeout !== undefined && { timeout: query.timeout }) });
    const { url, res } = await sync.upstream(0);
    expect(url.searchParams.get('timeout')).toBe(query.timeout ?? null);
    res.writeHead(400);
    res.end('{"errcode":"M_INVALID_PARAM"}');
    expect(await waiting).toMatchObject({ status: 400, body: { errcode: 'M_INVALID_PARAM' } });
  });

  test.each(['1', '1000', '1000000000', '99999999999999999999'])(
    '%s: news ends it, and the next request with another takes the poll over',
    async (timeout) => {
      const { sync, house, room, since, detach } = await followed();
      const asked = await detach({ timeout });
      expect(asked.url.searchParams.get('timeout')).toBe(timeout);
      sync.script = ({ answer }) => answer({ next_batch: LATER });
      const read = (await sync.sync({ since, timeout: '30000' })).body;
      expect(read.rooms?.peek?.[room.roomId]).toBeDefined();
      const waiting = sync.sync({ since: read.next_batch, timeout: '1000000000' });
      await vi.waitFor(() => expect(sync.held.count).toBe(1));
      asked.answer({ next_batch: LATER, ...KEYS });
      expect((await waiting).body).toMatchObject(KEYS);
      expect(house.clock.pending).toBeLessThanOrEqual(1);
    },
  );

  test('shorter than that of the poll it takes over ⇒ answered in its own time, also when the store is down', async () => {
    const { sync, house, since, detach } = await followed();
    await detach({ timeout: '1000000000' });
    await house.store.close();
    const waiting = sync.sync({ since, timeout: '5000' });
    await vi.waitFor(() => expect(sync.held.count).toBe(1));
    await new Promise((resolve) => setTimeout(resolve, 20));
    await house.clock.advance(5_000);
    expect((await waiting).body).toMatchObject({ next_batch: since });
    expect(sync.asked).toHaveLength(1);
  });
});

describe('what the homeserver refuses', () => {
  test.each([
    ['a filter that is no JSON', { filter: '{"room":' }],
    ['a filter of wrong types', { filter: '{"room":[]}' }],
    ['an unknown stored filter', { filter: '99' }],
    ['a token that is none', { since: 'no-token' }],
  ])('%s ⇒ its own answer, though there is news', async (_, query) => {
    const { sync, house, room, since } = await followed();
    room.message('news');
    await house.settle();
    sync.script = ({ res }) => {
      res.writeHead(400);
      res.end('{"errcode":"M_INVALID_PARAM"}');
    };
    const answer = await sync.sync({ since, timeout: '30000', ...query });
    expect(answer).toMatchObject({ status: 400, body: { errcode: 'M_INVALID_PARAM' } });
  });

  test('what it does not refuse within 100 ms is answered with the news', async () => {
    const { sync, house, room, since } = await followed();
    room.message('news');
    await house.settle();
    const waiting = sync.sync({ since, timeout: '30000', filter: '{}' });
    await sync.upstream(0);
    await vi.waitFor(() => expect(house.clock.pending).toBeGreaterThan(0));
    await house.clock.advance(100);
    expect((await waiting).body.rooms?.peek?.[room.roomId]).toBeDefined();
  });

  test('with the filter that it took last, news does not wait', async () => {
    const { sync, house, room, since } = await followed('{"room":{}}');
    room.message('news');
    await house.settle();
    const answer = await sync.sync({ since, timeout: '30000', filter: '{"room":{}}' });
    expect(answer.body.rooms?.peek?.[room.roomId]).toBeDefined();
  });
});

test('an answer of ours does not say that the device is out of one-time keys', async () => {
  const { sync, house, room, since } = await followed();
  room.message('news');
  await house.settle();
  const { body } = await sync.sync({ since, timeout: '30000' });
  expect(body).toMatchObject({ device_one_time_keys_count: { signed_curve25519: 50 } });
  expect(body).not.toHaveProperty('device_unused_fallback_key_types');
});
