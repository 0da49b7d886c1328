import { beforeEach, describe, expect, test, vi } from 'vitest';
import { PeerReads } from '../../../src/inbound-peeks/peer-reads.ts';
import { eventIdOf } from '../../../src/matrix/event-id.ts';
import type { JsonObject } from '../../../src/matrix/json.ts';
import { roomVersion } from '../../../src/matrix/room-versions.ts';
import { newEntry } from '../../../src/rooms/log-entries.ts';
import { bodyOf, House, PEER, ROOM } from './house.ts';

const V1 = '/_matrix/federation/v1';
const room = encodeURIComponent(ROOM);

let house: House;
let reads: PeerReads;

/** An event that the homeserver holds, with the ID that it has by its hash. */
function event(body: string, visible: boolean, fields: JsonObject = {}): { id: string; pdu: JsonObject } {
  const rules = roomVersion('10');
  if (rules === undefined) throw new Error('room version 10 is known');
  const pdu = {
    type: 'm.room.message',
    room_id: ROOM,
    sender: '@a:here.test',
    depth: 1,
    origin_server_ts: 1,
  };
  const whole = {
    ...pdu,
    auth_events: [],
    prev_events: [],
    hashes: { sha256: body },
    content: { body },
    ...fields,
  };
  const id = eventIdOf(whole, rules);
  house.homeserver.addEvent(id, whole, visible);
  return { id, pdu: whole };
}

function script(path: string, answer: JsonObject): string {
  house.homeserver.selfAnswers.set(path, answer);
  return path;
}

async function serve(
  method: string,
  path: string,
  body?: JsonObject,
  origin = PEER,
): Promise<JsonObject | null> {
  const answer = await reads.serve(origin, method, path, body);
  return answer === null ? null : bodyOf(answer);
}

function contents(list: unknown): unknown[] {
  return (list as JsonObject[]).map((pdu) => pdu.content);
}

beforeEach(async () => {
  house = await House.open();
  reads = new PeerReads(house);
  await house.put();
});

describe('event', () => {
  test('whole where it was world-readable, else redacted as homeservers do', async () => {
    for (const [visible, content] of [
      [true, { body: 'open' }],
      [false, {}],
    ] as const) {
      const { id, pdu } = event('open', visible);
      const path = script(`${V1}/event/${encodeURIComponent(id)}`, { origin: 'here.test', pdus: [pdu] });
      const answer = await serve('GET', path);
      expect(contents(answer?.pdus)).toEqual([content]);
      house.homeserver.events.delete(id);
    }
  });

  test('an event that the log holds hidden is not visible for that; a dummy event that joins shown ones is', async () => {
    const shown = event('shown', false);
    const secret = event('secret', false);
    const dummy = (...prev: string[]) =>
      event('', false, { type: 'org.matrix.dummy_event', content: {}, prev_events: prev });
    const [open, closed, lost] = [dummy(shown.id), dummy(shown.id, secret.id), dummy('$not in the log')];
    const entries = [shown, secret, open, closed, lost].map(({ id, pdu }) =>
      newEntry({ eventId: id, pdu, replaces: null }, 0, { shown: id === shown.id, applied: false }),
    );
    await house.store.logs.append(ROOM, { entries });
    for (const [{ id, pdu }, content] of [
      [shown, { body: 'shown' }],
      [secret, {}],
    ] as const) {
      const path = script(`${V1}/event/${encodeURIComponent(id)}`, { pdus: [pdu] });
      expect(contents((await serve('GET', path))?.pdus)).toEqual([content]);
    }
    const stateAt = (id: string) =>
      serve('GET', script(`${V1}/state_ids/${room}?event_id=${encodeURIComponent(id)}`, { pdu_ids: [] }));
    expect(await stateAt(open.id)).toEqual({ pdu_ids: [] });
    for (const { id } of [secret, closed, lost])
      await expect(stateAt(id)).rejects.toMatchObject({ status: 403 });
  });

  test('state that is older than the opening of the room goes out whole, replaced state does not', async () => {
    const topic = { type: 'm.room.topic', state_key: '' };
    const now = event('now', false, topic);
    const old = event('old', false, topic);
    house.homeserver.setState(ROOM, 'm.room.topic', '', { body: 'now' });
    const current = house.homeserver.rooms.get(ROOM)?.state.get('m.room.topic ');
    if (current !== undefined) current.event_id = now.id;
    for (const [{ id, pdu }, content] of [
      [now, { body: 'now' }],
      [old, {}],
    ] as const) {
      const path = script(`${V1}/event/${encodeURIComponent(id)}`, { pdus: [pdu] });
      expect(contents((await serve('GET', path))?.pdus)).toEqual([content]);
    }
  });

  test('state that a world-readable event replaced was in the state before it, and goes out whole', async () => {
    const topic = { type: 'm.room.topic', state_key: '' };
    const [oldest, old, hidden] = ['oldest', 'old', 'hidden'].map((body) => event(body, false, topic));
    const replaces = [oldest?.id ?? '', old?.id ?? '', hidden?.id ?? ''];
    const entries = replaces.map((id, n) =>
      newEntry({ eventId: `$replacing${n}`, pdu: { ...topic, content: {} }, replaces: id }, 0, {
        shown: n !== 2,
        applied: true,
      }),
    );
    await house.store.logs.append(ROOM, { entries });
    for (const [{ id, pdu }, content] of [
      [oldest, { body: 'oldest' }],
      [old, { body: 'old' }],
      [hidden, {}],
    ] as [{ id: string; pdu: JsonObject }, JsonObject][]) {
      const path = script(`${V1}/event/${encodeURIComponent(id)}`, { pdus: [pdu] });
      expect(contents((await serve('GET', path))?.pdus)).toEqual([content]);
    }
  });

  test('the auth chain of the present state goes out whole', async () => {
    const old = event('x', false, {
      type: 'm.room.power_levels',
      state_key: '',
      content: { users: {}, extra: 1 },
    });
    script(`${V1}/state_ids/${room}?event_id=%24latest`, { pdu_ids: [], auth_chain_ids: [old.id] });
    const path = script(`${V1}/event/${encodeURIComponent(old.id)}`, { pdus: [old.pdu] });
    expect(contents((await serve('GET', path))?.pdus)).toEqual([{ users: {}, extra: 1 }]);
  });

  test('an event of a room that the server does not peek is left to the homeserver', async () => {
    const { id, pdu } = event('other', true, { room_id: '!other:here.test' });
    const path = script(`${V1}/event/${encodeURIComponent(id)}`, { pdus: [pdu] });
    expect(await serve('GET', path)).toBeNull();
  });
});

describe('who may read', () => {
  test('a server without a peek is left to the homeserver, and nothing is asked', async () => {
    expect(await serve('GET', `${V1}/state/${room}?event_id=%24latest`, undefined, 'else.test')).toBeNull();
    await house.peeks.remove(PEER, ROOM, 'peek1');
    expect(await serve('GET', `${V1}/state/${room}?event_id=%24latest`)).toBeNull();
    expect(house.homeserver.selfRequests).toEqual([]);
  });

  test.each(['shared', 'joined', 'invited'])('a room that has become %s ⇒ 403', async (value) => {
    house.homeserver.setState(ROOM, 'm.room.history_visibility', '', { history_visibility: value });
    const read = serve('GET', `${V1}/backfill/${room}?v=%24latest&limit=10`);
    await expect(read).rejects.toMatchObject({ status: 403 });
  });

  test('a server that the ACL denies by now ⇒ 403', async () => {
    house.homeserver.setState(ROOM, 'm.room.server_acl', '', { allow: ['*'], deny: [PEER] });
    const read = serve('GET', `${V1}/state_ids/${room}?event_id=%24latest`);
    await expect(read).rejects.toMatchObject({ status: 403 });
  });
});

describe('how many reads a server may make in a minute', () => {
  const state = (at = '$latest', roomId = ROOM) =>
    script(`${V1}/state/${encodeURIComponent(roomId)}?event_id=${encodeURIComponent(at)}`, { pdus: [] });
  const tooMany = {
    status: 429,
    errcode: 'M_LIMIT_EXCEEDED',
    fields: { retry_after_ms: expect.any(Number) },
  };

  test('60 of history and state in a room, then 429 with the time to wait; the homeserver is not asked', async () => {
    const other = '!b:here.test';
    house.homeserver.addRoom(other);
    const [here, there] = [event('here', true), event('there', true, { room_id: other })];
    await house.put('other.test');
    await house.put(PEER, 'p', other);
    const path = state(here.id);
    for (let i = 0; i < 60; i++) expect(await serve('GET', path)).toEqual({ pdus: [] });
    const asked = house.homeserver.selfRequests.length;
    await expect(serve('GET', path)).rejects.toMatchObject(tooMany);
    await expect(serve('GET', `${V1}/backfill/${room}?v=$latest&limit=1`)).rejects.toMatchObject(tooMany);
    expect(house.homeserver.selfRequests).toHaveLength(asked);
    expect(await serve('GET', path, undefined, 'other.test')).toEqual({ pdus: [] });
    expect(await serve('GET', state(there.id, other))).toEqual({ pdus: [] });
    expect(await serve('GET', path, undefined, 'stranger.test')).toBeNull();
  });

  test('what a room asks after a fork: 12 questions for missing events, 3 auth chains, a state and 100 events', async () => {
    const missing = script(`${V1}/get_missing_events/${room}`, { events: [] });
    const auth = script(`${V1}/event_auth/${room}/%24latest`, { auth_chain: [] });
    const ids = script(`${V1}/state_ids/${room}?event_id=%24latest`, { pdu_ids: [], auth_chain_ids: [] });
    const { id, pdu } = event('one', true);
    const one = script(`${V1}/event/${encodeURIComponent(id)}`, { pdus: [pdu] });
    const body = { earliest_events: ['$a'], latest_events: ['$b'], limit: 20 };
    for (let i = 0; i < 12; i++) expect(await serve('POST', missing, body)).not.toBeNull();
    for (let i = 0; i < 3; i++) expect(await serve('GET', auth)).not.toBeNull();
    expect(await serve('GET', ids)).not.toBeNull();
    for (let i = 0; i < 100; i++) expect(await serve('GET', one)).not.toBeNull();
  });

  test('600 in all its rooms, of which those of history count five times', async () => {
    const { id, pdu } = event('one', true);
    const one = script(`${V1}/event/${encodeURIComponent(id)}`, { pdus: [pdu] });
    await serve('GET', state());
    for (let i = 0; i < 595; i++) await serve('GET', one);
    await expect(serve('GET', one)).rejects.toMatchObject(tooMany);
    await expect(serve('GET', state())).rejects.toMatchObject(tooMany);
  });
});

describe('state', () => {
  test.each(['state', 'state_ids'])(
    '%s at a world-readable event, as the homeserver gives it',
    async (kind) => {
      const path = script(`${V1}/${kind}/${room}?event_id=%24latest`, {
        pdu_ids: ['$a'],
        auth_chain_ids: [],
      });
      expect(await serve('GET', path)).toEqual({ pdu_ids: ['$a'], auth_chain_ids: [] });
    },
  );

  test.each(['state', 'state_ids'])('%s at an event that was not world-readable ⇒ 403', async (kind) => {
    const { id } = event('secret', false);
    const path = script(`${V1}/${kind}/${room}?event_id=${encodeURIComponent(id)}`, { pdu_ids: [] });
    await expect(serve('GET', path)).rejects.toMatchObject({ status: 403 });
  });

  test('what state_ids named may be fetched whole', async () => {
    const replaced = event('then', false, { type: 'm.room.topic', state_key: '' });
    const ids = script(`${V1}/state_ids/${room}?event_id=%24latest`, {
      pdu_ids: [replaced.id],
      auth_chain_ids: [],
    });
    const path = script(`${V1}/event/${encodeURIComponent(replaced.id)}`, { pdus: [replaced.pdu] });
    await serve('GET', ids);
    expect(contents((await serve('GET', path))?.pdus)).toEqual([{ body: 'then' }]);
  });

  test('state goes out in the bytes that the homeserver gave', async () => {
    const odd = Buffer.from('{ "pdus": [{"n":1.0, "big":12345678901234567890}] }');
    house.homeserver.selfRequest = async () => ({ status: 200, body: odd });
    const answer = await reads.serve(PEER, 'GET', `${V1}/state/${room}?event_id=%24latest`, undefined);
    expect(Buffer.concat(answer?.chunks ?? []).toString()).toBe(odd.toString());
  });

  test('one state at a time is read for a server, ten wait, and more are told to come later ⇒ 503; others are read for beside it', async () => {
    let release = () => {};
    let asked = 0;
    const gate = new Promise<void>((resolve) => {
      release = resolve;
    });
    house.homeserver.selfRequest = async () => {
      asked += 1;
      await gate;
      return { status: 200, body: Buffer.from('{"pdus":[]}') };
    };
    const path = `${V1}/state/${room}?event_id=%24latest`;
    const read = (origin?: string) =>
      serve('GET', path, undefined, origin).catch((error: unknown) => error as Error);
    const served = Array.from({ length: 25 }, () => read());
    await house.settle();
    expect(asked).toBe(1);
    await house.put('other.test');
    const beside = read('other.test');
    await house.settle();
    expect(asked).toBe(2);
    release();
    expect(await beside).toEqual({ pdus: [] });
    const refused = (await Promise.all(served)).filter((answer) => answer instanceof Error);
    expect(refused).toHaveLength(14);
    expect(refused[0]).toMatchObject({ status: 503, fields: { retry_after_ms: 10_000 } });
  });

  test('event_auth of what was not world-readable ⇒ 403, of what was: as the homeserver gives it', async () => {
    const { id } = event('secret', false);
    const secret = script(`${V1}/event_auth/${room}/${encodeURIComponent(id)}`, { auth_chain: [] });
    await expect(serve('GET', secret)).rejects.toMatchObject({ status: 403 });
    const open = script(`${V1}/event_auth/${room}/%24latest`, { auth_chain: [{ type: 'm.room.create' }] });
    expect(await serve('GET', open)).toEqual({ auth_chain: [{ type: 'm.room.create' }] });
  });
});

describe('history', () => {
  test('backfill: at most 100, each event judged for itself', async () => {
    const events = Array.from({ length: 120 }, (_, i) => event(`${i}`, i % 3 !== 0));
    script(`${V1}/backfill/${room}?v=%24latest&limit=100`, { pdus: events.map(({ pdu }) => pdu) });
    const answer = await serve('GET', `${V1}/backfill/${room}?v=$latest&limit=5000`);
    expect(contents(answer?.pdus)).toEqual(
      Array.from({ length: 100 }, (_, i) => (i % 3 === 0 ? {} : { body: `${i}` })),
    );
  });

  test('an event of another room that the homeserver gives goes nowhere', async () => {
    const events = [event('here', true), event('there', true, { room_id: '!other:here.test' })];
    script(`${V1}/backfill/${room}?v=%24latest&limit=10`, { pdus: events.map(({ pdu }) => pdu) });
    const answer = await serve('GET', `${V1}/backfill/${room}?v=$latest&limit=10`);
    expect(contents(answer?.pdus)).toEqual([{ body: 'here' }]);
  });

  test('of hidden auth events: the present auth chain is looked up once for all of them', async () => {
    const events = Array.from({ length: 30 }, (_, i) =>
      event(`${i}`, false, { type: 'm.room.member', state_key: `@u${i}:here.test` }),
    );
    const ids = events.map(({ id }) => id);
    script(`${V1}/state_ids/${room}?event_id=%24latest`, { pdu_ids: [], auth_chain_ids: ids.slice(0, 20) });
    script(`${V1}/backfill/${room}?v=%24latest&limit=100`, { pdus: events.map(({ pdu }) => pdu) });
    const extremities = vi.spyOn(house.homeserver, 'extremities');
    const answer = await serve('GET', `${V1}/backfill/${room}?v=$latest&limit=100`);
    expect(contents(answer?.pdus)).toEqual(ids.map((_, i) => (i < 20 ? { body: `${i}` } : {})));
    expect(extremities).toHaveBeenCalledTimes(1);
  });

  test('get_missing_events: at most 20, unknown keys are not passed on', async () => {
    const events = [event('open', true), event('secret', false)];
    const path = script(`${V1}/get_missing_events/${room}`, { events: events.map(({ pdu }) => pdu) });
    const body = { earliest_events: ['$a', 7], latest_events: ['$b'], limit: 1000, min_depth: 3, other: 1 };
    expect(contents((await serve('POST', path, body))?.events)).toEqual([{ body: 'open' }, {}]);
    expect(house.homeserver.selfRequests.at(-1)?.body).toEqual({
      earliest_events: ['$a'],
      latest_events: ['$b'],
      limit: 20,
      min_depth: 3,
    });
  });

  test.each([
    ['GET', `${V1}/backfill/${room}/more?v=x`],
    ['GET', `${V1}/make_join/${room}/@u:there.test`],
    ['POST', `${V1}/event/$x`],
    ['GET', `${V1}/event/%zz`],
    ['GET', `${V1}/state/${room}`],
  ])('%s %s is none of ours', async (method, path) => {
    expect(await serve(method, path, {})).toBeNull();
  });
});
