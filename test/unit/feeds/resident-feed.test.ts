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

test('events that the homeserver hides from clients are fetched as prev_events, kept hidden, in the graph’s order', async () => {
  const { house, room, entries } = await followed();
  const hidden = [1, 2].map(() => room.add({ type: 'org.matrix.dummy_event', content: {} }));
  for (const { eventId } of hidden) house.homeserver.invisible.add(eventId);
  const shown = room.message('after');
  await house.settle();
  expect((await entries()).map(({ eventId, shown }) => [eventId, shown])).toEqual([
    ...hidden.map(({ eventId }) => [eventId, false]),
    [shown.eventId, true],
  ]);
});

test('an unknown ancestor that a non-member may not see enters the log redacted, and stays so', async () => {
  const { house, room, entries, bodies } = await followed();
  const secret = room.message('written while the room was shared');
  house.homeserver.invisible.add(secret.eventId);
  room.message('after');
  await house.settle();
  expect((await entries())[0]).toMatchObject({ eventId: secret.eventId, shown: false });
  expect(await bodies()).toEqual([undefined, 'after']);
  room.redaction(secret.eventId, '@nobody:else.test');
  await house.settle();
  expect(await bodies()).toEqual([undefined, 'after', undefined]);
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

  test('a state event like those, but with a state_key, closes nothing', async () => {
    const { house, room } = await followed();
    room.state('m.room.encryption', 'other', {});
    room.state('m.room.history_visibility', 'other', { history_visibility: 'shared' });
    await house.settle();
    expect((await house.log(room.roomId)).closed).toBeNull();
  });
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
