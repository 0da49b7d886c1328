import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { gzipSync } from 'node:zlib';
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { Peekers } from '../../../src/client-api/peekers.ts';
import { ResidentReads } from '../../../src/client-api/resident-reads.ts';
import { deviceHash, wrapToken } from '../../../src/client-sync/sync-token.ts';
import { RawForwarder } from '../../../src/forward/raw-forwarder.ts';
import { TrustedProxies } from '../../../src/forward/trusted-proxies.ts';
import { createUpstream } from '../../../src/forward/upstream.ts';
import { HomeserverDown } from '../../../src/homeserver/homeserver.ts';
import type { JsonObject } from '../../../src/matrix/json.ts';
import { limitExceeded } from '../../../src/platform/matrix-error.ts';
import { ALICE, PeekingHouse } from '../../support/peeking-house.ts';
import { RoomBuilder } from '../../support/room-builder.ts';

const BAD = '@bad:there.test';
const TABLET = { ...ALICE, deviceId: 'TABLET' };
const PASSED = { passed: 'on' };

let house: PeekingHouse;
let room: RoomBuilder;
/** What the homeserver was asked with the reader's credentials. */
let asked: { url: string; headers: IncomingMessage['headers'] }[];
let script: (req: IncomingMessage, res: ServerResponse) => void;
let limits: { spend(userId: string): Promise<void> };
let origin: string;

const json = (body: unknown) => (_req: IncomingMessage, res: ServerResponse) =>
  void res
    .writeHead(200, { 'content-type': 'application/json', 'x-of': 'the homeserver' })
    .end(JSON.stringify(body));

beforeEach(async () => {
  house = await PeekingHouse.open();
  house.homeserver.identities.set('Bearer alice', ALICE).set('Bearer tablet', TABLET);
  asked = [];
  script = json({ as: 'the reader' });
  limits = { spend: async () => {} };
  const homeserver = await listen((req, res) => {
    asked.push({ url: req.url ?? '', headers: req.headers });
    script(req, res);
  });
  const upstream = createUpstream(homeserver);
  onTestFinished(() => upstream.destroy());
  const trusted = new TrustedProxies();
  const reads = new ResidentReads({
    ...house,
    forwarder: new RawForwarder(upstream, trusted),
    peekers: new Peekers({ ...house, trusted, viewers: [] }),
    limits: { spend: (userId) => limits.spend(userId) },
  });
  origin = await listen((req, res) => {
    const pass = () => void res.writeHead(200).end(JSON.stringify(PASSED));
    if (!reads.take(req, res, pass)) pass();
  });
  room = house.resident(new RoomBuilder());
  room.member(ALICE.userId, 'join');
  room.member(ALICE.userId, 'leave');
  await house.peek(room.roomId);
});

async function listen(handle: (req: IncomingMessage, res: ServerResponse) => void): Promise<string> {
  const server = createServer(handle).listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function get(path: string, token = 'alice', headers: Record<string, string> = {}) {
  const target = `/_matrix/client/v3/rooms/${encodeURIComponent(room.roomId)}/${path}`;
  const response = await fetch(`${origin}${target}`, {
    headers: { authorization: `Bearer ${token}`, ...headers },
  });
  const text = await response.text();
  return { status: response.status, headers: response.headers, text, body: JSON.parse(text) as JsonObject };
}

const said = (sender: string, body: string, more: JsonObject = {}) => ({
  type: 'm.room.message',
  sender,
  content: { body },
  unsigned: { age: 5, membership: 'leave' },
  ...more,
});

describe('somebody who has left and peeks', () => {
  test.each(['state', 'state/m.room.topic', 'state/m.room.name/?format=event', 'members?membership=join'])(
    'reads %s as the reader, and gets the homeserver’s own bytes',
    async (path) => {
      const answer = await get(path);
      expect(answer.body).toEqual({ as: 'the reader' });
      expect(answer.headers.get('x-of')).toBe('the homeserver');
      const [request] = asked;
      expect(request?.url).toMatch(new RegExp(`/${path.replace('?', '\\?')}$`));
      expect(request?.headers.authorization).toBe('Bearer reader');
    },
  );

  test('tells the homeserver nothing of themselves: no address, no agent, no cookie', async () => {
    await get('state', 'alice', { 'user-agent': 'Secret/1', cookie: 'a=b', 'x-custom': 'c' });
    const { authorization, ...others } = asked[0]?.headers ?? {};
    expect(authorization).toBe('Bearer reader');
    const harmless = ['accept', 'accept-encoding', 'connection', 'host'];
    expect(Object.keys(others).filter((name) => !harmless.includes(name))).toEqual([]);
  });

  test('gets a coded answer as it was coded', async () => {
    let accepted: unknown;
    script = (req, res) => {
      accepted = req.headers['accept-encoding'];
      res.writeHead(200, { 'content-encoding': 'gzip' }).end(gzipSync('{"coded":true}'));
    };
    expect((await get('state', 'alice', { 'accept-encoding': 'gzip' })).body).toEqual({ coded: true });
    expect(accepted).toBe('gzip');
  });

  test('/messages backwards: without the reader’s membership and those whom they ignore; the rest as it was', async () => {
    house.homeserver.accountDataOf.set(`${ALICE.userId} m.ignored_user_list`, {
      ignored_users: { [BAD]: {} },
    });
    const state = [{ type: 'm.room.member', sender: BAD, state_key: BAD, content: { membership: 'join' } }];
    script = json({
      chunk: [said('@a:b', 'one'), said(BAD, 'two'), said('@a:b', 'three')],
      state,
      start: 's',
      end: 'e',
    });
    const { body, headers } = await get('messages?dir=b&limit=3&filter=%7B%22lazy_load_members%22%3Atrue%7D');
    expect(body).toEqual({
      chunk: [said('@a:b', 'one', { unsigned: { age: 5 } }), said('@a:b', 'three', { unsigned: { age: 5 } })],
      state,
      start: 's',
      end: 'e',
    });
    expect(headers.get('access-control-allow-origin')).toBe('*');
    expect(asked[0]?.url).toContain('filter=%7B%22lazy_load_members%22%3Atrue%7D');
    expect(asked[0]?.headers['accept-encoding']).toBeUndefined();
  });

  test('/messages from a token of their /sync: the homeserver gets its own token', async () => {
    const ours = { device: deviceHash(ALICE.userId, ALICE.deviceId), peeks: new Map([[1, 7]]) };
    const homeservers = 's44_17_4_3_2_1_1_3_0_1_1_1_1_1';
    script = json({ chunk: [], start: 's' });
    await get(`messages?dir=b&from=${wrapToken(homeservers, ours, 'ninth-field')}`);
    expect(new URLSearchParams(asked[0]?.url.split('?')[1]).get('from')).toBe(homeservers);
  });

  test('/joined_members: out of /members?membership=join', async () => {
    const member = (userId: string, content: JsonObject) => ({
      type: 'm.room.member',
      state_key: userId,
      content,
    });
    script = json({
      chunk: [
        member('@a:b', { membership: 'join', displayname: 'A', avatar_url: 'mxc://b/a' }),
        member('@c:d', { membership: 'join' }),
        member('__proto__', { displayname: 7 }),
        { type: 'm.room.member' },
      ],
    });
    const { text } = await get('joined_members');
    expect(text).toBe(
      '{"joined":{"@a:b":{"avatar_url":"mxc://b/a","display_name":"A"},' +
        '"@c:d":{"avatar_url":null,"display_name":null},"__proto__":{"avatar_url":null,"display_name":null}}}',
    );
    expect(asked[0]?.url).toMatch(/\/members\?membership=join$/);
  });

  test('/initialSync: nothing of the reader, no presence, no receipts', async () => {
    house.homeserver.accountDataOf.set(`${ALICE.userId} m.ignored_user_list`, {
      ignored_users: { [BAD]: {} },
    });
    const state = [{ type: 'm.room.topic', state_key: '', sender: BAD, content: { topic: 'x' } }];
    script = json({
      room_id: room.roomId,
      membership: 'leave',
      messages: { chunk: [said(BAD, 'one'), said('@a:b', 'two')], start: 's', end: 'e' },
      state,
      presence: [{ type: 'm.presence', content: { user_id: '@a:b' } }],
      receipts: [{ type: 'm.receipt' }],
      account_data: [{ type: 'm.tag' }],
    });
    const { body } = await get('initialSync?limit=20');
    expect(body).toEqual({
      room_id: room.roomId,
      messages: { chunk: [said('@a:b', 'two', { unsigned: { age: 5 } })], start: 's', end: 'e' },
      state,
      presence: [],
      receipts: [],
      account_data: [],
    });
  });
});

describe('with their own credentials', () => {
  test.each(['invite', 'join', 'ban', 'knock'])('reads who is %s there now', async (membership) => {
    room.member(ALICE.userId, membership);
    expect((await get('state')).body).toEqual(PASSED);
    expect(asked).toEqual([]);
  });

  test('reads who was never there', async () => {
    room = house.resident(new RoomBuilder('10', 'there.test', 'other'));
    await house.peek(room.roomId);
    expect((await get('state')).body).toEqual(PASSED);
  });

  test('reads another device, which does not peek', async () => {
    expect((await get('state', 'tablet')).body).toEqual(PASSED);
  });

  test('reads who has stopped peeking', async () => {
    await house.peeking.unpeek(ALICE, room.roomId);
    expect((await get('state')).body).toEqual(PASSED);
  });

  test.each([
    'messages?dir=f&from=s1',
    'members?at=s1',
    'event/$e',
    'context/$e',
    'relations/$e',
    'threads',
    'timestamp_to_event?ts=1&dir=f',
    'aliases',
    'hierarchy',
    'state/a/b/c',
    'messages/x?dir=b',
    'report/$e',
  ])('is read what the homeserver does not bound by the leave: %s', async (path) => {
    expect((await get(path)).body).toEqual(PASSED);
    expect(asked).toEqual([]);
  });

  test('by a guest: joined_members, which Synapse refuses to guests', async () => {
    house.homeserver.identities.set('Bearer alice', { ...ALICE, isGuest: true });
    await house.peek(room.roomId, { ...ALICE, isGuest: true });
    expect((await get('joined_members')).body).toEqual(PASSED);
    expect((await get('state')).body).toEqual({ as: 'the reader' });
  });

  test.each([403, 404, 429, 500])('when the homeserver answers the reader %s', async (status) => {
    script = (_req, res) => void res.writeHead(status).end('{}');
    expect((await get('state')).body).toEqual(PASSED);
    expect((await get('messages?dir=b')).body).toEqual(PASSED);
    expect(asked).toHaveLength(2);
  });

  test.each(['', '[]', '{}', '{"chunk":{}}', '{"chunk":[', 'null'])(
    'when its answer to the reader is none: %j',
    async (body) => {
      script = (_req, res) => void res.writeHead(200).end(body);
      expect((await get('messages?dir=b')).body).toEqual(PASSED);
      expect((await get('joined_members')).body).toEqual(PASSED);
    },
  );

  test('when its answer is larger than what is held in memory', async () => {
    script = (_req, res) => void res.writeHead(200).end(`{"chunk":[],"x":"${'x'.repeat(33 * 1024 * 1024)}"}`);
    expect((await get('messages?dir=b')).body).toEqual(PASSED);
  });

  test('when it cannot be asked, the store is down, or there is no reader', async () => {
    script = (req) => void req.destroy();
    expect((await get('state')).body).toEqual(PASSED);
    house.homeserver.ready = false;
    expect((await get('state')).body).toEqual(PASSED);
    house.homeserver.ready = true;
    house.homeserver.stateEvent = () => Promise.reject(new HomeserverDown('down'));
    expect((await get('state')).body).toEqual(PASSED);
    await house.store.close();
    expect((await get('state')).body).toEqual(PASSED);
  });
});

test('a user who reads too much ⇒ 429, with the time to wait', async () => {
  limits = { spend: () => Promise.reject(limitExceeded('Too many reads', 1500)) };
  const { status, headers, body } = await get('state');
  expect({ status, wait: headers.get('retry-after'), body }).toMatchObject({
    status: 429,
    wait: '2',
    body: { errcode: 'M_LIMIT_EXCEEDED', retry_after_ms: 1500 },
  });
});

test('a user who reads much at once waits, and beyond twenty waiting gets 429; others go on', async () => {
  const held: ServerResponse[] = [];
  script = (_req, res) => void held.push(res);
  const BOB = { ...ALICE, userId: '@bob:here.test' };
  house.homeserver.identities.set('Bearer bob', BOB);
  room.member(BOB.userId, 'leave');
  await house.peek(room.roomId, BOB);
  const many = Array.from({ length: 30 }, () => get('messages?dir=b'));
  const refused = await Promise.race(many);
  expect(refused).toMatchObject({ status: 429, body: { errcode: 'M_LIMIT_EXCEEDED' } });
  script = json({ chunk: [] });
  expect((await get('messages?dir=b', 'bob')).body).toEqual({ chunk: [] });
  for (const res of held) res.end('{"chunk":[]}');
  const statuses = (await Promise.all(many)).map(({ status }) => status);
  expect(statuses.filter((status) => status === 200)).toHaveLength(22);
  expect(statuses.filter((status) => status === 429)).toHaveLength(8);
});
