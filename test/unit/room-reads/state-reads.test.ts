import { beforeEach, describe, expect, test } from 'vitest';
import { createRoomAnswers } from '../../../src/app/room-answers.ts';
import { remoteHistoryToken } from '../../../src/client-view/history-token.ts';
import { toClientEvent } from '../../../src/matrix/client-event.ts';
import type { JsonObject } from '../../../src/matrix/json.ts';
import { statePartialMark, stateWholeMark } from '../../../src/rooms/log-entries.ts';
import { ReadHouse } from '../../support/read-house.ts';
import { type BuiltEvent, RoomBuilder } from '../../support/room-builder.ts';

const enc = encodeURIComponent;
let house: ReadHouse;

beforeEach(async () => {
  house = await ReadHouse.open(createRoomAnswers);
});

/** As a client is shown it; its age is what the clock says. */
function shown({ pdu, eventId }: BuiltEvent): JsonObject {
  return toClientEvent(pdu, eventId, { roomId: String(pdu.room_id), now: house.house.clock.now() });
}

function byId(events: unknown): JsonObject[] {
  return (events as JsonObject[]).toSorted((a, b) => (String(a.event_id) < String(b.event_id) ? -1 : 1));
}

describe('/state', () => {
  test('is the current state, in client format with room_id', async () => {
    const room = new RoomBuilder();
    room.state('m.room.topic', '', { topic: 'earlier' });
    room.state('m.room.topic', '', { topic: 'now' });
    await house.peeked(room);
    const got = await house.get(room, 'state');
    expect(got.status).toBe(200);
    expect(byId(got.body)).toEqual(byId(room.currentState.map(shown)));
  });

  test('follows what the peeked server sends', async () => {
    const room = await house.peeked();
    await house.house.ingest(room, [room.state('m.room.name', '', { name: 'New' })]);
    const names = byId((await house.get(room, 'state')).body).filter(({ type }) => type === 'm.room.name');
    expect(names).toEqual([shown(room.stateEvent('m.room.name'))]);
  });
});

describe('/state/{type}/{stateKey}', () => {
  const ODD = [
    ['m.room.name', '', 'm.room.name'],
    ['m.room.name', '', 'm.room.name/'],
    ['test.odd', 'a/b c%', `test.odd/${enc('a/b c%')}`],
    ['test/type', '', enc('test/type')],
    ['test.odd', '%2F', 'test.odd/%252F'],
    ['test.odd', '__proto__', 'test.odd/__proto__'],
    ['constructor', 'ä', `constructor/${enc('ä')}`],
  ] as const;

  test.each(ODD)('%s, key %j by /state/%s', async (type, key, path) => {
    const room = new RoomBuilder();
    room.state(type, key, { value: 1 });
    await house.peeked(room);
    expect(await house.get(room, `state/${path}`)).toMatchObject({ status: 200, text: '{"value":1}' });
    const event = await house.get(room, `state/${path}?format=event`);
    expect(event.body).toEqual(shown(room.stateEvent(type, key)));
  });

  test.each(['m.room.topic', 'm.room.topic/', 'm.room.name/x', 'm.room.member', '', '/x', '__proto__'])(
    'without such an event is 404 M_NOT_FOUND: /state/%s',
    async (path) => {
      const room = new RoomBuilder();
      room.state('m.room.name', '', { name: 'A room' });
      await house.peeked(room);
      const got = await house.get(room, `state/${path}`);
      expect(got).toMatchObject({ status: 404, body: { errcode: 'M_NOT_FOUND' } });
    },
  );

  test('with another format is 400, with further parts no endpoint', async () => {
    const room = await house.peeked();
    const odd = await house.get(room, 'state/m.room.create?format=pdu');
    expect(odd).toMatchObject({ status: 400, body: { errcode: 'M_INVALID_PARAM' } });
    for (const path of ['state/m.room.create//', 'members/', 'joined_members/x', 'aliases/x']) {
      const got = await house.get(room, path);
      expect(got).toMatchObject({ status: 404, body: { errcode: 'M_UNRECOGNIZED' } });
    }
  });
});

describe('/members', () => {
  const [JO, LEA, INA] = ['@jo:there.test', '@lea:there.test', '@ina:else.test'];

  function room(): RoomBuilder {
    const built = new RoomBuilder();
    built.member(JO, 'join', { displayname: 'Jo', avatar_url: 'mxc://there.test/jo' });
    built.member(LEA, 'join');
    built.member(LEA, 'leave');
    built.state('m.room.member', INA, { membership: 'invite' });
    return built;
  }

  const keys = (body: unknown) =>
    (body as { chunk: JsonObject[] }).chunk.map(({ state_key }) => state_key).toSorted();

  test('is every member event as it is', async () => {
    const built = await house.peeked(room());
    const { chunk } = (await house.get(built, 'members')).body as { chunk: JsonObject[] };
    const members = built.currentState.filter(({ pdu }) => pdu.type === 'm.room.member');
    expect(byId(chunk)).toEqual(byId(members.map(shown)));
  });

  test.each([
    ['membership=join', ['@creator:there.test', JO, '@resident:there.test']],
    ['membership=leave', [LEA]],
    ['not_membership=join', [INA, LEA]],
    ['membership=join&not_membership=join', []],
    ['membership=knock', []],
  ])('of one membership, or all but one: %s', async (query, expected) => {
    const built = room();
    built.member('@resident:there.test', 'join');
    await house.peeked(built);
    expect(keys((await house.get(built, `members?${query}`)).body)).toEqual(expected);
  });

  test('at a token are those of that position', async () => {
    const built = await house.peeked(room());
    const { head } = await house.house.log(built.roomId);
    await house.house.ingest(built, [built.member('@new:there.test', 'join'), built.member(JO, 'leave')]);
    const tokenAt = (position: number) => remoteHistoryToken({ kind: 'log', position, beside: null });
    const at = (token: string) => house.get(built, `members?membership=join&at=${enc(token)}`);
    expect(keys((await at(tokenAt(head))).body)).toEqual(['@creator:there.test', JO]);
    expect(keys((await at(tokenAt(head + 1))).body)).toContain('@new:there.test');
    // Of these positions nothing is known: the present.
    const present = ['@creator:there.test', '@new:there.test'];
    for (const token of [tokenAt(1), tokenAt(head + 99), 'PEEK-x', 's12_3', '', 'garbled']) {
      expect(keys((await at(token)).body)).toEqual(present);
    }
  });

  test('joined_members are those who are in, with their names', async () => {
    const built = await house.peeked(room());
    expect((await house.get(built, 'joined_members')).body).toEqual({
      joined: {
        '@creator:there.test': { display_name: null, avatar_url: null },
        [JO]: { display_name: 'Jo', avatar_url: 'mxc://there.test/jo' },
      },
    });
  });
});

describe('/aliases', () => {
  test('are those of our own server that the room names and that lead to it', async () => {
    const room = new RoomBuilder();
    const [ours, stale, theirs] = ['#ours:here.test', '#stale:here.test', '#theirs:there.test'];
    room.state('m.room.canonical_alias', '', { alias: theirs, alt_aliases: [ours, stale, ours, 7] });
    await house.peeked(room);
    const { aliases } = house.house.homeserver;
    aliases.set(ours, { roomId: room.roomId, servers: [] }).set(theirs, { roomId: room.roomId, servers: [] });
    aliases.set(stale, { roomId: '!other:there.test', servers: [] });
    expect((await house.get(room, 'aliases')).body).toEqual({ aliases: [ours] });
  });

  test('are none where the room names none', async () => {
    const room = await house.peeked();
    expect((await house.get(room, 'aliases')).body).toEqual({ aliases: [] });
    await house.house.ingest(room, [room.state('m.room.canonical_alias', '', { alias: { a: 1 } })]);
    expect((await house.get(room, 'aliases')).body).toEqual({ aliases: [] });
  });
});

describe('a room whose state is still coming', () => {
  async function partial() {
    const room = await house.peeked();
    const { store, clock } = house.house;
    await store.logs.append(room.roomId, { entries: [statePartialMark(clock.now())] });
    return room;
  }

  test('answers for what there is, and waits for the rest', async () => {
    const room = await partial();
    const { store, clock } = house.house;
    expect((await house.get(room, 'state/m.room.create')).status).toBe(200);
    const asked = Promise.all(
      ['members', 'state', 'state/m.room.topic'].map((path) => house.get(room, path)),
    );
    const topic = room.state('m.room.topic', '', { topic: 'late' });
    const stored = {
      eventId: topic.eventId,
      json: JSON.stringify(topic.pdu),
      type: 'm.room.topic',
      stateKey: '',
    };
    await store.replicas.add(room.roomId, [stored], []);
    await store.logs.append(room.roomId, { entries: [stateWholeMark(clock.now())] });
    const [members, state, one] = await asked;
    expect([members?.status, one?.text]).toEqual([200, '{"topic":"late"}']);
    expect(byId(state?.body)).toEqual(byId(room.currentState.map(shown)));
  });

  test('that does not come in time is 503, with the time to wait', async () => {
    const room = await partial();
    let got: { status: number; body: unknown } | undefined;
    const asked = house.get(room, 'members').then((answer) => {
      got = answer;
    });
    while (got === undefined) await house.house.clock.advance(5_000);
    await asked;
    expect(got).toMatchObject({ status: 503, body: { errcode: 'M_UNKNOWN', retry_after_ms: 5000 } });
  });
});
