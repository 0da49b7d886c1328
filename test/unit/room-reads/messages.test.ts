import { beforeEach, describe, expect, test } from 'vitest';
import { createRoomAnswers } from '../../../src/app/room-answers.ts';
import { remoteHistoryToken } from '../../../src/client-view/history-token.ts';
import type { JsonObject } from '../../../src/matrix/json.ts';
import { ALICE, TestDevice } from '../../support/peeking-house.ts';
import { ReadHouse } from '../../support/read-house.ts';
import { type BuiltEvent, type EventFields, RoomBuilder } from '../../support/room-builder.ts';
import { tellsPast } from '../../support/room-past.ts';

let house: ReadHouse;

beforeEach(async () => {
  house = await ReadHouse.open(createRoomAnswers);
});

interface Chunk {
  readonly chunk: JsonObject[];
  readonly start: string;
  readonly end?: string;
  readonly state?: JsonObject[];
}

async function page(room: RoomBuilder, query: string): Promise<Chunk> {
  const got = await house.get(room, `messages?${query}`);
  expect(got).toMatchObject({ status: 200 });
  return got.body as Chunk;
}

interface Section {
  readonly events: JsonObject[];
  readonly prev_batch: string;
}

/** All pages back from a token, or from the newest event. */
async function back(room: RoomBuilder, from: string | null, limit: number): Promise<string[]> {
  const ids: string[] = [];
  for (let token = from, pages = 0; pages < 100; pages++) {
    const { chunk, end } = await page(room, `dir=b&limit=${limit}${token === null ? '' : `&from=${token}`}`);
    ids.push(...chunk.map(({ event_id }) => String(event_id)));
    if (end === undefined) return ids;
    token = end;
  }
  throw new Error('it does not end');
}

const idsOf = (events: readonly BuiltEvent[]) => events.map(({ eventId }) => eventId);

const bodiesOf = (events: readonly JsonObject[]) =>
  events.map(({ type, content }) => (content as JsonObject).body ?? type);
const asked = (part: string) => house.house.remote.sent('GET').filter((path) => path.includes(part)).length;

/** A room that was open from its beginning, and a server that tells all of it. */
async function openRoom(make: (room: RoomBuilder) => void, version = '10'): Promise<RoomBuilder> {
  const room = new RoomBuilder(version);
  make(room);
  tellsPast(house.house, room);
  return house.peeked(room);
}

describe('back', () => {
  test.each(['1', '3', '10', '11', '12'])(
    'every event of a room once, newest first, past the log’s beginning to the create event, version %s',
    async (version) => {
      const room = await openRoom((made) => made.messages(130), version);
      expect(await back(room, null, 30)).toEqual(idsOf(room.events).reverse());
      expect(asked('/backfill/')).toBeLessThan(6);
    },
  );

  test('from the prev_batch of a section what is before it, with what has come since in between', async () => {
    const room = await openRoom((made) => made.messages(100));
    const device = new TestDevice(house.house);
    const { timeline } = (await device.sync()).peek.get(room.roomId) as unknown as { timeline: Section };
    const older = idsOf(room.events).slice(0, -timeline.events.length);
    await house.house.ingest(room, [room.message('news')]);
    expect(await back(room, timeline.prev_batch, 50)).toEqual(older.reverse());
  });

  test('events are as the homeserver gives them: client format, room_id, age, membership', async () => {
    const room = await openRoom((made) => made.messages(60));
    const event = room.events[20] as BuiltEvent;
    const { chunk } = await page(room, 'dir=b&limit=100');
    expect(chunk.find(({ event_id }) => event_id === event.eventId)).toEqual({
      type: 'm.room.message',
      sender: room.creator,
      content: event.pdu.content,
      origin_server_ts: event.pdu.origin_server_ts,
      event_id: event.eventId,
      room_id: room.roomId,
      unsigned: { age: expect.any(Number), membership: 'leave' },
    });
  });

  test('a process that knows nothing of earlier pages goes on where they ended', async () => {
    const room = await openRoom((made) => made.messages(200));
    const first = await page(room, 'dir=b&limit=100');
    const { end } = await page(room, `dir=b&limit=20&from=${first.end}`);
    house = await ReadHouse.on(house.house, createRoomAnswers);
    const ids = idsOf(room.events).reverse();
    expect(await back(room, String(end), 40)).toEqual(ids.slice(120));
  });

  test('a place in a log that was dropped and begun anew is found again by its event', async () => {
    const room = await openRoom((made) => made.messages(80));
    const { end } = await page(room, 'dir=b&limit=10');
    const ids = idsOf(room.events).reverse();
    await house.house.store.logs.drop(room.roomId);
    await house.house.store.outboundPeeks.remove(
      room.roomId,
      String((await house.house.outboundPeek(room.roomId))?.peekId),
    );
    room.messages(60, 'later');
    await house.house.clock.advance(1000);
    await house.house.peek(room.roomId);
    expect(await back(room, String(end), 50)).toEqual(ids.slice(10));
  });

  test('a place in a part of the log that was pruned since goes on there', async () => {
    const room = await openRoom((made) => made.messages(80));
    const { end } = await page(room, 'dir=b&limit=30');
    const { head } = await house.house.log(room.roomId);
    await house.house.store.logs.prune(room.roomId, head - 5);
    expect(await back(room, String(end), 50)).toEqual(idsOf(room.events).reverse().slice(30));
  });

  test('a hole in the log is filled from the servers, and the log goes on below it', async () => {
    const room = await openRoom((made) => made.messages(30));
    room.messages(30, 'missed');
    const [after] = room.messages(1, 'after');
    await house.house.ingest(room, [after as BuiltEvent]);
    expect(await house.house.log(room.roomId)).toMatchObject({ needsCatchUp: true });
    const ids = idsOf(room.events).reverse();
    expect(await back(room, null, 7)).toEqual(ids);
    expect(await back(room, null, 100)).toEqual(ids);
  });

  test('branches are told in one line, each event once', async () => {
    const room = await openRoom((made) => {
      made.messages(20);
      for (let round = 0; round < 10; round++) {
        const base = made.latest;
        const left = made.add({ ...message(`left ${round}`), prev: [base.eventId] });
        const right = made.add({
          ...message(`right ${round}`),
          prev: [base.eventId],
          depth: Number(left.pdu.depth),
        });
        made.add({ ...message(`joined ${round}`), prev: [left.eventId, right.eventId] });
      }
      made.messages(55);
    });
    const ids = await back(room, null, 3);
    expect(new Set(ids).size).toBe(ids.length);
    expect(ids.toSorted()).toEqual(idsOf(room.events).toSorted());
    const order = new Map(ids.map((id, i) => [id, i]));
    for (const { eventId, pdu } of room.events) {
      for (const id of pdu.prev_events as string[]) {
        expect(order.get(id)).toBeGreaterThan(order.get(eventId) ?? Number.NaN);
      }
    }
  });

  test('`to` ends the page at that place, and nothing is left', async () => {
    const room = await openRoom((made) => made.messages(120));
    const ids = idsOf(room.events).reverse();
    for (const [from, to] of [
      [5, 20],
      [60, 90],
      [10, 100],
    ] as const) {
      const start = (await page(room, `dir=b&limit=${from}`)).end;
      const stop = (await page(room, `dir=b&limit=${to}`)).end;
      const { chunk, end } = await page(room, `dir=b&limit=100&from=${start}&to=${stop}`);
      expect(chunk.map(({ event_id }) => event_id)).toEqual(ids.slice(from, to));
      expect(end).toBeUndefined();
    }
  });

  test('what a user whom the caller ignores has sent is left out, state excepted', async () => {
    const room = await openRoom((made) => {
      made.member('@loud:there.test', 'join');
      made.messages(3);
      made.message('noise', '@loud:there.test');
      made.messages(60);
    });
    const list = { ignored_users: { '@loud:there.test': {} } };
    house.house.homeserver.accountDataOf.set(`${ALICE.userId} m.ignored_user_list`, list);
    const { chunk } = await page(room, 'dir=b&limit=100');
    expect(bodiesOf(chunk)).not.toContain('noise');
    expect(chunk).toHaveLength(room.events.length - 1);
  });
});

describe('who could read it then', () => {
  test('nothing from before the room was opened, except what is its state to this day', async () => {
    const room = await openRoom((made) => {
      made.state('m.room.history_visibility', '', { history_visibility: 'shared' });
      made.messages(40, 'hidden');
      made.state('m.room.history_visibility', '', { history_visibility: 'world_readable' });
      made.messages(90, 'open');
    });
    const ids = await back(room, null, 25);
    const opened = room.stateEvent('m.room.history_visibility').eventId;
    const all = idsOf(room.events);
    expect(ids).toEqual(all.slice(all.indexOf(opened)).reverse());
  });

  test('an earlier stretch in which it was open is not shown', async () => {
    const room = await openRoom((made) => {
      made.messages(30, 'early');
      made.state('m.room.history_visibility', '', { history_visibility: 'joined' });
      made.messages(5, 'hidden');
      made.state('m.room.history_visibility', '', { history_visibility: 'world_readable' });
      made.messages(70, 'open');
    });
    const { chunk } = await page(room, 'dir=b&limit=100');
    expect(new Set(bodiesOf(chunk).map((body) => String(body).split(' ')[0]))).toEqual(
      new Set(['open', 'm.room.history_visibility']),
    );
  });

  test('a branch that goes on from before the room was opened is not shown, however deep it is', async () => {
    const room = await openRoom((made) => {
      made.state('m.room.history_visibility', '', { history_visibility: 'shared' });
      const base = made.message('hidden base');
      const opened = made.state('m.room.history_visibility', '', { history_visibility: 'world_readable' });
      const first = made.message('open 1');
      let branch = made.add({ ...message('hidden 1'), prev: [base.eventId] });
      for (let i = 2; i < 6; i++) branch = made.add({ ...message(`hidden ${i}`), prev: [branch.eventId] });
      expect(Number(branch.pdu.depth)).toBeGreaterThan(Number(opened.pdu.depth));
      made.add({ ...message('open 2'), prev: [first.eventId, branch.eventId], depth: 20 });
      made.messages(60, 'open later');
    });
    const { chunk } = await page(room, 'dir=b&limit=100');
    expect(bodiesOf(chunk).filter((body) => String(body).startsWith('hidden'))).toEqual([]);
    expect(bodiesOf(chunk).slice(60)).toEqual([
      'open 2',
      'open 1',
      'm.room.history_visibility',
      'm.room.join_rules',
      'm.room.power_levels',
      'm.room.member',
      'm.room.create',
    ]);
  });

  test.each([
    ['says that it was open', true],
    ['does not say', false],
  ])('branches that go side by side for longer than is looked ahead: a server %s', async (_, says) => {
    const room = await openRoom((made) => {
      const base = made.message('base');
      let [left, right] = [base, base];
      for (let i = 0; i < 60; i++) {
        left = made.add({
          ...message(`left ${i}`),
          prev: [left.eventId],
          depth: Number(base.pdu.depth) + 1 + i,
        });
        right = made.add({
          ...message(`right ${i}`),
          prev: [right.eventId],
          depth: Number(base.pdu.depth) + 1 + i,
        });
      }
      made.add({ ...message('joined'), prev: [left.eventId, right.eventId] });
      made.messages(30);
    });
    if (!says) house.house.remote.refuse('there.test', 'GET', '/state_ids/', 404, 'M_NOT_FOUND');
    const ids = await back(room, null, 100);
    expect(new Set(ids).size).toBe(ids.length);
    if (says) expect(ids.toSorted()).toEqual(idsOf(room.events).toSorted());
    else expect(ids.length).toBeLessThan(room.events.length);
    // Where they have come together it is certain again.
    expect(ids).toContain(room.events.find(({ pdu }) => pdu.content.body === 'base')?.eventId);
  });

  test('a made-up token that points into a hidden branch ⇒ nothing of it', async () => {
    let branch: BuiltEvent | undefined;
    const room = await openRoom((made) => {
      made.state('m.room.history_visibility', '', { history_visibility: 'shared' });
      const base = made.message('hidden base');
      made.state('m.room.history_visibility', '', { history_visibility: 'world_readable' });
      const first = made.message('open 1');
      branch = made.add({ ...message('hidden 1'), prev: [base.eventId], depth: 50 });
      made.add({ ...message('open 2'), prev: [first.eventId, branch.eventId], depth: 60 });
      made.messages(60, 'open later');
    });
    const next = [String(branch?.eventId)];
    for (const upTo of [null, 1000]) {
      const token = remoteHistoryToken({ kind: 'past', next, upTo, onward: 0 });
      const { chunk, end } = await page(room, `dir=b&limit=100&from=${token}`);
      expect([chunk, end]).toEqual([[], undefined]);
    }
  });

  test('pages full of hidden or rejected events do not end the history: it goes on with a token', async () => {
    const room = await openRoom((made) => {
      made.messages(10, 'first');
      made.member('@gone:gone.test', 'join');
      for (let i = 0; i < 700; i++) made.message(`unsigned ${i}`, '@gone:gone.test');
      made.messages(50, 'last');
    });
    house.house.keys.unknown.add('gone.test');
    const first = await page(room, 'dir=b&limit=60');
    expect(first.chunk).toHaveLength(50);
    expect(first.end).toBeDefined();
    const bodies = bodiesOf(first.chunk);
    for (let token = first.end, pages = 0; token !== undefined; pages++) {
      expect(pages).toBeLessThan(10);
      const next = await page(room, `dir=b&limit=60&from=${token}`);
      bodies.push(...bodiesOf(next.chunk));
      token = next.end;
    }
    expect(bodies.filter((body) => String(body).startsWith('first'))).toHaveLength(10);
    expect(bodies).not.toContain('unsigned 1');
  });

  test('what was redacted since it was read is shown pruned', async () => {
    const room = await openRoom((made) => made.messages(80));
    const target = room.events[10] as BuiltEvent;
    await page(room, 'dir=b&limit=100');
    const redaction = room.redaction(target.eventId);
    await house.house.ingest(room, [redaction]);
    const { chunk } = await page(room, 'dir=b&limit=100');
    expect(chunk.find(({ event_id }) => event_id === target.eventId)).toMatchObject({
      content: {},
      unsigned: { redacted_by: redaction.eventId },
    });
  });
});

describe('forward', () => {
  test('from the beginning, oldest first, to what is newest', async () => {
    const room = await openRoom((made) => made.messages(140));
    const ids: unknown[] = [];
    for (let token: string | undefined; ids.length < room.events.length; ) {
      const { chunk, end } = await page(room, `dir=f&limit=40${token === undefined ? '' : `&from=${token}`}`);
      ids.push(...chunk.map(({ event_id }) => event_id));
      expect(chunk.length).toBeGreaterThan(0);
      token = end;
    }
    expect(ids).toEqual(idsOf(room.events));
  });

  test('from where a page back ended what that page had, in order; at the newest nothing, and no end', async () => {
    const room = await openRoom((made) => made.messages(100));
    const { end } = await page(room, 'dir=b&limit=80');
    const forward = await page(room, `dir=f&limit=80&from=${end}`);
    expect(forward.chunk.map(({ event_id }) => event_id)).toEqual(idsOf(room.events).slice(-80));
    const none = await page(room, `dir=f&limit=80&from=${forward.end}`);
    expect(none).toEqual({ chunk: [], start: forward.end });
  });
});

describe('filter', () => {
  test('types and senders, over pages', async () => {
    const room = await openRoom((made) => {
      made.member('@two:there.test', 'join', { body: 'by another' });
      for (let i = 0; i < 30; i++) {
        made.messages(4);
        made.add({ type: 'test.rare', content: { body: `rare ${i}` } });
      }
    });
    const filter = encodeURIComponent(JSON.stringify({ types: ['test.*'] }));
    const first = await page(room, `dir=b&limit=25&filter=${filter}`);
    const second = await page(room, `dir=b&limit=25&filter=${filter}&from=${first.end}`);
    const rare = Array.from({ length: 30 }, (_, i) => `rare ${29 - i}`);
    expect([...bodiesOf(first.chunk), ...bodiesOf(second.chunk)]).toEqual(rare);
    expect(second.end).toBeUndefined();
    const nobody = encodeURIComponent(JSON.stringify({ not_senders: [room.creator] }));
    expect(bodiesOf((await page(room, `dir=b&limit=50&filter=${nobody}`)).chunk)).toEqual(['by another']);
  });

  test('lazy_load_members brings the members who speak in the page; without it there is no state', async () => {
    const room = await openRoom((made) => {
      made.member('@one:there.test', 'join');
      made.member('@two:there.test', 'join');
      made.message('first', '@one:there.test');
      made.messages(60);
      made.message('last', '@two:there.test');
    });
    const filter = encodeURIComponent(JSON.stringify({ lazy_load_members: true }));
    const { state } = await page(room, `dir=b&limit=2&filter=${filter}`);
    expect(state?.map(({ state_key }) => state_key)).toEqual(['@two:there.test', room.creator]);
    expect(await page(room, 'dir=b&limit=2')).not.toHaveProperty('state');
  });

  test('event_format federation gives PDUs', async () => {
    const room = await openRoom((made) => made.messages(2));
    const filter = encodeURIComponent(JSON.stringify({ event_format: 'federation' }));
    const { chunk } = await page(room, `dir=b&limit=1&filter=${filter}`);
    expect(chunk[0]).toMatchObject({ ...room.latest.pdu, event_id: room.latest.eventId });
  });
});

describe('parameters', () => {
  test('ten events where no limit is named, a hundred at most, none for 0', async () => {
    const room = await openRoom((made) => made.messages(150));
    expect((await page(room, 'dir=b')).chunk).toHaveLength(10);
    expect((await page(room, 'dir=b&limit=1000')).chunk).toHaveLength(100);
    const none = await page(room, 'dir=b&limit=0');
    expect(none).toEqual({ chunk: [], start: none.start, end: none.start });
  });

  test.each([
    ['dir=x', 'M_INVALID_PARAM', 'dir is neither b nor f'],
    ['dir=b&limit=-1', 'M_INVALID_PARAM', 'limit is less than 0'],
    ['dir=b&limit=ten', 'M_INVALID_PARAM', 'limit is no whole number'],
    ['dir=b&limit=1e2', 'M_INVALID_PARAM', 'limit is no whole number'],
    ['dir=b&from=PEEK-garbled', 'M_INVALID_PARAM', 'from is no token of this room'],
    ['dir=b&from=s1_2_3', 'M_INVALID_PARAM', 'from is no token of this room'],
    ['dir=b&to=PEEK-', 'M_INVALID_PARAM', 'to is no token of this room'],
    ['dir=b&filter={', 'M_NOT_JSON', 'filter is not JSON'],
    ['dir=b&filter=[]', 'M_INVALID_PARAM', 'filter is no JSON object'],
  ])('%s ⇒ 400 %s', async (query, errcode, error) => {
    const room = await openRoom((made) => made.messages(2));
    expect(await house.get(room, `messages?${query}`)).toMatchObject({
      status: 400,
      body: { errcode, error },
    });
  });
});

function message(body: string): EventFields {
  return { type: 'm.room.message', content: { msgtype: 'm.text', body } };
}
