import { beforeEach, describe, expect, test } from 'vitest';
import { createRoomAnswers } from '../../../src/app/room-answers.ts';
import type { JsonObject } from '../../../src/matrix/json.ts';
import { ALICE } from '../../support/peeking-house.ts';
import { ReadHouse } from '../../support/read-house.ts';
import { type BuiltEvent, type EventFields, RoomBuilder } from '../../support/room-builder.ts';
import { tellsPast } from '../../support/room-past.ts';

const enc = encodeURIComponent;
const MISSING = { status: 404, body: { errcode: 'M_NOT_FOUND' } };
let house: ReadHouse;

beforeEach(async () => {
  house = await ReadHouse.open(createRoomAnswers);
});

async function openRoom(make: (room: RoomBuilder) => void): Promise<RoomBuilder> {
  const room = new RoomBuilder();
  make(room);
  tellsPast(house.house, room);
  return house.peeked(room);
}

function message(body: string, more: JsonObject = {}): EventFields {
  return { type: 'm.room.message', content: { msgtype: 'm.text', body, ...more } };
}

function related(type: string, target: BuiltEvent, body: string, more: JsonObject = {}): EventFields {
  return message(body, { 'm.relates_to': { rel_type: type, event_id: target.eventId }, ...more });
}

async function get(room: RoomBuilder, path: string): Promise<JsonObject> {
  const got = await house.get(room, path);
  expect(got).toMatchObject({ status: 200 });
  return got.body as JsonObject;
}

const bodiesOf = (events: unknown) =>
  (events as JsonObject[]).map(({ type, content }) => (content as JsonObject).body ?? type);

describe('/event', () => {
  test('of the log, of the present state, and of long ago', async () => {
    const room = await openRoom((made) => made.messages(120));
    for (const { eventId, pdu } of [room.events.at(-3), room.events[1], room.events[30]] as BuiltEvent[]) {
      const event = await get(room, `event/${enc(eventId)}`);
      expect(event).toMatchObject({ event_id: eventId, room_id: room.roomId, content: pdu.content });
    }
  });

  test.each([
    ['sent before the room was opened', (room: RoomBuilder) => room.events[6]],
    ['state that was replaced before the room was opened', (room: RoomBuilder) => room.events[4]],
    ['of another room', () => new RoomBuilder('10', 'there.test', 'other').message('elsewhere')],
  ])('%s ⇒ 404 M_NOT_FOUND', async (_, pick) => {
    const room = await openRoom((made) => {
      made.state('m.room.history_visibility', '', { history_visibility: 'shared' });
      made.messages(3, 'hidden');
      made.state('m.room.history_visibility', '', { history_visibility: 'world_readable' });
      made.messages(60);
    });
    expect(await house.get(room, `event/${enc(String(pick(room)?.eventId))}`)).toMatchObject(MISSING);
  });

  test('a server gives another event for the one that was asked for ⇒ 404 M_NOT_FOUND', async () => {
    const room = await openRoom((made) => made.messages(120));
    house.house.remote.on('there.test', 'GET', '/event/', () => ({
      pdus: [(room.events[31] as BuiltEvent).pdu],
    }));
    expect(await house.get(room, `event/${enc(String(room.events[30]?.eventId))}`)).toMatchObject(MISSING);
  });

  test('no server says who could read it then ⇒ 502', async () => {
    const room = await openRoom((made) => made.messages(120));
    house.house.remote.refuse('there.test', 'GET', '/state_ids/', 500);
    const got = await house.get(room, `event/${enc(String(room.events[30]?.eventId))}`);
    expect(got).toMatchObject({ status: 502, body: { errcode: 'M_UNKNOWN' } });
  });

  test('of a user whom the caller ignores ⇒ 404 M_NOT_FOUND', async () => {
    const room = await openRoom((made) => made.messages(5));
    const list = { ignored_users: { [room.creator]: {} } };
    house.house.homeserver.accountDataOf.set(`${ALICE.userId} m.ignored_user_list`, list);
    expect(await house.get(room, `event/${enc(room.latest.eventId)}`)).toMatchObject(MISSING);
  });
});

describe('/context', () => {
  test('half of the limit before, newest first, the rest after, oldest first, with tokens to go on from', async () => {
    const room = await openRoom((made) => made.messages(150));
    const ids = room.events.map(({ eventId }) => eventId);
    for (const at of [ids.length - 3, ids.length - 30, 60]) {
      const around = await get(room, `context/${enc(String(ids[at]))}?limit=7`);
      const idsIn = (part: string) => (around[part] as JsonObject[]).map(({ event_id }) => event_id);
      expect(around.event).toMatchObject({ event_id: ids[at] });
      expect(idsIn('events_before')).toEqual(ids.slice(at - 3, at).reverse());
      expect(idsIn('events_after')).toEqual(ids.slice(at + 1, at + 5));
      const back = await get(room, `messages?dir=b&limit=5&from=${around.start}`);
      expect((back.chunk as JsonObject[]).map(({ event_id }) => event_id)).toEqual(
        ids.slice(at - 8, at - 3).reverse(),
      );
      const on = await get(room, `messages?dir=f&limit=5&from=${around.end}`);
      expect((on.chunk as JsonObject[]).map(({ event_id }) => event_id)).toEqual(ids.slice(at + 5, at + 10));
    }
  });

  test('the state is that after the last event; with lazy_load_members only members who speak', async () => {
    const room = await openRoom((made) => {
      made.member('@one:there.test', 'join');
      made.messages(10);
      made.state('m.room.topic', '', { topic: 'first' });
      made.messages(10);
    });
    const at = room.events.at(-10) as BuiltEvent;
    await house.house.ingest(room, [room.state('m.room.topic', '', { topic: 'second' })]);
    const around = await get(room, `context/${enc(at.eventId)}?limit=2`);
    const topic = (around.state as JsonObject[]).find(({ type }) => type === 'm.room.topic');
    expect(topic).toMatchObject({ content: { topic: 'first' }, room_id: room.roomId });
    const filter = enc(JSON.stringify({ lazy_load_members: true }));
    const lazy = await get(room, `context/${enc(at.eventId)}?limit=2&filter=${filter}`);
    const members = (lazy.state as JsonObject[]).filter(({ type }) => type === 'm.room.member');
    expect(members.map(({ state_key }) => state_key)).toEqual([room.creator]);
  });

  test('of an event that is not there ⇒ 404 M_NOT_FOUND; with a limit that is none ⇒ 400', async () => {
    const room = await openRoom((made) => made.messages(2));
    expect(await house.get(room, `context/${enc(`$${'x'.repeat(43)}`)}`)).toMatchObject(MISSING);
    const odd = await house.get(room, `context/${enc(room.latest.eventId)}?limit=many`);
    expect(odd).toMatchObject({ status: 400, body: { errcode: 'M_INVALID_PARAM' } });
  });
});

describe('/relations', () => {
  /** A root with two replies, one edited, long ago; a later reference, and much said between. */
  async function thread() {
    const room = new RoomBuilder();
    const root = room.add(message('root'));
    const first = room.add(related('m.thread', root, 'first'));
    room.messages(60);
    const second = room.add({ ...related('m.thread', root, 'second'), type: 'test.other' });
    room.messages(30);
    const edited = { 'm.new_content': { body: 'edited' } };
    const edit = room.add({ ...related('m.replace', second, 'edit', edited), type: 'test.other' });
    const reference = room.add(related('m.reference', root, 'reference'));
    room.messages(5);
    tellsPast(house.house, room);
    await house.peeked(room);
    return { room, root, first, second, edit, reference, path: `relations/${enc(root.eventId)}` };
  }

  test('of all kinds, of one, of one event type; newest first or oldest first', async () => {
    const { room, path } = await thread();
    const chunk = async (more: string) => bodiesOf((await get(room, `${path}${more}`)).chunk);
    expect(await chunk('')).toEqual(['reference', 'second', 'first']);
    expect(await chunk('/m.thread')).toEqual(['second', 'first']);
    expect(await chunk('/m.thread/test.other')).toEqual(['second']);
    expect(await chunk('?dir=f')).toEqual(['first', 'second', 'reference']);
    expect(await chunk('/m.annotation')).toEqual([]);
  });

  test('page by page, either way', async () => {
    const { room, path } = await thread();
    for (const dir of ['b', 'f']) {
      const told: unknown[] = [];
      let from = '';
      for (let pages = 0; pages < 5; pages++) {
        const page = await get(room, `${path}?dir=${dir}&limit=1${from === '' ? '' : `&from=${from}`}`);
        told.push(...bodiesOf(page.chunk));
        expect(page.prev_batch ?? '').toBe(from);
        if (page.next_batch === undefined) break;
        from = String(page.next_batch);
      }
      const inOrder = ['first', 'second', 'reference'];
      expect(told).toEqual(dir === 'f' ? inOrder : inOrder.reverse());
    }
  });

  test('`recurse` brings what relates to what relates to it', async () => {
    const { room, path } = await thread();
    const deep = await get(room, `${path}?recurse=true`);
    expect(bodiesOf(deep.chunk)).toEqual(['reference', 'edit', 'second', 'first']);
    expect(deep.recursion_depth).toBe(3);
  });

  test('are bundled with events, wherever these are shown', async () => {
    const { room, root, second, edit } = await thread();
    const bundled = {
      'm.thread': {
        count: 2,
        latest_event: {
          event_id: second.eventId,
          unsigned: { 'm.relations': { 'm.replace': { event_id: edit.eventId } } },
        },
      },
      'm.reference': { chunk: [{ event_id: expect.any(String) }] },
    };
    await get(room, 'messages?dir=b&limit=100');
    const { chunk } = await get(room, 'messages?dir=b&limit=100');
    const inPage = (chunk as JsonObject[]).find(({ event_id }) => event_id === root.eventId);
    expect(inPage).toMatchObject({ unsigned: { 'm.relations': bundled } });
    const alone = await get(room, `event/${enc(root.eventId)}`);
    expect(alone).toMatchObject({ unsigned: { 'm.relations': bundled } });
  });

  test('of an event that is not there ⇒ 404; recurse=maybe ⇒ 400', async () => {
    const { room, path } = await thread();
    expect(await house.get(room, `relations/${enc(`$${'x'.repeat(43)}`)}`)).toMatchObject(MISSING);
    const odd = await house.get(room, `${path}?recurse=maybe`);
    expect(odd).toMatchObject({ status: 400, body: { errcode: 'M_INVALID_PARAM' } });
  });
});

describe('/threads', () => {
  async function threads() {
    const room = new RoomBuilder();
    const [one, two, three] = ['one', 'two', 'three'].map((name) => room.add(message(name))) as [
      BuiltEvent,
      BuiltEvent,
      BuiltEvent,
    ];
    room.messages(60);
    for (const root of [one, two, three, one]) {
      room.add(related('m.thread', root, 'reply'));
      room.messages(20);
    }
    tellsPast(house.house, room);
    await house.peeked(room);
    return room;
  }

  test('their roots, those with the newest reply first, page by page', async () => {
    const room = await threads();
    expect(bodiesOf((await get(room, 'threads')).chunk)).toEqual(['one', 'three', 'two']);
    const first = await get(room, 'threads?limit=2');
    expect(bodiesOf(first.chunk)).toEqual(['one', 'three']);
    const second = await get(room, `threads?limit=2&from=${first.next_batch}`);
    expect(bodiesOf(second.chunk)).toEqual(['two']);
    expect(second.next_batch).toBeUndefined();
  });

  test('of which the caller has taken part: none; include=some ⇒ 400', async () => {
    const room = await threads();
    expect((await get(room, 'threads?include=participated')).chunk).toEqual([]);
    const odd = await house.get(room, 'threads?include=some');
    expect(odd).toMatchObject({ status: 400, body: { errcode: 'M_INVALID_PARAM' } });
  });
});

describe('/timestamp_to_event', () => {
  const AT_TIME = '/timestamp_to_event/';
  const timeOf = (event: BuiltEvent | undefined) => Number(event?.pdu.origin_server_ts);
  const found = async (room: RoomBuilder, query: string) =>
    (await get(room, `timestamp_to_event?${query}`)).event_id;

  test('the event at a time, the next one and the one before', async () => {
    const room = await openRoom((made) => made.messages(120));
    for (const at of [room.events.length - 5, 60]) {
      const [event, next] = room.events.slice(at, at + 2);
      expect(await found(room, `dir=f&ts=${timeOf(event)}`)).toBe(event?.eventId);
      expect(await found(room, `dir=f&ts=${timeOf(event) + 1}`)).toBe(next?.eventId);
      expect(await found(room, `dir=b&ts=${timeOf(event) + 1}`)).toBe(event?.eventId);
    }
    expect(await found(room, `dir=b&ts=${timeOf(room.latest) + 1e9}`)).toBe(room.latest.eventId);
    expect(await found(room, 'ts=0')).toBe(room.events[0]?.eventId);
  });

  test('of what lies further back than is read here, a server names it, and what it names is looked at', async () => {
    const room = await openRoom((made) => made.messages(700));
    const event = room.events[20] as BuiltEvent;
    house.house.remote.on('there.test', 'GET', '/timestamp_to_event/', {
      event_id: event.eventId,
      origin_server_ts: 1,
    });
    expect(await found(room, `dir=f&ts=${timeOf(event)}`)).toBe(event.eventId);
    // A server that names another one from the wrong side of the time is not believed.
    const got = await house.get(room, `timestamp_to_event?dir=b&ts=${timeOf(event) - 1}`);
    expect(got).toMatchObject({ status: 504, body: { errcode: 'M_UNKNOWN' } });
  });

  test.each([
    ['names none', () => house.house.remote.refuse('there.test', 'GET', AT_TIME, 404, 'M_NOT_FOUND')],
    [
      'names one that there is not',
      () => house.house.remote.on('there.test', 'GET', AT_TIME, { event_id: '$x' }),
    ],
  ])('… a server %s ⇒ 504, and not the oldest that was seen', async (_, script) => {
    const room = await openRoom((made) => made.messages(700));
    script();
    const ts = timeOf(room.events[20]);
    const got = await house.get(room, `timestamp_to_event?dir=f&ts=${ts}`);
    expect(got).toMatchObject({ status: 504, body: { errcode: 'M_UNKNOWN' } });
    const asked = house.house.remote.calls.filter(({ path }) => path.includes(AT_TIME));
    expect(asked.map(({ path, query }) => [path, query.toString()])).toEqual([
      [`/_matrix/federation/v1${AT_TIME}${room.roomId}`, `ts=${ts}&dir=f`],
    ]);
  });

  test('the beginning of a long history is known, and nothing asked: of a room that was made open its creation', async () => {
    const room = await openRoom((made) => made.messages(700));
    const before = house.house.remote.calls.length;
    expect(await found(room, 'ts=0')).toBe(room.events[0]?.eventId);
    expect(await house.get(room, 'timestamp_to_event?dir=b&ts=0')).toMatchObject(MISSING);
    expect(house.house.remote.calls).toHaveLength(before);
  });

  test('… of one that was opened later, the event that opened it', async () => {
    const room = await openRoom((made) => {
      made.state('m.room.history_visibility', '', { history_visibility: 'shared' });
      made.messages(40, 'hidden');
      made.state('m.room.history_visibility', '', { history_visibility: 'world_readable' });
      made.messages(700);
    });
    const at = room.events.findLastIndex(({ pdu }) => pdu.type === 'm.room.history_visibility');
    const opening = room.events[at];
    for (const ts of [0, timeOf(room.events[at - 3]), timeOf(opening)]) {
      expect(await found(room, `dir=f&ts=${ts}`)).toBe(opening?.eventId);
    }
    const hidden = await house.get(room, `timestamp_to_event?dir=b&ts=${timeOf(room.events[at - 1])}`);
    expect(hidden).toMatchObject(MISSING);
  });

  test('nothing on that side ⇒ 404; without ts, or with one that is none ⇒ 400', async () => {
    const room = await openRoom((made) => made.messages(3));
    expect(await house.get(room, `timestamp_to_event?dir=f&ts=${timeOf(room.latest) + 1}`)).toMatchObject(
      MISSING,
    );
    expect(await house.get(room, 'timestamp_to_event?dir=b&ts=0')).toMatchObject(MISSING);
    const none = await house.get(room, 'timestamp_to_event?dir=f');
    expect(none).toMatchObject({ status: 400, body: { errcode: 'M_MISSING_PARAM' } });
    const odd = await house.get(room, 'timestamp_to_event?dir=f&ts=now');
    expect(odd).toMatchObject({ status: 400, body: { errcode: 'M_INVALID_PARAM' } });
  });
});
