import { describe, expect, test } from 'vitest';
import { IgnoredSenders } from '../../../src/client-view/ignored-users.ts';
import type { Json, JsonObject } from '../../../src/matrix/json.ts';
import { ALICE, brief, PeekingHouse, TestDevice } from '../../support/peeking-house.ts';
import { type BuiltEvent, RoomBuilder } from '../../support/room-builder.ts';

const TALKER = '@talker:there.test';
const SILENT = '@silent:there.test';

/** A peeked room, whose further events reach its log with `settle`. */
async function peekedRoom(
  kind: 'resident' | 'remote',
  build: (room: RoomBuilder) => void = () => {},
  version = '10',
) {
  const house = await PeekingHouse.open();
  const room = new RoomBuilder(version);
  if (kind === 'resident') house.resident(room);
  else house.remoteRoom(room);
  room.member(TALKER, 'join');
  room.member(SILENT, 'join');
  build(room);
  await house.peek(room.roomId);
  let arrived = room.events.length;
  const settle = async () => {
    if (kind === 'remote') await house.ingest(room, room.events.slice(arrived));
    arrived = room.events.length;
    await house.settle();
  };
  return { house, room, device: new TestDevice(house), settle };
}

interface Shown extends JsonObject {
  event_id: string;
  unsigned: JsonObject;
}

function timelineOf(section: JsonObject | undefined): Shown[] {
  return ((section?.timeline as JsonObject | undefined)?.events ?? []) as Shown[];
}

function stateOf(section: JsonObject | undefined): Shown[] {
  return ((section?.state as JsonObject | undefined)?.events ?? []) as Shown[];
}

function find(events: readonly Shown[], { eventId }: BuiltEvent): Shown {
  const found = events.find((event) => event.event_id === eventId);
  if (found === undefined) throw new Error(`${eventId} is not shown`);
  return found;
}

const lazy = (redundant = false) => ({
  room: { state: { lazy_load_members: true, ...(redundant && { include_redundant_members: true }) } },
});

describe.each(['resident', 'remote'] as const)('in a %s room', (kind) => {
  describe('a filter', () => {
    test('counts to its limit only what it wants', async () => {
      const { device, room, settle } = await peekedRoom(kind);
      for (let i = 0; i < 5; i++) {
        room.message(`message ${i}`);
        room.add({ type: 'm.sticker', content: {} });
      }
      await settle();
      const filter = { room: { timeline: { limit: 3, types: ['m.room.message'] } } };
      const first = brief((await device.sync(filter)).peek.get(room.roomId));
      expect(first?.timeline).toEqual(['message 2', 'message 3', 'message 4']);
      for (let i = 0; i < 4; i++) room.add({ type: 'm.sticker', content: {} });
      room.message('one more');
      await settle();
      const next = brief((await device.sync(filter)).peek.get(room.roomId));
      expect(next).toMatchObject({ timeline: ['one more'], limited: false });
    });

    test('that keeps all that is new out of the section makes no news', async () => {
      const { device, room, settle } = await peekedRoom(kind);
      const filter = { room: { timeline: { types: ['m.room.message'] }, state: { types: [] } } };
      await device.sync(filter);
      room.add({ type: 'm.sticker', content: {} });
      room.state('m.room.topic', '', { topic: 'x' });
      await settle();
      const answer = await device.sync(filter);
      expect(answer.peek.size).toBe(0);
      room.message('wanted');
      await settle();
      expect(brief((await device.sync(filter)).peek.get(room.roomId))?.timeline).toEqual(['wanted']);
    });

    test('that keeps state out of the timeline has it beside', async () => {
      const { device, room, settle } = await peekedRoom(kind);
      const filter = { room: { timeline: { types: ['m.room.message'] } } };
      await device.sync(filter);
      room.state('m.room.topic', '', { topic: 'one' });
      room.message('between');
      room.state('m.room.topic', '', { topic: 'two' });
      await settle();
      expect(brief((await device.sync(filter)).peek.get(room.roomId))).toEqual({
        timeline: ['between'],
        state: ['topic=two'],
        limited: false,
      });
    });

    test('asks for events that others relate to', async () => {
      const { device, room, settle } = await peekedRoom(kind);
      const root = room.message('root');
      room.message('alone');
      room.add({
        type: 'm.reaction',
        sender: TALKER,
        content: { 'm.relates_to': { rel_type: 'm.annotation', event_id: root.eventId, key: 'x' } },
      });
      await settle();
      const by = (timeline: JsonObject) => device.sync({ room: { timeline } }, { fullState: true });
      device.read = null;
      const related = await by({ related_by_rel_types: ['m.annotation'], related_by_senders: [TALKER] });
      expect(brief(related.peek.get(room.roomId))?.timeline).toEqual(['root']);
      device.read = null;
      const none = await by({ related_by_senders: [SILENT] });
      expect(brief(none.peek.get(room.roomId))?.timeline).toEqual([]);
    });

    test('event_format: federation gives PDUs with ID, room and `unsigned`, in timeline and state', async () => {
      const { device, room } = await peekedRoom(kind);
      const last = room.events.at(-1) as BuiltEvent;
      const filter = { event_format: 'federation', room: { timeline: { limit: 1 } } };
      const section = (await device.sync(filter)).peek.get(room.roomId);
      const full = (event: BuiltEvent) => ({ ...event.pdu, event_id: event.eventId, room_id: room.roomId });
      expect(timelineOf(section)).toEqual([
        { ...full(last), unsigned: expect.objectContaining({ membership: 'leave' }) },
      ]);
      const others = room.currentState.filter(({ eventId }) => eventId !== last.eventId);
      expect(stateOf(section)).toHaveLength(others.length);
      for (const event of others) {
        expect(find(stateOf(section), event)).toEqual({ ...full(event), unsigned: expect.any(Object) });
      }
    });

    test('event_fields names what events keep, in timeline and state', async () => {
      const { device, room } = await peekedRoom(kind);
      const filter = { event_fields: ['type', 'unsigned.membership'], room: { timeline: { limit: 1 } } };
      const section = (await device.sync(filter)).peek.get(room.roomId);
      expect(JSON.parse(JSON.stringify(timelineOf(section)))).toEqual([
        { type: 'm.room.member', unsigned: { membership: 'leave' } },
      ]);
      expect(JSON.parse(JSON.stringify(stateOf(section)))).toContainEqual({ type: 'm.room.create' });
    });
  });

  describe('lazily loaded members', () => {
    const members = (section: JsonObject | undefined) =>
      stateOf(section)
        .filter(({ type }) => type === 'm.room.member')
        .map(({ state_key }) => state_key)
        .toSorted();

    test('of a first section are who speaks in it, and the user', async () => {
      const { device, room } = await peekedRoom(kind, (room) => {
        room.member(ALICE.userId, 'join');
        room.member(ALICE.userId, 'leave');
        room.messages(30);
        room.message('hello', TALKER);
      });
      const section = (await device.sync(lazy())).peek.get(room.roomId);
      expect(members(section)).toEqual([ALICE.userId, room.creator, TALKER].toSorted());
      expect(timelineOf(section).at(-1)?.unsigned.membership).toBe('leave');
    });

    test('are not sent again, but with include_redundant_members', async () => {
      const { device, room, settle } = await peekedRoom(kind, (room) => void room.messages(30));
      await device.sync(lazy());
      const told: unknown[][] = [];
      for (const filter of [lazy(), lazy(), lazy(true)]) {
        room.message('hello', TALKER);
        await settle();
        told.push(members((await device.sync(filter)).peek.get(room.roomId)));
      }
      expect(told).toEqual([[TALKER], [], [TALKER]]);
    });

    test('are sent again when the answer that had them was lost', async () => {
      const { device, room, settle } = await peekedRoom(kind, (room) => void room.messages(30));
      await device.sync(lazy());
      room.message('hello', TALKER);
      await settle();
      const lost = await device.lostSync(lazy());
      room.message('again', TALKER);
      await settle();
      const retried = await device.sync(lazy());
      for (const answer of [lost, retried]) expect(members(answer.peek.get(room.roomId))).toEqual([TALKER]);
    });

    test('are sent again after a restart, to another filter, and in full_state', async () => {
      const { house, device, room, settle } = await peekedRoom(kind, (room) => void room.messages(30));
      await device.sync(lazy());
      const speak = async () => {
        room.message('hello', TALKER);
        await settle();
      };
      await speak();
      expect(members((await device.sync(lazy())).peek.get(room.roomId))).toEqual([TALKER]);
      await speak();
      const other = { room: { state: { lazy_load_members: true }, timeline: { limit: 9 } } };
      expect(members((await device.lostSync(other)).peek.get(room.roomId))).toEqual([TALKER]);
      const restarted = await PeekingHouse.on(house.store, house.clock);
      restarted.homeserver.rooms.set(room.roomId, { builder: room, membership: 'resident', open: true });
      const after = new TestDevice(restarted);
      after.read = device.read;
      expect(members((await after.lostSync(lazy())).peek.get(room.roomId))).toEqual([TALKER]);
      const full = await device.lostSync(lazy(), { fullState: true });
      expect(members(full.peek.get(room.roomId))).toEqual([TALKER]);
    });

    test('who changed are told, whether they speak or not', async () => {
      const { device, room, settle } = await peekedRoom(kind, (room) => void room.messages(30));
      await device.sync(lazy());
      room.member(SILENT, 'leave');
      room.messages(60);
      await settle();
      const section = (await device.sync(lazy())).peek.get(room.roomId);
      expect(brief(section)?.state).toContain(`member ${SILENT}=leave`);
    });
  });

  describe('`unsigned`', () => {
    test('has age, what state replaced, and the peeker’s membership; never a transaction_id', async () => {
      const { device, room, settle } = await peekedRoom(kind);
      room.state('m.room.topic', '', { topic: 'one' });
      room.state('m.room.topic', '', { topic: 'two' });
      const more = { unsigned: { transaction_id: 't', age: 1 } };
      room.add({ type: 'm.room.message', content: { body: 'x' }, more });
      await settle();
      const [one, two, message] = room.events.slice(-3) as [BuiltEvent, BuiltEvent, BuiltEvent];
      const timeline = timelineOf((await device.sync()).peek.get(room.roomId));
      expect(find(timeline, one).unsigned).toEqual({ age: expect.any(Number), membership: 'leave' });
      expect(find(timeline, two).unsigned).toEqual({
        age: expect.any(Number),
        membership: 'leave',
        replaces_state: one.eventId,
        prev_content: { topic: 'one' },
        prev_sender: room.creator,
      });
      expect(find(timeline, message).unsigned).toEqual({ age: expect.any(Number), membership: 'leave' });
    });

    test('has the membership that the user had at the event', async () => {
      const { device, room } = await peekedRoom(kind, (room) => {
        room.message('before');
        room.member(ALICE.userId, 'join');
        room.message('within');
        room.member(ALICE.userId, 'leave');
        room.message('after');
      });
      const timeline = timelineOf((await device.sync()).peek.get(room.roomId)).slice(-5);
      expect(timeline.map(({ unsigned }) => unsigned.membership)).toEqual([
        'leave',
        'join',
        'join',
        'leave',
        'leave',
      ]);
    });

    test('says by which event one was redacted, whose content is pruned', async () => {
      const { device, room, settle } = await peekedRoom(kind);
      await device.sync();
      const message = room.message('gone');
      await settle();
      const redaction = room.redaction(message.eventId);
      room.prune(message.eventId);
      await settle();
      const timeline = timelineOf((await device.sync()).peek.get(room.roomId));
      expect(find(timeline, message)).toMatchObject({
        content: {},
        unsigned: { redacted_by: redaction.eventId, redacted_because: { event_id: redaction.eventId } },
      });
    });
  });

  describe('relations', () => {
    const edit = (room: RoomBuilder, target: string) =>
      room.add({
        type: 'm.room.message',
        content: { body: '* x', 'm.relates_to': { rel_type: 'm.replace', event_id: target } },
      });

    test('are bundled into a limited timeline, and not where the client gets all that relates', async () => {
      const { device, room, settle } = await peekedRoom(kind);
      const first = room.message('first');
      const one = edit(room, first.eventId);
      await settle();
      const limited = timelineOf((await device.sync()).peek.get(room.roomId));
      expect(find(limited, first).unsigned['m.relations']).toMatchObject({
        'm.replace': { event_id: one.eventId, unsigned: { age: expect.any(Number) } },
      });
      const second = room.message('second');
      edit(room, second.eventId);
      await settle();
      const whole = timelineOf((await device.sync()).peek.get(room.roomId));
      expect(find(whole, second).unsigned).not.toHaveProperty('m.relations');
    });

    test('are bundled though the filter keeps them out of the timeline themselves', async () => {
      const { device, room, settle } = await peekedRoom(kind);
      const root = room.message('root');
      const reference = room.add({
        type: 'org.test.ref',
        content: { 'm.relates_to': { rel_type: 'm.reference', event_id: root.eventId } },
      });
      await settle();
      const filter = { room: { timeline: { types: ['m.room.message'] } } };
      const [shown] = timelineOf((await device.sync(filter)).peek.get(room.roomId));
      expect(shown?.unsigned['m.relations']).toEqual({
        'm.reference': { chunk: [{ event_id: reference.eventId }] },
      });
    });
  });

  test('ignored users’ events are left out before the limit counts, their state is kept', async () => {
    const { device, room } = await peekedRoom(kind, (room) => {
      room.message('kept');
      room.message('ignored', TALKER);
      room.member(TALKER, 'join', { displayname: 'New' });
      room.messages(2, 'ignored too');
    });
    const ignored = new IgnoredSenders([TALKER]);
    const filter = { room: { timeline: { limit: 4 } } };
    const section = (await device.sync(filter, { ignored })).peek.get(room.roomId);
    expect(brief(section)?.timeline).toEqual([
      'kept',
      `member ${TALKER}=join`,
      'ignored too 0',
      'ignored too 1',
    ]);
  });

  test.each<[string, Json]>([
    ['missing event = `shared`', null],
    ['malformed value', ['world_readable']],
    ['malformed value', 'World_Readable'],
  ])('%s ⇒ the room closes at that event, nothing later is shown', async (_line, value) => {
    const { device, room, settle } = await peekedRoom(kind);
    await device.sync();
    room.message('seen');
    room.state('m.room.history_visibility', '', value === null ? {} : { history_visibility: value });
    room.message('unseen');
    await settle();
    const { peek, leave } = await device.sync();
    expect(peek.size).toBe(0);
    expect(timelineOf(leave.get(room.roomId)).map(({ type }) => type)).toEqual([
      'm.room.message',
      'm.room.history_visibility',
    ]);
  });
});

describe('a member event that was not world_readable when sent and is not current state ⇒ never shown', () => {
  test('neither as state, nor as what another replaced', async () => {
    const house = await PeekingHouse.open();
    const room = house.resident(new RoomBuilder());
    const hidden = room.member(TALKER, 'join', { displayname: 'Secret' });
    house.homeserver.invisible.add(hidden.eventId);
    room.messages(30);
    await house.peek(room.roomId);
    const device = new TestDevice(house);
    const current = (await device.sync()).peek.get(room.roomId);
    expect(find(stateOf(current), hidden).content).toMatchObject({ displayname: 'Secret' });

    const open = room.member(TALKER, 'join', { displayname: 'Open' });
    room.messages(3);
    await house.settle();
    device.read = null;
    const filter = { room: { timeline: { limit: 4 } } };
    const section = (await device.sync(filter)).peek.get(room.roomId);
    expect(find(timelineOf(section), open).unsigned).toMatchObject({ replaces_state: hidden.eventId });
    expect(JSON.stringify(section)).not.toContain('Secret');
  });
});
