import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { RoomSummaries } from '../../../src/client-api/room-summaries.ts';
import { RawForwarder } from '../../../src/forward/raw-forwarder.ts';
import { TrustedProxies } from '../../../src/forward/trusted-proxies.ts';
import { createUpstream } from '../../../src/forward/upstream.ts';
import { HomeserverDown } from '../../../src/homeserver/homeserver.ts';
import { ALICE, PEER, PeekingHouse } from '../../support/peeking-house.ts';
import { RoomBuilder } from '../../support/room-builder.ts';

const REFUSAL = { errcode: 'M_NOT_FOUND', error: 'Room not found or is not accessible' };

let house: PeekingHouse;
let room: RoomBuilder;
let learned: string[];
let asked: string[];
let answer: (req: IncomingMessage, res: ServerResponse) => void;
let origin: string;

beforeEach(async () => {
  house = await PeekingHouse.open();
  house.homeserver.identities.set('Bearer alice', ALICE);
  learned = [];
  asked = [];
  answer = refusing(404);
  const upstream = createUpstream(
    await listen((req, res) => {
      asked.push(req.url ?? '');
      answer(req, res);
    }),
  );
  onTestFinished(() => upstream.destroy());
  const trusted = new TrustedProxies();
  const summaries = new RoomSummaries({
    ...house,
    forwarder: new RawForwarder(upstream, trusted),
    learned: { of: () => learned },
    trusted,
  });
  origin = await listen((req, res) => {
    if (!summaries.take(req, res)) res.writeHead(200).end('{"passed":"on"}');
  });
  room = house.remoteRoom(new RoomBuilder('11', PEER));
  room.state('m.room.name', '', { name: 'The lobby' });
});

function refusing(status: number) {
  return (_req: IncomingMessage, res: ServerResponse) =>
    void res
      .writeHead(status, { 'content-type': 'application/json', 'x-of': 'it' })
      .end(JSON.stringify(REFUSAL));
}

async function listen(handle: (req: IncomingMessage, res: ServerResponse) => void): Promise<string> {
  const server = createServer(handle).listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function get(target: string, headers: Record<string, string> = { authorization: 'Bearer alice' }) {
  const response = await fetch(`${origin}${target}`, { headers });
  return { status: response.status, headers: response.headers, body: (await response.json()) as unknown };
}

const stable = (roomId: string, query = '') =>
  `/_matrix/client/v1/room_summary/${encodeURIComponent(roomId)}${query}`;

describe('a room that is peeked here', () => {
  test.each([
    (id: string) => `/_matrix/client/v1/room_summary/${id}`,
    (id: string) => `/_matrix/client/unstable/im.nheko.summary/summary/${id}`,
    (id: string) => `/_matrix/client/unstable/im.nheko.summary/rooms/${id}/summary`,
  ])('is summed up where the homeserver knows nothing: %s', async (path) => {
    await house.peek(room.roomId);
    const { status, headers, body } = await get(path(encodeURIComponent(room.roomId)));
    expect(status).toBe(200);
    expect(headers.get('access-control-allow-origin')).toBe('*');
    expect(body).toEqual({
      room_id: room.roomId,
      room_version: '11',
      name: 'The lobby',
      join_rule: 'public',
      num_joined_members: 1,
      world_readable: true,
      guest_can_join: false,
      membership: 'leave',
    });
  });

  test.each([400, 403, 404])('… whatever it calls that: %s', async (status) => {
    answer = refusing(status);
    await house.peek(room.roomId);
    expect(await get(stable(room.roomId))).toMatchObject({ status: 200, body: { name: 'The lobby' } });
  });

  test('without credentials, as anybody may ask: without a membership', async () => {
    await house.peek(room.roomId);
    const { body } = await get(stable(room.roomId), {});
    expect(body).toMatchObject({ name: 'The lobby' });
    expect(body).not.toHaveProperty('membership');
  });

  test('the homeserver’s 200 goes before it', async () => {
    await house.peek(room.roomId);
    answer = (_req, res) => void res.writeHead(200, { 'x-of': 'it' }).end('{"name":"by the homeserver"}');
    const { headers, body } = await get(stable(room.roomId, '?via=a.test'));
    expect(body).toEqual({ name: 'by the homeserver' });
    expect(headers.get('x-of')).toBe('it');
    expect(asked).toEqual([stable(room.roomId, '?via=a.test')]);
  });
});

describe('a room of which nothing is known here', () => {
  const other = (servers: string) => stable('!other:there.test', servers);

  test('is asked for once more, through servers that the client did not name', async () => {
    learned = ['a.test', 'named.test', 'here.test'];
    house.homeserver.answers.set(other('?via=a.test&via=there.test'), { name: 'Found' });
    const { status, body } = await get(other('?via=named.test'));
    expect({ status, body }).toEqual({ status: 200, body: { name: 'Found' } });
  });

  test('and found by nobody: the homeserver’s own answer, and at once for a minute', async () => {
    const questions = () => house.homeserver.calls.filter((call) => call.startsWith('readAs')).length;
    const { status, headers, body } = await get(other('?via=named.test'));
    expect({ status, body, of: headers.get('x-of') }).toEqual({ status: 404, body: REFUSAL, of: 'it' });
    expect(questions()).toBe(1);
    await get(other('?via=named.test'));
    expect(questions()).toBe(1);
    learned = ['a.test'];
    await get(other('?via=named.test'));
    expect(questions()).toBe(2);
    house.clock.jump(60_000);
    await get(other('?via=named.test'));
    expect(questions()).toBe(3);
  });

  test.each([429, 401, 502])('%i to one user says nothing of the room to the next', async (status) => {
    const { homeserver } = house;
    const readAs = homeserver.readAs.bind(homeserver);
    homeserver.answers.set(other('?via=there.test'), { name: 'Found' });
    homeserver.readAs = async () => ({ status, body: Buffer.from('{}') });
    expect((await get(other(''))).body).toEqual(REFUSAL);
    homeserver.readAs = readAs;
    expect((await get(other(''))).body).toEqual({ name: 'Found' });
  });

  test('and of which all servers were named is not asked for again', async () => {
    expect((await get(other('?via=there.test'))).body).toEqual(REFUSAL);
    expect(house.homeserver.calls.some((call) => call.startsWith('readAs'))).toBe(false);
  });

  test('when the homeserver or our store fails: the homeserver’s first answer', async () => {
    house.homeserver.readAs = () => Promise.reject(new HomeserverDown('down'));
    expect((await get(other(''))).body).toEqual(REFUSAL);
    await house.peek(room.roomId);
    await house.store.close();
    expect((await get(stable(room.roomId))).body).toEqual(REFUSAL);
  });
});

test('what takes more than two seconds ⇒ the homeserver’s first answer, and the next who asks has it', async () => {
  await house.peek(room.roomId);
  const { summaries } = house;
  const of = summaries.of.bind(summaries);
  let counted = () => {};
  summaries.of = async (roomId) => {
    await new Promise<void>((resolve) => {
      counted = resolve;
    });
    return of(roomId);
  };
  const answered = get(stable(room.roomId));
  let there = false;
  void answered.then(() => {
    there = true;
  });
  while (!there) await house.clock.advance(500);
  expect((await answered).body).toEqual(REFUSAL);
  counted();
  summaries.of = of;
  expect((await get(stable(room.roomId))).body).toMatchObject({ name: 'The lobby' });
});

test.each([429, 401, 500])('%s of the homeserver goes out as it came', async (status) => {
  await house.peek(room.roomId);
  answer = refusing(status);
  const got = await get(stable(room.roomId));
  expect([got.status, got.body, got.headers.get('x-of')]).toEqual([status, REFUSAL, 'it']);
});

test('a refusal that is too long to be held back goes out as it came', async () => {
  await house.peek(room.roomId);
  const long = { ...REFUSAL, error: 'x'.repeat(300_000) };
  answer = (_req, res) => void res.writeHead(404, { 'x-of': 'it' }).end(JSON.stringify(long));
  const got = await get(stable(room.roomId));
  expect([got.status, got.body, got.headers.get('x-of')]).toEqual([404, long, 'it']);
});

test('a homeserver that dies over it ⇒ 502', async () => {
  answer = (req) => void req.destroy();
  expect(await get(stable(room.roomId))).toMatchObject({ status: 502, body: { errcode: 'M_UNKNOWN' } });
});

test.each([
  stable('#alias:there.test'),
  stable('@user:there.test'),
  '/_matrix/client/v1/room_summary/%ff',
  '/_matrix/client/v1/room_summary/!a:b/x',
  '/_matrix/client/v3/room_summary/!a:b',
])('%s is none of ours', async (target) => {
  expect((await get(target)).body).toEqual({ passed: 'on' });
});
