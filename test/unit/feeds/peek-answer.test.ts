import { describe, expect, test } from 'vitest';
import {
  clampRenewal,
  type PeekAnswerUnusable,
  readPeekAnswer,
} from '../../../src/feeds/answers/peek-answer.ts';
import type { JsonObject } from '../../../src/matrix/json.ts';
import { SUPPORTED_ROOM_VERSIONS } from '../../../src/matrix/room-versions.ts';
import type { EventRejected } from '../../../src/rooms/verify-event.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { PEER } from '../../support/peeking-house.ts';
import { RoomBuilder, signedEvent, TestKeyRing } from '../../support/room-builder.ts';

function read(
  room: RoomBuilder,
  answer: JsonObject,
  rejected: EventRejected[] = [],
  keys = new TestKeyRing(),
) {
  return readPeekAnswer(answer, room.roomId, {
    server: PEER,
    keys,
    clock: new ManualClock(),
    rejected: (error) => rejected.push(error),
  });
}

async function refusal(
  room: RoomBuilder,
  answer: JsonObject,
  keys = new TestKeyRing(),
): Promise<PeekAnswerUnusable['kind']> {
  const error = await read(room, answer, [], keys).then(
    () => null,
    (reason: PeekAnswerUnusable) => reason,
  );
  if (error === null) throw new Error('it was accepted');
  return error.kind;
}

function withoutState(answer: JsonObject, type: string): JsonObject {
  const keep = (list: unknown) => (list as JsonObject[]).filter((event) => event.type !== type);
  return { ...answer, state: keep(answer.state), auth_chain: keep(answer.auth_chain) };
}

function forged(answer: JsonObject, type: string): JsonObject {
  const spoil = (list: unknown) =>
    (list as JsonObject[]).map((event) => (event.type === type ? { ...event, signatures: {} } : event));
  return { ...answer, state: spoil(answer.state), auth_chain: spoil(answer.auth_chain) };
}

describe('what is read', () => {
  test.each(['1', '3', '6', '10', '11', '12'])(
    'the union of what servers send (version %s)',
    async (version) => {
      const room = new RoomBuilder(version);
      room.messages(3);
      const answer = await read(room, room.peekAnswer());
      expect(answer).toMatchObject({ peekId: 'theirs', roomVersion: version, renewalIntervalMs: 3_600_000 });
      expect(answer.state).toHaveLength(room.currentState.length);
      expect(answer.recent.map(({ eventId }) => eventId)).toEqual(
        room.events.slice(-4).map(({ eventId }) => eventId),
      );
    },
  );

  test('Dendrite’s shape: no peek_id, no messages, `latest_event` alone', async () => {
    const room = new RoomBuilder();
    room.messages(3);
    const { peek_id: _, messages: __, ...answer } = room.peekAnswer();
    expect(await read(room, answer)).toMatchObject({
      peekId: null,
      recent: [{ eventId: room.latest.eventId }],
    });
  });

  test('Palpo’s shape: `messages`, no `latest_event`', async () => {
    const room = new RoomBuilder();
    room.messages(3);
    const { latest_event: _, ...answer } = room.peekAnswer();
    expect((await read(room, answer)).recent).toHaveLength(4);
  });

  test('without a room version it is version 1; an unknown room version ⇒ refused', async () => {
    const room = new RoomBuilder('1');
    const { room_version: _, ...answer } = room.peekAnswer();
    expect((await read(room, answer)).roomVersion).toBe('1');
    expect(await refusal(room, { ...answer, room_version: 'org.example.99' })).toBe('invalid');
    expect(await refusal(room, { ...answer, room_version: '__proto__' })).toBe('invalid');
  });

  test('one event for each (type, state_key)', async () => {
    const room = new RoomBuilder();
    const answer = room.peekAnswer();
    const state = answer.state as JsonObject[];
    expect((await read(room, { ...answer, state: [...state, ...state] })).state).toHaveLength(state.length);
  });

  test('one bad event never spoils the rest', async () => {
    const room = new RoomBuilder();
    room.state('m.room.topic', '', { topic: 'forged' });
    const rejected: EventRejected[] = [];
    const answer = await read(room, forged(room.peekAnswer(), 'm.room.topic'), rejected);
    expect(answer.state).toHaveLength(room.currentState.length - 1);
    expect(rejected.map(({ reason }) => reason)).toContain('signature');
  });

  test('events sent before the room was opened are not recent ones', async () => {
    const room = new RoomBuilder();
    room.message('private');
    room.state('m.room.history_visibility', '', { history_visibility: 'shared' });
    room.message('private too');
    const opened = room.state('m.room.history_visibility', '', { history_visibility: 'world_readable' });
    const open = room.message('open');
    const answer = await read(room, room.peekAnswer());
    expect(answer.recent.map(({ eventId }) => eventId)).toEqual([opened.eventId, open.eventId]);
  });

  test.each([{ state: 'x' }, { state: null, auth_chain: {} }, {}, { messages: 7, latest_event: [] }])(
    'malformed lists ⇒ refused: %j',
    async (answer) => {
      const room = new RoomBuilder();
      expect(await refusal(room, { room_version: '10', ...answer })).toBe('invalid');
    },
  );
});

describe('what is refused', () => {
  test.each([
    ['missing create', (a: JsonObject) => withoutState(a, 'm.room.create'), 'invalid'],
    ['a create event that is forged', (a: JsonObject) => forged(a, 'm.room.create'), 'invalid'],
    ['power levels that are forged', (a: JsonObject) => forged(a, 'm.room.power_levels'), 'invalid'],
    ['a visibility that is forged', (a: JsonObject) => forged(a, 'm.room.history_visibility'), 'invalid'],
    ['missing visibility', (a: JsonObject) => withoutState(a, 'm.room.history_visibility'), 'forbidden'],
  ] as const)('%s ⇒ %s', async (_, spoil, kind) => {
    const room = new RoomBuilder();
    expect(await refusal(room, spoil(room.peekAnswer()))).toBe(kind);
  });

  test.each(['m.room.encryption', 'm.room.server_acl'])(
    '%s that does not verify, since its sender’s key cannot be had ⇒ refused, not left out',
    async (type) => {
      const room = new RoomBuilder();
      room.state(type, '', { algorithm: 'm.megolm', deny: ['evil.test'] }, '@admin:gone.test');
      const keys = new TestKeyRing();
      keys.unknown.add('gone.test');
      expect(await refusal(room, room.peekAnswer(), keys)).toBe('invalid');
    },
  );

  test.each(['1', '3', '10', '11'])(
    'a room invented in another server’s name (version %s)',
    async (version) => {
      const room = new RoomBuilder(version, 'evil.test', 'hq');
      const invented = room.peekAnswer();
      const roomId = '!hq:there.test';
      const moved = (list: unknown) =>
        (list as JsonObject[]).map(({ signatures: _, hashes: __, ...event }) =>
          signedEvent({ ...event, room_id: roomId }, room.rules, 'evil.test'),
        );
      const state = moved(invented.state);
      const answer = { ...invented, state, auth_chain: moved(invented.auth_chain) };
      const error = readPeekAnswer(answer, roomId, {
        server: PEER,
        keys: new TestKeyRing(),
        clock: new ManualClock(),
        rejected: () => {},
      });
      await expect(error).rejects.toThrow('the room was not created by the server that its ID names');
    },
  );

  test('a create event without its content hash', async () => {
    const room = new RoomBuilder('1');
    const changed = (list: unknown) =>
      (list as JsonObject[]).map((event) =>
        event.type === 'm.room.create'
          ? { ...event, content: { ...(event.content as object), x: 1 } }
          : event,
      );
    const answer = room.peekAnswer();
    const spoiled = { ...answer, state: changed(answer.state), auth_chain: changed(answer.auth_chain) };
    expect(await refusal(room, spoiled)).toBe('invalid');
  });

  test.each(['shared', 'invited', 'joined', 'malformed value'])(
    '`joined`/`invited`/`shared` room ⇒ 403, and so is a malformed value: %s',
    async (value) => {
      const room = new RoomBuilder();
      room.state('m.room.history_visibility', '', { history_visibility: value });
      expect(await refusal(room, room.peekAnswer())).toBe('forbidden');
    },
  );

  test('encrypted ⇒ 403', async () => {
    const room = new RoomBuilder();
    room.state('m.room.encryption', '', { algorithm: 'm.megolm' });
    expect(await refusal(room, room.peekAnswer())).toBe('forbidden');
  });

  test('the state of another room, also where only its hash says so (version 12)', async () => {
    for (const version of ['10', '12']) {
      const room = new RoomBuilder(version);
      const other = new RoomBuilder(version, PEER, 'other');
      expect(await refusal(room, other.peekAnswer())).toBe('invalid');
    }
  });

  test('a room version that is not the create event’s', async () => {
    const room = new RoomBuilder('6');
    expect(await refusal(room, { ...room.peekAnswer(), room_version: '9' })).toBe('invalid');
  });
});

describe('authorization', () => {
  const MALLORY = '@mallory:evil.test';

  test.each(SUPPORTED_ROOM_VERSIONS)(
    'state that its sender had no power to set is left out (version %s)',
    async (version) => {
      const room = new RoomBuilder(version);
      room.member(MALLORY, 'join');
      room.state('m.room.topic', '', { topic: 'real' });
      room.state('org.example.set', '', {}, MALLORY);
      const rejected: EventRejected[] = [];
      const answer = await read(room, room.peekAnswer(), rejected);
      expect(answer.state).toHaveLength(room.currentState.length - 1);
      expect(rejected.map(({ reason }) => reason)).toEqual(['auth']);
    },
  );

  test.each([
    ['power levels', 'm.room.power_levels', { users: { [MALLORY]: 100 } }],
    ['a visibility', 'm.room.history_visibility', { history_visibility: 'world_readable' }],
    ['an ACL', 'm.room.server_acl', { allow: ['*'] }],
  ])('%s set by somebody who may not ⇒ refused, not left out', async (_, type, content) => {
    const room = new RoomBuilder();
    room.member(MALLORY, 'join');
    room.state(type, '', content, MALLORY);
    expect(await refusal(room, room.peekAnswer())).toBe('invalid');
  });

  test('what depends on an event that is not authorised is not either', async () => {
    const room = new RoomBuilder();
    const stranger = room.state('m.room.member', MALLORY, { membership: 'join', x: 1 }, '@else:evil.test');
    const topic = room.state('org.example.state', '', {}, MALLORY);
    const said = room.message('from nobody', MALLORY);
    const given = await read(room, room.peekAnswer());
    const ids = [...given.state, ...given.authChain, ...given.recent].map(({ eventId }) => eventId);
    for (const { eventId } of [stranger, topic, said]) expect(ids).not.toContain(eventId);
  });

  test('auth events that the answer lacks are asked for, judged, and part of the chain', async () => {
    const room = new RoomBuilder();
    const join = room.member(MALLORY, 'join');
    const left = room.member(MALLORY, 'leave');
    const answer = room.peekAnswer(1);
    const chain = (answer.auth_chain as JsonObject[]).filter((event) => event !== join.pdu);
    const asked: string[] = [];
    const given = await readPeekAnswer({ ...answer, auth_chain: chain }, room.roomId, {
      server: PEER,
      keys: new TestKeyRing(),
      clock: new ManualClock(),
      rejected: () => {},
      auth: {
        chain: async (eventId) => {
          asked.push(eventId);
          return [];
        },
        event: async (eventId) => {
          asked.push(eventId);
          return join.pdu;
        },
      },
    });
    expect(asked).toEqual([left.eventId, join.eventId]);
    expect(given.authChain.map(({ eventId }) => eventId)).toContain(join.eventId);
    expect(given.state.map(({ eventId }) => eventId)).toContain(left.eventId);
  });

  test('an answer without the create event in its state has it there all the same', async () => {
    const room = new RoomBuilder('12');
    const answer = room.peekAnswer();
    const state = (answer.state as JsonObject[]).filter(({ type }) => type !== 'm.room.create');
    const given = await read(room, { ...answer, state });
    expect(given.state.filter(({ pdu }) => pdu.type === 'm.room.create')).toHaveLength(1);
  });

  test('an invite by third party that is not vouched for inside is left out, signed or not', async () => {
    const room = new RoomBuilder();
    const signed = { mxid: MALLORY, token: 'none', signatures: {} };
    room.state(
      'm.room.member',
      MALLORY,
      { membership: 'invite', third_party_invite: { signed } },
      room.creator,
    );
    const rejected: EventRejected[] = [];
    const given = await read(room, room.peekAnswer(), rejected);
    expect(given.state).toHaveLength(room.currentState.length - 1);
    expect(rejected.map(({ reason }) => reason)).toContain('auth');
  });
});

test('the renewal interval is clamped to 1 min … 1 h', () => {
  expect([0, -5, 59_999, 60_000, 90_000, 3_600_000, 1e15].map(clampRenewal)).toEqual([
    60_000, 60_000, 60_000, 60_000, 90_000, 3_600_000, 3_600_000,
  ]);
  expect([undefined, null, '5', {}, Number.NaN].map(clampRenewal)).toEqual(Array(5).fill(3_600_000));
});

describe('the server that answers', () => {
  const from = (server: string, room: RoomBuilder) =>
    readPeekAnswer(room.peekAnswer(), room.roomId, {
      server,
      keys: new TestKeyRing(),
      clock: new ManualClock(),
      rejected: () => undefined,
    });

  test('has no member in the room ⇒ refused, however genuine its events are', async () => {
    const room = new RoomBuilder();
    await expect(from('evil.test', room)).rejects.toMatchObject({ kind: 'invalid' });
    room.member('@eve:evil.test', 'join');
    await expect(from('evil.test', room)).resolves.toMatchObject({ peekId: 'theirs' });
    room.member('@eve:evil.test', 'leave');
    await expect(from('evil.test', room)).rejects.toMatchObject({ kind: 'invalid' });
  });

  test('of the room ID has left it ⇒ refused as well', async () => {
    const room = new RoomBuilder();
    room.member('@resident:other.test', 'join');
    room.member(room.creator, 'leave');
    await expect(from(PEER, room)).rejects.toMatchObject({ kind: 'invalid' });
    await expect(from('other.test', room)).resolves.toMatchObject({ peekId: 'theirs' });
  });

  test('is denied by the ACL of the room, or the ACL has lost its content ⇒ refused', async () => {
    const room = new RoomBuilder();
    room.member('@eve:evil.test', 'join');
    const acl = room.state('m.room.server_acl', '', { allow: ['*'], deny: ['evil.test'] });
    await expect(from('evil.test', room)).rejects.toMatchObject({ kind: 'invalid' });
    await expect(from(PEER, room)).resolves.toMatchObject({ peekId: 'theirs' });
    Object.assign(acl.pdu, { content: {} });
    await expect(from(PEER, room)).rejects.toMatchObject({ kind: 'invalid' });
  });
});
