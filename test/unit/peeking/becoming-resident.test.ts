import { describe, expect, test, vi } from 'vitest';
import { HomeserverDown, type Identity } from '../../../src/homeserver/homeserver.ts';
import { statePartialMark } from '../../../src/rooms/log-entries.ts';
import { ALICE, brief, EXPIRE_AFTER, PEER, PeekingHouse, TestDevice } from '../../support/peeking-house.ts';
import { type BuiltEvent, RoomBuilder } from '../../support/room-builder.ts';

const CAROL: Identity = { userId: '@carol:here.test', deviceId: 'LAPTOP', isGuest: false };
const JOINER = '@joiner:here.test';

/** Alice peeks into a room of another server, and has its first section. */
async function peeked() {
  const house = await PeekingHouse.open();
  const room = house.remoteRoom(new RoomBuilder());
  room.message('before');
  const alice = new TestDevice(house);
  await house.peek(room.roomId);
  await alice.sync();
  const next = async () => brief((await alice.sync()).peek.get(room.roomId));
  const feed = async () => (await house.log(room.roomId)).feed;
  return { house, room, alice, next, feed };
}

/** … somebody of ours joins it, and the homeserver shows what has happened meanwhile. */
async function joinedMeanwhile(meanwhile: number) {
  const found = await peeked();
  const { house, room } = found;
  room.state('m.room.topic', '', { topic: 'meanwhile' });
  room.messages(meanwhile, 'meanwhile');
  house.resident(room);
  return found;
}

describe('a remotely peeked room that our homeserver has joined', () => {
  test('goes on in the same log, fed by the homeserver, without a gap', async () => {
    const { house, room, alice } = await joinedMeanwhile(3);
    const carol = new TestDevice(house, CAROL);
    await house.peek(room.roomId, CAROL, []);
    expect(await house.log(room.roomId)).toMatchObject({ feed: 'resident', needsCatchUp: false });
    expect(brief((await alice.sync()).peek.get(room.roomId))).toMatchObject({
      limited: false,
      timeline: ['topic=meanwhile', ...[0, 1, 2].map((n) => `meanwhile ${n}`)],
    });
    await carol.sync();
    room.state('m.room.topic', '', { topic: 'after' });
    await house.settle();
    for (const device of [alice, carol]) {
      expect(brief((await device.sync()).peek.get(room.roomId))?.timeline).toEqual(['topic=after']);
    }
    expect(brief((await carol.sync(null, { fullState: true })).peek.get(room.roomId))?.state).toContain(
      'topic=after',
    );
  });

  test('is let go at the other server; what that one still sends is not taken twice', async () => {
    const { house, room } = await joinedMeanwhile(1);
    house.becomingResident.suspect(room.roomId);
    await house.settle();
    const event = room.message('sent by both');
    await house.ingest(room, [event]);
    await house.settle();
    expect(house.remote.sent('DELETE')).toHaveLength(1);
    expect(await house.store.outboundPeeks.all()).toEqual([]);
    const { head } = await house.log(room.roomId);
    const newest = await house.store.logs.readLast(room.roomId, head, 2);
    expect(newest.filter(({ eventId }) => eventId === event.eventId)).toHaveLength(1);
    for (let i = 0; i < 2; i++) {
      await house.settle(2 * EXPIRE_AFTER);
      await house.sweeps.run();
    }
    expect(await house.store.size()).toBe(0);
  });

  test('what the peeked server sent and the homeserver shows too comes once, in the order of both', async () => {
    const { house, room, next } = await peeked();
    const relayed = room.messages(2, 'relayed');
    await house.ingest(room, relayed);
    room.member(JOINER, 'join');
    room.message('by the homeserver alone');
    house.resident(room);
    house.becomingResident.suspect(room.roomId);
    await house.settle();
    expect(await next()).toMatchObject({
      limited: false,
      timeline: ['relayed 0', 'relayed 1', `member ${JOINER}=join`, 'by the homeserver alone'],
    });
  });

  test('an event on a branch that the peeked server never sent comes too', async () => {
    const { house, room, next } = await peeked();
    const forked = room.latest;
    const other = room.add({ type: 'm.room.message', content: { body: 'branch' }, prev: [forked.eventId] });
    const depth = Number(other.pdu.depth);
    const relayed = room.add({
      type: 'm.room.message',
      content: { body: 'relayed' },
      prev: [forked.eventId],
      depth: depth + 1,
    });
    await house.ingest(room, [relayed]);
    house.resident(room);
    house.becomingResident.suspect(room.roomId);
    await house.settle();
    expect(await next()).toMatchObject({ limited: false, timeline: ['relayed', 'branch'] });
  });

  test('a redaction that the homeserver alone has seen prunes what was relayed', async () => {
    const { house, room } = await peeked();
    const regretted = room.message('regretted');
    await house.ingest(room, [regretted]);
    const pruned = { ...regretted.pdu, content: {} };
    house.homeserver.event = async (id) => (id === regretted.eventId ? pruned : null);
    room.redaction(regretted.eventId);
    house.resident(room);
    house.becomingResident.suspect(room.roomId);
    await house.settle();
    const log = await house.log(room.roomId);
    const [entry] = await house.store.logs.readLast(room.roomId, log.head - 1, 1);
    expect(JSON.parse(entry?.json ?? '')).toEqual(pruned);
  });

  test('more than the newest fifty events have come meanwhile: still no gap', async () => {
    const { house, room, alice } = await joinedMeanwhile(120);
    house.becomingResident.suspect(room.roomId);
    await house.settle();
    const section = (await alice.sync({ room: { timeline: { limit: 500 } } })).peek.get(room.roomId);
    expect(brief(section)).toMatchObject({ limited: false });
    expect(brief(section)?.timeline).toHaveLength(121);
  });
});

test('a renewal that is under way when the homeserver takes the room over does not take it back', async () => {
  const { house, room, next, feed } = await joinedMeanwhile(1);
  const { promise, resolve } = Promise.withResolvers<void>();
  house.remote.on(PEER, 'PUT', '/peek/', async () => {
    await promise;
    return room.peekAnswer();
  });
  const [peek] = await house.store.outboundPeeks.all();
  const renewal = house.outbound.expired(PEER, [{ roomId: room.roomId, peekId: peek?.peekId ?? '' }]);
  await house.settle();
  house.becomingResident.suspect(room.roomId);
  await house.settle();
  expect(await feed()).toBe('remote');
  resolve();
  await renewal;
  await vi.waitFor(async () => {
    await house.settle();
    expect(await feed()).toBe('resident');
  });
  room.message('after');
  await house.settle();
  expect(await next()).toMatchObject({
    limited: false,
    timeline: ['topic=meanwhile', 'meanwhile 0', 'after'],
  });
  expect([house.outbound.isPeeked(room.roomId), house.remote.sent('DELETE').length]).toEqual([false, 1]);
});

describe('until the homeserver and the log have an event in common', () => {
  /** The homeserver shows only what came after its join, none of which the peeked server has relayed. */
  async function withoutCommon() {
    const found = await peeked();
    const { house, room } = found;
    const before = room.events.length;
    room.member(JOINER, 'join');
    room.message('after the join');
    for (const { eventId } of room.events.slice(0, before)) house.homeserver.invisible.add(eventId);
    house.resident(room);
    house.becomingResident.suspect(room.roomId);
    await house.settle();
    return found;
  }

  test('the peeked server goes on feeding the room, and its peek is kept', async () => {
    const { house, room, next, feed } = await withoutCommon();
    expect(await feed()).toBe('remote');
    expect(house.remote.sent('DELETE')).toEqual([]);
    const [join, text] = room.events.slice(-2) as [BuiltEvent, BuiltEvent];
    await house.ingest(room, [join, text]);
    await house.settle(5_000);
    expect(await feed()).toBe('resident');
    expect(house.remote.sent('DELETE')).toHaveLength(1);
    expect(await next()).toMatchObject({
      limited: false,
      timeline: [`member ${JOINER}=join`, 'after the join'],
    });
  });

  test('for two minutes; then the log goes on with a gap', async () => {
    const { house, next, feed } = await withoutCommon();
    await house.settle(110_000);
    expect(await feed()).toBe('remote');
    await house.settle(120_000);
    expect(await feed()).toBe('resident');
    expect(await next()).toMatchObject({ limited: true });
  });

  test('another device’s peek is served from what the peeked server feeds', async () => {
    const { house, room, feed } = await withoutCommon();
    await house.peek(room.roomId, CAROL, []);
    expect(await feed()).toBe('remote');
    const section = brief((await new TestDevice(house, CAROL).sync()).peek.get(room.roomId));
    expect(section?.timeline).toContain('before');
  });

  test('a server that wants to peek into the room is given the homeserver’s, with a gap for others', async () => {
    const { house, room, feed } = await withoutCommon();
    await house.readers.openForServer(room.roomId);
    expect(await feed()).toBe('resident');
    // Nothing that is due takes the room back to the server that was peeked through.
    expect(house.outbound.isPeeked(room.roomId)).toBe(false);
    await house.settle(3_600_000);
    await house.sweeps.run();
    expect([await feed(), house.remote.sent('DELETE').length]).toEqual(['resident', 1]);
  });
});

test('a room whose state was read only in part before the join: its readers are told the state anew', async () => {
  const { house, room, alice, feed } = await joinedMeanwhile(1);
  await house.store.logs.append(room.roomId, { entries: [statePartialMark(house.clock.now())] });
  house.becomingResident.suspect(room.roomId);
  await house.settle();
  expect(await feed()).toBe('resident');
  const section = brief((await alice.sync()).peek.get(room.roomId));
  expect(section?.timeline).toEqual(['topic=meanwhile', 'meanwhile 0']);
  expect(section?.state).toContain('create=');
});

test('a join with partial state: the room stays remote until the homeserver has all of it', async () => {
  const { house, room, next, feed } = await peeked();
  const held = house.homeserver.add(room);
  Object.assign(held, { membership: 'partial', open: false });
  house.becomingResident.suspect(room.roomId);
  await house.settle();
  await house.ingest(room, [room.message('meanwhile')]);
  expect(await next()).toMatchObject({ limited: false, timeline: ['meanwhile'] });
  await house.peek(room.roomId, CAROL, []);
  await house.settle(3_600_000);
  expect([await feed(), house.remote.sent('DELETE')]).toEqual(['remote', []]);
  Object.assign(held, { membership: 'resident', open: true });
  room.message('complete');
  await house.settle(60_000);
  expect(await feed()).toBe('resident');
  expect(await next()).toMatchObject({ limited: false, timeline: ['complete'] });
  expect(house.remote.sent('DELETE')).toHaveLength(1);
});

describe('the join is learned of', () => {
  test('from the /sync that has the room in join: that user’s peeks end, the other devices’ go on', async () => {
    const { house, room, next, feed } = await peeked();
    const carol = new TestDevice(house, CAROL);
    await house.peek(room.roomId, CAROL, [PEER]);
    await carol.sync();
    room.member(CAROL.userId, 'join');
    house.resident(room);
    const sections = await carol.lostSync();
    const rooms = { nextBatch: 's1', join: new Set([room.roomId]), invite: new Set<string>() };
    const none = new Set<string>();
    const own = await house.joins.yieldTo(
      { ...rooms, knock: none, leave: none, stateName: null },
      sections,
      carol.read,
      CAROL,
    );
    expect([own.peek.size, own.leave.size]).toEqual([0, 0]);
    await house.settle();
    expect(await feed()).toBe('resident');
    expect(await next()).toMatchObject({ limited: false, timeline: [`member ${CAROL.userId}=join`] });
    expect(await house.store.devicePeeks.ofRoom(room.roomId)).toMatchObject([{ userId: ALICE.userId }]);
  });

  test('from a transaction for which the homeserver turns out to be in the room', async () => {
    const { house, room, feed } = await joinedMeanwhile(1);
    expect(await house.residency.isAbsent(room.roomId)).toBe(false);
    await house.settle();
    expect(await feed()).toBe('resident');
  });

  test('by asking, when it came past us: a room is asked about once in five minutes', async () => {
    const { house } = await peeked();
    const asked = () => house.homeserver.calls.filter((call) => call === 'membership').length;
    await house.sweeps.run();
    const before = asked();
    for (let i = 0; i < 80; i++) {
      await house.settle(15_000);
      await house.sweeps.run();
    }
    expect(asked() - before).toBe(4);
  });

  test('by asking, and then the homeserver feeds the room', async () => {
    const { house, room, feed } = await peeked();
    await house.sweeps.run();
    room.member(JOINER, 'join');
    house.resident(room);
    await house.settle(5 * 60_000);
    await house.sweeps.run();
    await house.settle();
    expect(await feed()).toBe('resident');
  });
});

test('a homeserver that is down meanwhile is asked again', async () => {
  const { house, room, feed } = await joinedMeanwhile(1);
  house.homeserver.failure = new HomeserverDown('502');
  house.becomingResident.suspect(room.roomId);
  await house.settle(20_000);
  expect(await feed()).toBe('remote');
  house.homeserver.failure = null;
  await house.settle(60_000);
  expect(await feed()).toBe('resident');
});

test('a room that nobody peeks any more is not taken over', async () => {
  const { house, room } = await joinedMeanwhile(1);
  await house.peeking.unpeek(ALICE, room.roomId);
  house.becomingResident.suspect(room.roomId);
  await house.settle();
  expect(await house.log(room.roomId)).toMatchObject({ feed: 'remote' });
  expect(house.residentFeeds.isRunning(room.roomId)).toBe(false);
});
