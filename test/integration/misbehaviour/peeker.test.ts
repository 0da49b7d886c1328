import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import type { JsonObject } from '../../../src/matrix/json.ts';
import { longestTask } from '../../support/longest-task.ts';
import { RoomBuilder } from '../../support/room-builder.ts';
import type { ScriptedServer, SignedRequest } from '../../support/scripted-server.ts';
import { endings, House, LONGEST_TASK_MS, peekTarget, scriptedServer, WAIT } from './house.ts';

const MOST_PEEKS = 20;
const MINUTE = 60_000;

let house: House;
let rooms = 0;
const { ends, endAll } = endings();
beforeAll(async () => {
  house = await House.start({ PEEK_MAX_PER_SERVER: String(MOST_PEEKS) }, ends);
});
afterAll(endAll);
beforeEach(() => {
  house.logs.length = 0;
});

/** A room of ours that anybody may peek. */
function ourRoom(): RoomBuilder {
  const room = new RoomBuilder('10', 'here.test', `room${++rooms}`);
  house.homeserver.add(room);
  return room;
}

const put = (roomId: string, peekId = 'peek'): SignedRequest => ({
  method: 'PUT',
  target: peekTarget(roomId, peekId),
  content: {},
});

/** A server that peeks a room of ours. */
async function peeker() {
  const [bad, room] = [await scriptedServer(), ourRoom()];
  expect(await house.as(bad, put(room.roomId))).toMatchObject({ status: 200 });
  return { bad, room };
}

/** The log names server, room and reason of what was refused. */
function expectRefusals(bad: ScriptedServer, room: RoomBuilder): void {
  // Beside it there is a line for each request, whatever became of it.
  const said = house.said(bad).filter((line) => line.room === room.roomId && line.path === undefined);
  expect(said.length).toBeGreaterThan(0);
  for (const { reason } of said) expect(reason).toEqual(expect.stringMatching(/./));
}

const peeksOf = async (server: string) => (await house.store.inboundPeeks.ofServer(server)).length;

describe('a server that peeks us and asks for', () => {
  test('more peeks than it may have, as fast as it can ⇒ quota 429 for it alone, told when to come again', async () => {
    const bad = await scriptedServer();
    const room = ourRoom();
    const answers: number[] = [];
    const longest = await longestTask(async () => {
      for (let batch = 0; batch < 10; batch++) {
        const sent = Array.from({ length: 30 }, (_, i) => house.as(bad, put(room.roomId, `p${batch}_${i}`)));
        for (const answer of await Promise.all(sent)) {
          answers.push(answer.status);
          if (answer.status === 200) continue;
          expect(answer).toMatchObject({ status: 429, body: { errcode: 'M_LIMIT_EXCEEDED' } });
          expect(answer.body.retry_after_ms).toBeGreaterThan(0);
          expect(Number(answer.headers['retry-after'])).toBeGreaterThan(0);
        }
      }
    });
    expect(answers.filter((status) => status === 200)).toHaveLength(MOST_PEEKS);
    expect(await peeksOf(bad.serverName)).toBe(MOST_PEEKS);
    expect(longest).toBeLessThan(LONGEST_TASK_MS);
    expectRefusals(bad, room);
    await house.neighbourGoesOn();
    expect(await house.as(await scriptedServer(), put(room.roomId))).toMatchObject({ status: 200 });
  });

  test('peeks in a flood of PUTs ⇒ 429 beyond the rate, and the homeserver is not asked for the room each time', async () => {
    const strict = await House.start({ PEEK_RATE_LIMIT: '10/m' });
    const bad = await scriptedServer();
    const room = new RoomBuilder('10', 'here.test', 'flooded');
    strict.homeserver.add(room);
    strict.homeserver.calls.length = 0;
    const sent = Array.from({ length: 100 }, () => strict.as(bad, put(room.roomId)));
    const statuses = (await Promise.all(sent)).map(({ status }) => status);
    expect(statuses.filter((status) => status === 200)).toHaveLength(10);
    expect(statuses.filter((status) => status === 429)).toHaveLength(90);
    const snapshots = strict.homeserver.calls.filter((call) => /snapshot|stateBefore/.test(call));
    expect(snapshots.length).toBeLessThanOrEqual(2);
    await strict.neighbourGoesOn();
  });

  test.each([
    ['empty', ''],
    ['256 bytes', 'x'.repeat(256)],
    ['a slash', 'a%2Fb'],
    ['NUL', 'a%00'],
    ['dots', '..'],
    ['no UTF-8', '%ff'],
    ['broken percent-encoding', '%zz'],
    ['other letters', '%C3%BC'],
  ])('a bad peek ID: %s ⇒ refused, nothing is registered', async (_, peekId) => {
    const bad = await scriptedServer();
    const room = ourRoom();
    const target = `/_matrix/federation/v1/peek/${encodeURIComponent(room.roomId)}/${peekId}?ver=10`;
    const { status, body } = await house.as(bad, { method: 'PUT', target, content: {} });
    expect(status === 400 || status === 403 || status === 404).toBe(true);
    expect(typeof body.errcode).toBe('string');
    expect(await peeksOf(bad.serverName)).toBe(0);
  });

  test('the same once more, byte for byte ⇒ a renewal; for anything else the signature does not hold ⇒ 401', async () => {
    const { bad, room } = await peeker();
    const request = put(room.roomId, 'replayed');
    const authorization = house.sign(bad, request);
    for (let i = 0; i < 3; i++) {
      expect(await house.as(bad, { ...request, authorization })).toMatchObject({ status: 200 });
    }
    expect(await peeksOf(bad.serverName)).toBe(2);
    const others: SignedRequest[] = [
      put(room.roomId, 'another'),
      put(ourRoom().roomId, 'replayed'),
      { ...request, method: 'DELETE' },
      { ...request, content: { a: 1 } },
    ];
    for (const other of others) {
      const answer = await house.as(bad, { ...other, authorization });
      expect(answer).toMatchObject({ status: 401, body: { errcode: 'M_UNAUTHORIZED' } });
    }
    const stranger = await scriptedServer();
    const stolen = await house.as(stranger, { ...request, authorization: house.sign(stranger, put('!x:y')) });
    expect(stolen).toMatchObject({ status: 401 });
    expect(await peeksOf(bad.serverName)).toBe(2);
  });

  test('renewals and ends of peeks that it has not ⇒ 404', async () => {
    const { bad, room } = await peeker();
    const target = peekTarget(room.roomId, 'unknown');
    const renewal = { method: 'POST', target: target.replace('?', '/renew?'), content: {} } as const;
    for (let i = 0; i < 20; i++) {
      expect(await house.as(bad, { method: 'DELETE', target })).toMatchObject({ status: 404 });
      expect(await house.as(bad, renewal)).toMatchObject({ status: 404 });
    }
    expectRefusals(bad, room);
    expect(await peeksOf(bad.serverName)).toBe(1);
  });

  test('everything, over and over ⇒ read up to a bound, then 429; another is served', async () => {
    const { bad, room } = await peeker();
    const id = encodeURIComponent(room.roomId);
    const named = room.events.map(({ eventId }) => `v=${encodeURIComponent(eventId)}`).join('&');
    const history = Array.from({ length: 80 }, (_, i) => `backfill/${id}?limit=${100_000 + i}&${named}`);
    const others = [
      ...room.events.map(({ eventId }) => `event/${encodeURIComponent(eventId)}`),
      ...Array.from({ length: 400 }, (_, i) => `event/$nothing${i}`),
      'event/__proto__',
      `state/${id}?event_id=${'x'.repeat(5000)}`,
    ];
    const answers = await Promise.all(
      [...history, ...others].map((target) =>
        house.as(bad, { method: 'GET', target: `/_matrix/federation/v1/${target}` }),
      ),
    );
    const statuses = answers.map(({ status }) => status);
    expect(new Set(statuses)).toEqual(new Set([200, 403, 429]));
    const read = (part: readonly number[]) => part.filter((status) => status !== 429).length;
    expect(read(statuses.slice(0, history.length))).toBeLessThanOrEqual(60);
    expect(read(statuses)).toBeLessThanOrEqual(60 + 300);
    const told = answers.find(({ status }) => status === 429);
    expect(told?.body).toMatchObject({ errcode: 'M_LIMIT_EXCEEDED', retry_after_ms: expect.any(Number) });
    const other = {
      method: 'GET',
      target: `/_matrix/federation/v1/event/${encodeURIComponent(house.open.latest.eventId)}`,
    } as const;
    expect(await house.as(house.good, other)).toMatchObject({ status: 200 });
    await house.neighbourGoesOn();
  });

  test('history in which one event nests too deep for any other server ⇒ the others', async () => {
    const { bad, room } = await peeker();
    const deep = {
      ...room.message('deep').pdu,
      content: JSON.parse(`${'{"a":'.repeat(150)}1${'}'.repeat(150)}`) as JsonObject,
    };
    room.events.pop();
    room.message('after');
    room.events.push({ eventId: '$deep', pdu: deep });
    const target = `/_matrix/federation/v1/backfill/${encodeURIComponent(room.roomId)}?limit=10&v=$x`;
    const { status, body } = await house.as(bad, { method: 'GET', target });
    expect(status).toBe(200);
    expect(JSON.stringify(body.pdus)).toContain('after');
  });

  test.each<[string, number, string, (room: RoomBuilder) => void]>([
    [
      'a room that is closed',
      403,
      'M_FORBIDDEN',
      (room) => room.state('m.room.history_visibility', '', { history_visibility: 'shared' }),
    ],
    [
      'an encrypted room',
      403,
      'M_FORBIDDEN',
      (room) => room.state('m.room.encryption', '', { algorithm: 'm.megolm.v1.aes-sha2' }),
    ],
    [
      'a room whose ACL denies it',
      403,
      'M_FORBIDDEN',
      (room) => room.state('m.room.server_acl', '', { allow: ['here.test'] }),
    ],
    [
      'a room that nobody of ours is in',
      404,
      'M_NOT_FOUND',
      (room) => house.homeserver.rooms.delete(room.roomId),
    ],
    [
      'a room that is still partial',
      503,
      'M_UNKNOWN',
      (room) => {
        const known = house.homeserver.rooms.get(room.roomId);
        if (known !== undefined) known.membership = 'partial';
      },
    ],
  ])('%s ⇒ %i %s, named in the log', async (_, status, errcode, change) => {
    const [bad, room] = [await scriptedServer(), ourRoom()];
    change(room);
    const answer = await house.as(bad, put(room.roomId));
    expect([answer.status, answer.body.errcode]).toEqual([status, errcode]);
    expectRefusals(bad, room);
    expect(await peeksOf(bad.serverName)).toBe(0);
  });

  test('a peek in a body that trickles ⇒ 408 after a minute', async () => {
    const [bad, room] = [await scriptedServer(), ourRoom()];
    const target = peekTarget(room.roomId, 'slow');
    const authorization = house.sign(bad, { method: 'PUT', target, content: {} });
    const answer = fetch(house.url + target, {
      method: 'PUT',
      headers: { authorization },
      body: new ReadableStream({ start: (body) => body.enqueue(Buffer.from('{')) }),
      duplex: 'half',
    } as RequestInit);
    await vi.waitFor(() => expect(house.clock.pending).toBeGreaterThan(0), WAIT);
    await new Promise((resolve) => setTimeout(resolve, 50));
    await house.clock.advance(MINUTE);
    expect((await answer).status).toBe(408);
    await house.neighbourGoesOn();
  });
});
