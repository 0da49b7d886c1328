import { describe, expect, test } from 'vitest';
import type { Json, JsonObject } from '../../../src/matrix/json.ts';
import { readLargeAnswer, type VerifiedBatch } from '../../../src/rooms/large-answer.ts';
import type { EventRejected } from '../../../src/rooms/verify-event.ts';
import type { JobKey } from '../../../src/rooms/verify-jobs.ts';
import { verifyMany } from '../../../src/rooms/verify-many.ts';
import { keyOf, RoomBuilder, TestKeyRing } from '../../support/room-builder.ts';
import { ScriptedWorkers } from '../../support/scripted-workers.ts';

const LIMITS = { maxValues: 1_000_000, maxEvents: 10_000, ownServer: 'here.test', answering: 'there.test' };
const SERVERS = ['there.test', 's0.test', 's1.test'];
const FOREVER = Number.MAX_SAFE_INTEGER;

function largeRoom(version = '10', members = 40): RoomBuilder {
  const room = new RoomBuilder(version);
  for (let i = 0; i < members; i++) room.member(`@user${i}:s${i % 2}.test`, 'join');
  room.member('@speaker:s1.test', 'join', { displayname: 'before' });
  room.member('@speaker:s1.test', 'join', { displayname: 'now' });
  room.state('m.room.topic', '', { topic: 'many' });
  for (let i = 0; i < 60; i++) room.message(`word ${i}`, '@speaker:s1.test');
  return room;
}

const read = (answer: Json, limits = LIMITS) =>
  readLargeAnswer(new ScriptedWorkers(), Buffer.from(JSON.stringify(answer)), limits);
const allKeys = (until = FOREVER): JobKey[] =>
  SERVERS.map((server) => ({ server, keyId: 'ed25519:test', publicKey: keyOf(server).publicKey, until }));
const ids = (events: readonly { eventId: string }[]) => events.map(({ eventId }) => eventId);

async function verifiedRest(answer: JsonObject, room: RoomBuilder, keys = allKeys()) {
  const { first, rest } = await read(answer);
  const rejected: EventRejected[] = [];
  const batches: VerifiedBatch[] = [];
  const named = { roomId: room.roomId, version: room.version };
  for await (const batch of rest.verified(named, keys, (error) => rejected.push(error))) batches.push(batch);
  const of = (list: VerifiedBatch['list']) =>
    batches.filter((batch) => batch.list === list).flatMap(({ events }) => events);
  return { first, rest, rejected, batches, state: of('state'), authChain: of('authChain') };
}

const verifiedHere = (events: Json | undefined, room: RoomBuilder) =>
  verifyMany(events as Json[], room, new TestKeyRing(), () => undefined);

describe('what is needed first', () => {
  test('has a joined member of the answering server, with what authorises it, where no other reason needs one', async () => {
    const room = largeRoom();
    room.member('@user0:s0.test', 'leave');
    const { first } = await read(room.peekAnswer(), { ...LIMITS, answering: 's0.test' });
    const theirs = (first.state as JsonObject[]).filter(
      ({ state_key, content }) =>
        String(state_key).endsWith(':s0.test') && (content as JsonObject).membership === 'join',
    );
    expect(theirs.map(({ state_key }) => state_key)).toEqual([
      '@user2:s0.test',
      '@user4:s0.test',
      '@user6:s0.test',
    ]);
  });

  test('is state but memberships, those of who speaks or set it, and what authorises them', async () => {
    const room = largeRoom();
    const { first } = await read(room.peekAnswer());
    const types = (first.state as JsonObject[]).map(({ type, state_key }) => [type, state_key]);
    expect(types).toEqual([
      ['m.room.create', ''],
      ['m.room.member', room.creator],
      ['m.room.power_levels', ''],
      ['m.room.join_rules', ''],
      ['m.room.history_visibility', ''],
      ['m.room.member', '@speaker:s1.test'],
      ['m.room.topic', ''],
    ]);
    const chain = ids(await verifiedHere(first.auth_chain, room));
    const before = room.events.find(({ pdu }) => pdu.content.displayname === 'before');
    expect(chain).toContain(before?.eventId);
    expect(chain.length).toBeLessThan(10);
  });

  test('has the memberships of our own users: a banned one may not be shown the room', async () => {
    const room = largeRoom();
    room.state('m.room.member', '@banned:here.test', { membership: 'ban' }, room.creator);
    const { first } = await read(room.peekAnswer(1));
    expect((first.state as JsonObject[]).map(({ state_key }) => state_key)).toContain('@banned:here.test');
  });

  test('keeps the other members of the answer, and the newest fifty of the recent events', async () => {
    const room = largeRoom();
    const answer = room.peekAnswer(55);
    const { first } = await read({ ...answer, note: 'x', long: 'x'.repeat(100_000) });
    expect(first).toMatchObject({ peek_id: 'theirs', room_version: '10', note: 'x' });
    expect(first).not.toHaveProperty('long');
    expect(first.messages).toEqual((answer.messages as Json[]).slice(-50));
    expect(first.latest_event).toEqual(answer.latest_event);
  });

  test('is not made endless by an answer that has nothing but other state', async () => {
    const room = new RoomBuilder();
    for (let i = 0; i < 700; i++) room.state('test.state', `${i}`, {});
    const { first, rest } = await read(room.peekAnswer());
    expect((first.state as Json[]).length).toBe(505);
    expect(rest.count).toBeGreaterThan(190);
  });
});

describe('the rest', () => {
  test.each(['1', '3', '6', '10', '11', '12'])(
    'is what is not first; together they are what verifying the whole gives (version %s)',
    async (version) => {
      const room = largeRoom(version);
      const answer = room.peekAnswer();
      const { first, state, authChain, rejected } = await verifiedRest(answer, room);
      expect(rejected).toEqual([]);
      for (const [list, rest] of [
        ['state', state],
        ['auth_chain', authChain],
      ] as const) {
        const whole = await verifiedHere(answer[list], room);
        const together = [...(await verifiedHere(first[list], room)), ...rest];
        expect(ids(together).toSorted()).toEqual(ids(whole).toSorted());
        for (const event of rest) expect(whole).toContainEqual(event);
      }
    },
  );

  test('comes in batches, the auth chain before the state, in their order', async () => {
    const room = largeRoom('10', 200);
    const answer = room.peekAnswer();
    const { batches, state } = await verifiedRest(answer, room);
    expect(batches.length).toBeGreaterThan(3);
    expect(batches.map(({ list }) => list)).toEqual(batches.map(({ list }) => list).toSorted());
    const inAnswer = ids(await verifiedHere(answer.state, room)).filter((id) => ids(state).includes(id));
    expect(ids(state)).toEqual(inAnswer);
  });

  test('an event that is bad costs itself: a signature, a room, no event at all', async () => {
    const room = largeRoom();
    const answer = room.peekAnswer();
    const members = (answer.state as JsonObject[]).filter(({ state_key }) =>
      String(state_key).startsWith('@user'),
    );
    (members[0] as JsonObject).signatures = {};
    (members[1] as JsonObject).room_id = '!other:there.test';
    (answer.state as Json[]).push('nothing', 17);
    const { state, rejected } = await verifiedRest({ ...answer, auth_chain: [] }, room);
    expect(rejected.map(({ reason }) => reason)).toEqual(['signature', 'room', 'shape', 'shape']);
    expect(state.length).toBe(38);
  });

  test('a wrong content hash ⇒ redacted; an event over its bounds is left out unread', async () => {
    const room = largeRoom();
    const answer = room.peekAnswer();
    const members = (answer.state as JsonObject[]).filter(({ state_key }) =>
      String(state_key).startsWith('@user'),
    );
    (members[0] as JsonObject).content = { membership: 'join', displayname: 'not what was hashed' };
    (members[1] as JsonObject).unsigned = { padding: 'x'.repeat(1024 * 1024) };
    const { state } = await verifiedRest({ ...answer, auth_chain: [] }, room);
    expect(state.length).toBe(39);
    expect(state.filter(({ redacted }) => redacted).map(({ pdu }) => pdu.content)).toEqual([
      { membership: 'join' },
    ]);
  });

  test('an event that nests too deep costs itself, among the first and among the rest', async () => {
    const room = largeRoom();
    const answer = JSON.stringify(room.peekAnswer());
    const deep = `{"type":"m.room.topic","state_key":"","a":${'['.repeat(5000)}${']'.repeat(5000)}}`;
    const text = answer.replace(
      '"state":[',
      `"state":[${deep},${deep.replace('m.room.topic', 'm.room.member')},`,
    );
    const { first, rest } = await readLargeAnswer(new ScriptedWorkers(), Buffer.from(text), LIMITS);
    expect((first.state as JsonObject[]).length).toBe(7);
    const rejected: EventRejected[] = [];
    const named = { roomId: room.roomId, version: room.version };
    for await (const _ of rest.verified(named, allKeys(), (error) => rejected.push(error)));
    expect(rejected.map(({ reason }) => reason)).toEqual(['shape', 'shape']);
  });

  test('a key counts until the time it is given with, and not after', async () => {
    const room = largeRoom();
    const { rest } = await read(room.peekAnswer());
    const times = rest.signers.find(({ server }) => server === 's0.test')?.times as Float64Array;
    expect([...times]).toEqual([...times].toSorted((a, b) => a - b));
    const until = times[9] as number;
    const { state } = await verifiedRest({ ...room.peekAnswer(), auth_chain: [] }, room, allKeys(until));
    expect(Math.max(...state.map(({ pdu }) => Number(pdu.origin_server_ts)))).toBe(until);
    const { state: none, rejected } = await verifiedRest(room.peekAnswer(), room, []);
    expect(none).toEqual([]);
    expect(rejected.every(({ isForWantOfKey }) => isForWantOfKey)).toBe(true);
  });

  test('nobody wants it any more ⇒ no further batch is begun', async () => {
    const room = largeRoom('10', 800);
    const workers = new ScriptedWorkers();
    const { rest } = await readLargeAnswer(workers, Buffer.from(JSON.stringify(room.peekAnswer())), LIMITS);
    const gone = new AbortController();
    const batches = rest.verified({ roomId: room.roomId, version: '10' }, allKeys(), () => {}, gone.signal);
    await batches.next();
    gone.abort(new Error('gone'));
    const toTheEnd = async () => {
      for await (const _ of batches);
    };
    await expect(toTheEnd()).rejects.toThrow('gone');
    expect(rest.count / 150).toBeGreaterThan(10);
    expect(workers.jobs.length).toBeLessThan(7);
  });
});

describe('what cannot be read', () => {
  test.each<[string, string, object]>([
    ['no JSON', '{"state":[}', LIMITS],
    ['no object', '[1,2]', LIMITS],
    ['an event that is no JSON', '{"state":[{"a":}],"auth_chain":[]}', LIMITS],
    ['too deep', `{"state":${'['.repeat(200_000)}${']'.repeat(200_000)}}`, LIMITS],
    ['too many values', '{"state":[1,2,3,4]}', { ...LIMITS, maxValues: 3 }],
    ['too many events', '{"state":[{},{}],"auth_chain":[{}]}', { ...LIMITS, maxEvents: 2 }],
    ['no UTF-8', '{"state":["\xff"]}', LIMITS],
  ])('%s ⇒ JsonError', async (_, text, limits) => {
    const body = Buffer.from(text, 'latin1');
    const reading = readLargeAnswer(new ScriptedWorkers(), body, limits as typeof LIMITS);
    await expect(reading).rejects.toMatchObject({ name: 'JsonError' });
  });

  test('names that objects have by themselves are names like any other', async () => {
    const { first } = await read(JSON.parse('{"__proto__":1,"constructor":2,"state":[],"auth_chain":[]}'));
    expect(Object.entries(first)).toContainEqual(['__proto__', 1]);
    expect(first.constructor).toBe(2);
  });
});
