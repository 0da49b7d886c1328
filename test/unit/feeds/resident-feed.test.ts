import { describe, expect, test } from 'vitest';
import { HomeserverDown } from '../../../src/homeserver/homeserver.ts';
import type { JsonObject } from '../../../src/matrix/json.ts';
import { pduOf } from '../../../src/rooms/log-entries.ts';
import { StoreDownError } from '../../../src/store/store.ts';
import { PeekingHouse } from '../../support/peeking-house.ts';
import { RoomBuilder } from '../../support/room-builder.ts';

async function followed(messages = 0) {
  const house = await PeekingHouse.open();
  const room = house.resident(new RoomBuilder());
  room.messages(messages, 'old');
  await house.peek(room.roomId);
  const { head } = await house.log(room.roomId);
  const entries = () => house.store.logs.read(room.roomId, head, 1000);
  const bodies = async () => (await entries()).map((entry) => (pduOf(entry).content as JsonObject).body);
  return { house, room, entries, bodies };
}

test('a log begins with the newest 50 events, and goes on with all that comes, in order, once', async () => {
  const { house, room, bodies } = await followed(60);
  const { head, tail, feedToken } = await house.log(room.roomId);
  expect([head - tail + 1, feedToken]).toEqual([50, `s${room.events.length}`]);
  room.message('one');
  await house.settle();
  room.message('two');
  room.message('three');
  await house.settle();
  expect(await bodies()).toEqual(['one', 'two', 'three']);
  expect((await house.log(room.roomId)).feedToken).toBe(`s${room.events.length}`);
});

test('several who peek at once open one log and one feed', async () => {
  const house = await PeekingHouse.open();
  const room = house.resident(new RoomBuilder());
  const logs = await Promise.all([1, 2, 3].map(() => house.residentFeeds.open(room.roomId)));
  expect(new Set(logs.map(({ head }) => head)).size).toBe(1);
  expect(house.residentFeeds.status().running).toBe(1);
});

describe('an ancestor that the homeserver does not show in its stream', () => {
  const OURS = '@one:here.test';

  test('that an event of ours names is accepted: redacted, hidden from devices, in the graph’s order', async () => {
    const { house, room, entries, bodies } = await followed();
    const secret = room.message('written while the room was shared');
    const dummy = room.add({ type: 'org.matrix.dummy_event', content: {}, sender: OURS });
    for (const { eventId } of [secret, dummy]) house.homeserver.invisible.add(eventId);
    const shown = room.message('after', OURS);
    await house.settle();
    expect((await entries()).map(({ eventId, shown }) => [eventId, shown])).toEqual([
      [secret.eventId, false],
      [dummy.eventId, false],
      [shown.eventId, true],
    ]);
    expect(await bodies()).toEqual([undefined, undefined, 'after']);
    room.redaction(secret.eventId, '@nobody:else.test');
    await house.settle();
    expect(await bodies()).toEqual([undefined, undefined, 'after', undefined]);
  });

  test('that only other servers name may be soft-failed or rejected: it never enters the log', async () => {
    const { house, room, entries } = await followed();
    const [rejected, other] = [room.message('rejected'), room.message('soft-failed')];
    for (const { eventId } of [rejected, other]) house.homeserver.invisible.add(eventId);
    const accepted = room.message('accepted');
    const later = room.message('after', OURS);
    await house.settle();
    expect((await entries()).map(({ eventId }) => eventId)).toEqual([accepted.eventId, later.eventId]);
  });

  test('that a non-member is shown all the same is taken whole, and shown', async () => {
    const { house, room, entries, bodies } = await followed();
    const late = room.make({ type: 'm.room.message', content: { body: 'late' } });
    const { event } = house.homeserver;
    house.homeserver.event = async (id) =>
      id === late.eventId ? late.pdu : event.call(house.homeserver, id);
    const { visibleEvent } = house.homeserver;
    house.homeserver.visibleEvent = async (roomId, id) =>
      id === late.eventId ? {} : visibleEvent.call(house.homeserver, roomId, id);
    room.add({ type: 'm.room.message', content: { body: 'after' }, prev: [late.eventId] });
    await house.settle();
    expect(await bodies()).toEqual(['late', 'after']);
    expect((await entries()).map(({ shown }) => shown)).toEqual([true, true]);
  });

  test('and that arrives in the same answer as who names it is taken once, in the stream’s order', async () => {
    const { house, room, bodies } = await followed();
    const late = room.make({ type: 'm.room.message', content: { body: 'arrives later' }, depth: 30 });
    const first = room.add({ type: 'm.room.message', content: { body: 'first' }, prev: [late.eventId] });
    room.events.push(late);
    await house.settle();
    expect(first.pdu.prev_events).toEqual([late.eventId]);
    expect(await bodies()).toEqual(['first', 'arrives later']);
  });

  test('in a chain of many is looked for twenty times, no more', async () => {
    const { house, room } = await followed();
    for (const { eventId } of room.messages(40, 'hidden')) house.homeserver.invisible.add(eventId);
    const before = house.homeserver.calls.length;
    room.message('after');
    await house.settle();
    const calls = house.homeserver.calls.slice(before);
    expect(calls.filter((call) => call === 'event')).toHaveLength(20);
  });
});

test('whether an unknown ancestor is visible cannot be asked: nothing is stored, and it is tried again', async () => {
  const { house, room, bodies } = await followed();
  const secret = room.message('secret');
  house.homeserver.invisible.add(secret.eventId);
  house.homeserver.visibleEvent = () => Promise.reject(new HomeserverDown('502'));
  room.message('after');
  await house.settle();
  expect(await bodies()).toEqual([]);
});

test('ancestors from before the log began are not fetched into it', async () => {
  const { house, room, entries } = await followed(60);
  const old = room.events[3]?.eventId ?? '';
  room.add({ type: 'm.room.message', content: { body: 'merge' }, prev: [room.latest.eventId, old] });
  await house.settle();
  expect(await entries()).toHaveLength(1);
});

test('a redaction prunes the event in the log, by the homeserver’s word', async () => {
  const { house, room, bodies } = await followed();
  const target = room.message('regretted');
  await house.settle();
  const pruned = { ...target.pdu, content: {} };
  house.homeserver.event = async (eventId) => (eventId === target.eventId ? pruned : null);
  room.redaction(target.eventId);
  await house.settle();
  expect(await bodies()).toEqual([undefined, undefined]);
});

test('a redaction whose pruned event cannot be had is not stored, and tried again', async () => {
  const { house, room, bodies } = await followed();
  const target = room.message('regretted');
  await house.settle();
  const { feedToken } = await house.log(room.roomId);
  house.homeserver.event = () => Promise.reject(new HomeserverDown('502'));
  room.redaction(target.eventId);
  await house.settle();
  expect(await bodies()).toEqual(['regretted']);
  expect((await house.log(room.roomId)).feedToken).toBe(feedToken);
  house.homeserver.event = async () => ({ ...target.pdu, content: {} });
  await house.settle(60_000);
  expect(await bodies()).toEqual([undefined, undefined]);
});

describe('the end', () => {
  test.each([
    ['m.room.history_visibility', { history_visibility: 'shared' }, 'visibility'],
    ['m.room.history_visibility', {}, 'visibility'],
    ['m.room.encryption', { algorithm: 'm.megolm' }, 'encryption'],
  ])('%s %j closes the log at that event', async (type, content, reason) => {
    const { house, room, bodies } = await followed();
    room.message('seen');
    room.state(type, '', content);
    room.message('unseen');
    await house.settle();
    const log = await house.log(room.roomId).catch(() => null);
    expect(log?.closed ?? { reason }).toMatchObject({ reason });
    expect(await bodies().catch(() => [])).not.toContain('unseen');
    expect(await house.store.devicePeeks.all()).toMatchObject([{ ended: { reason: 'closed' } }]);
    expect(house.residentFeeds.isRunning(room.roomId)).toBe(false);
  });

  test('a room that was closed before the feed saw it: what is visible up to the closing event is still had', async () => {
    const { house, room, bodies } = await followed();
    await house.residentFeeds.stop(room.roomId);
    room.messages(120, 'last');
    room.state('m.room.history_visibility', '', { history_visibility: 'joined' });
    room.message('unseen');
    house.homeserver.close(room.roomId);
    house.residentFeeds.follow(room.roomId);
    await house.settle();
    const told = await bodies();
    expect(told).toHaveLength(121);
    expect(told[119]).toBe('last 119');
    expect((await house.log(room.roomId)).closed).toMatchObject({ reason: 'visibility' });
  });

  test('… also where the newest event of the log has gone since, or is hidden from clients', async () => {
    const { house, room, bodies } = await followed();
    room.message('old');
    const dummies = Array.from({ length: 30 }, () =>
      room.add({ type: 'org.matrix.dummy_event', content: {}, sender: '@one:here.test' }),
    );
    for (const { eventId } of dummies) house.homeserver.invisible.add(eventId);
    const gone = room.message('gone by retention', '@one:here.test');
    await house.settle();
    await house.residentFeeds.stop(room.roomId);
    house.homeserver.invisible.add(gone.eventId);
    room.message('last');
    room.state('m.room.history_visibility', '', { history_visibility: 'joined' });
    house.homeserver.close(room.roomId);
    house.residentFeeds.follow(room.roomId);
    await house.settle();
    expect((await bodies()).slice(-2)).toEqual(['last', undefined]);
  });

  test('a room that was closed and of which nothing is shown any more: its log closes where it stands', async () => {
    const { house, room } = await followed();
    room.message('seen');
    await house.settle();
    const { head } = await house.log(room.roomId);
    await house.residentFeeds.stop(room.roomId);
    for (const { eventId } of room.events) house.homeserver.invisible.add(eventId);
    house.homeserver.close(room.roomId);
    house.residentFeeds.follow(room.roomId);
    await house.settle();
    expect((await house.log(room.roomId)).closed).toMatchObject({ at: head, reason: 'visibility' });
    expect(house.residentFeeds.status().troubled).toEqual([]);
  });

  test('a room that was closed and opened again while the feed was away ends at its closing event', async () => {
    const { house, room, bodies } = await followed();
    await house.residentFeeds.stop(room.roomId);
    room.message('before');
    room.state('m.room.history_visibility', '', { history_visibility: 'joined' });
    const secret = room.message('in between');
    house.homeserver.invisible.add(secret.eventId);
    room.state('m.room.history_visibility', '', { history_visibility: 'world_readable' });
    room.message('again');
    house.residentFeeds.follow(room.roomId);
    await house.settle();
    expect(await bodies()).toEqual(['before', undefined]);
    expect((await house.log(room.roomId)).closed).toMatchObject({ reason: 'visibility' });
  });

  test('a room upgrade ends nothing: the tombstone is an event like any other', async () => {
    const { house, room, entries, bodies } = await followed();
    room.state('m.room.tombstone', '', { body: 'moved', replacement_room: '!new:here.test' });
    room.message('said in the old room');
    await house.settle();
    expect((await entries()).map(({ type, shown }) => [type, shown])).toEqual([
      ['m.room.tombstone', true],
      ['m.room.message', true],
    ]);
    expect(await bodies()).toEqual(['moved', 'said in the old room']);
    expect((await house.log(room.roomId)).closed).toBeNull();
  });

  test('a state event like those, but with a state_key, closes nothing', async () => {
    const { house, room } = await followed();
    room.state('m.room.encryption', 'other', {});
    room.state('m.room.history_visibility', 'other', { history_visibility: 'shared' });
    await house.settle();
    expect((await house.log(room.roomId)).closed).toBeNull();
  });
});

test('an hour’s outage with 10 000 events: each of them once, in the homeserver’s order, whatever fails meanwhile', async () => {
  const { house, room } = await followed();
  await house.residentFeeds.stop(room.roomId);
  const { head, feedToken } = await house.log(room.roomId);
  const { pdu, eventId } = room.message('missed');
  const missed = Array.from({ length: 10_000 }, (_, i) => ({
    eventId: i === 0 ? eventId : `$missed${i}`,
    pdu: i === 0 ? pdu : { ...pdu, prev_events: [i === 1 ? eventId : `$missed${i - 1}`] },
    replaces: null,
  }));
  const begin = Number(feedToken?.slice(1));
  // As the homeserver gives them: a thousand in an answer. It goes away, and so does the store, in between.
  const { append } = house.store.logs;
  let answers = 0;
  let appends = 0;
  house.homeserver.follow = async (_roomId, from, { signal }) => {
    const after = Number(from?.slice(1)) - begin;
    if (++answers % 4 === 0) throw new HomeserverDown('502');
    const events = missed.slice(after, after + 1000);
    if (events.length === 0) await new Promise((_, reject) => signal.addEventListener('abort', reject));
    return { events, end: `s${begin + after + events.length}` };
  };
  house.store.logs.append = async (roomId, what) => {
    if (++appends % 3 === 0) throw new StoreDownError('down');
    const appended = await append.call(house.store.logs, roomId, what);
    // Stored, and the process never hears of it: what was read is read again.
    if (appends % 5 === 0) throw new StoreDownError('down');
    return appended;
  };
  house.residentFeeds.follow(room.roomId);
  for (let i = 0; i < 30; i++) await house.settle(30_000);
  const entries = await house.store.logs.read(room.roomId, head, 20_000);
  expect(entries.map(({ eventId }) => eventId)).toEqual(missed.map(({ eventId }) => eventId));
  expect((await house.log(room.roomId)).feedToken).toBe(`s${begin + missed.length}`);
});

describe('trouble', () => {
  test('of the homeserver: the feed pauses, and goes on from its token', async () => {
    const { house, room, bodies } = await followed();
    house.homeserver.failure = new HomeserverDown('502');
    room.message('meanwhile');
    await house.settle();
    await house.settle(60_000);
    expect(await bodies()).toEqual([]);
    house.homeserver.failure = null;
    await house.settle(60_000);
    expect(await bodies()).toEqual(['meanwhile']);
    expect(house.residentFeeds.status().troubled).toEqual([]);
  });

  test('of the store: nothing is lost, nothing comes twice', async () => {
    const { house, room, bodies } = await followed();
    const { append } = house.store.logs;
    house.store.logs.append = () => Promise.reject(new StoreDownError('down'));
    room.message('meanwhile');
    await house.settle();
    house.store.logs.append = append.bind(house.store.logs);
    await house.settle(60_000);
    expect(await bodies()).toEqual(['meanwhile']);
  });

  test('another process follows the room: this one waits, and takes over when that one is gone', async () => {
    const { house, room, bodies } = await followed();
    await house.residentFeeds.stop(room.roomId);
    await house.store.leases.acquire(`feed:${room.roomId}`, 'another process', 40_000);
    house.residentFeeds.follow(room.roomId);
    room.message('theirs to write');
    await house.settle(30_000);
    expect(await bodies()).toEqual([]);
    await house.settle(15_000);
    expect(await bodies()).toEqual(['theirs to write']);
  });
});
