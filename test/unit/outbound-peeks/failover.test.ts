import { describe, expect, test } from 'vitest';
import type { JsonObject } from '../../../src/matrix/json.ts';
import { RemoteRefusal } from '../../../src/remote-servers/remote-servers.ts';
import { ALICE, brief, HOUR, PEER, PeekingHouse, TestDevice } from '../../support/peeking-house.ts';
import { RoomBuilder } from '../../support/room-builder.ts';
import { bodies, down, MINUTE, OTHER, pass, peekedRoom, through } from './living.ts';

const never = () => new Promise<JsonObject>(() => {});
const serversOf = (sent: readonly string[]) => [...new Set(sent.map((one) => one.split(' ')[0]))];

describe('a server that is gone', () => {
  test('is noticed within seven minutes of silence, long before a renewal is due, and the next candidate takes its place', async () => {
    const { house, room } = await peekedRoom([], [PEER, OTHER]);
    house.remoteRoom(room, OTHER);
    down(house, PEER);
    await pass(house, 5 * MINUTE - 1);
    expect(house.remote.sent('POST')).toEqual([]);
    await pass(house, MINUTE);
    expect(await through(house, room)).toEqual([PEER]);
    await pass(house, MINUTE);
    expect(await through(house, room)).toEqual([OTHER]);
    expect(house.outbound.peeksThrough(room.roomId, PEER)).toBe(false);
    expect(house.outbound.peeksThrough(room.roomId, OTHER)).toBe(true);
  });

  test('is noticed sooner when a request to it has failed, a get_missing_events say', async () => {
    const { house, room } = await peekedRoom([], [PEER, OTHER]);
    house.remoteRoom(room, OTHER);
    down(house, PEER);
    house.remote.leftInPeace.add(PEER);
    await pass(house, 2 * MINUTE);
    expect(await through(house, room)).toEqual([OTHER]);
  });

  test('is not left for one failure: a restart takes less than a minute', async () => {
    const { house, room } = await peekedRoom([], [PEER, OTHER]);
    house.remoteRoom(room, OTHER);
    house.remote.refuse(PEER, 'POST', '/renew', 502);
    await pass(house, 5 * MINUTE + 15_000);
    expect(house.remote.sent('POST')).toHaveLength(1);
    house.remoteRoom(room);
    await pass(house, 30 * MINUTE);
    expect(await through(house, room)).toEqual([PEER]);
  });

  test('as long as it sends anything it is not asked', async () => {
    const { house, room } = await peekedRoom();
    for (let i = 0; i < 10; i++) {
      await pass(house, 4 * MINUTE);
      await house.outbound.heard(room.roomId, PEER);
    }
    expect(house.remote.sent('POST')).toEqual([]);
  });

  test('one question a server, however many of its rooms are peeked', async () => {
    const { house, room } = await peekedRoom();
    for (const name of ['a', 'b', 'c']) {
      await house.peek(house.remoteRoom(new RoomBuilder('10', PEER, name)).roomId);
    }
    await pass(house, 6 * MINUTE);
    expect(house.remote.sent('POST')).toHaveLength(1);
    expect(await through(house, room)).toEqual([PEER]);
  });

  test('and answers 502 for long ⇒ left as well', async () => {
    const { house, room } = await peekedRoom([], [PEER, OTHER]);
    house.remoteRoom(room, OTHER);
    for (const method of ['PUT', 'POST']) house.remote.refuse(PEER, method, '/peek/', 502);
    await pass(house, 7 * MINUTE);
    expect(await through(house, room)).toEqual([OTHER]);
  });

  test('and answers nothing at all ⇒ left as well', async () => {
    const { house, room } = await peekedRoom([], [PEER, OTHER]);
    house.remoteRoom(room, OTHER);
    for (const method of ['PUT', 'POST']) house.remote.on(PEER, method, '/peek/', never);
    house.remote.refuse(PEER, 'POST', '/renew', 504);
    await pass(house, 7 * MINUTE);
    expect(await through(house, room)).toEqual([OTHER]);
  });

  test('nobody was named beside it ⇒ the servers of the members are asked, most members first', async () => {
    const members = ['@a:small.test', '@b:large.test', '@c:large.test', '@d:large.test', '@e:small.test'];
    const { house, room } = await peekedRoom(members);
    house.remoteRoom(room, 'small.test');
    down(house, PEER);
    await pass(house, 7 * MINUTE);
    expect(await through(house, room)).toEqual(['small.test']);
    expect(serversOf(house.remote.sent('PUT'))).toEqual([PEER, 'large.test', 'small.test']);
  });
});

describe('the move to another server', () => {
  test('leaves no hole and no double: same log, the same event once, nothing is limited', async () => {
    const { house, room } = await peekedRoom([`@resident:${OTHER}`], [PEER, OTHER]);
    const device = new TestDevice(house);
    await device.sync();
    house.remoteRoom(room, OTHER);
    const seen = room.message('seen before');
    await house.ingest(room, [seen]);
    down(house, PEER);
    const missed = room.messages(3, 'meanwhile');
    await pass(house, 7 * MINUTE);
    const after = room.message('after');
    await house.ingest(room, [...missed, after], OTHER);
    const section = brief((await device.sync()).peek.get(room.roomId) as JsonObject | undefined);
    expect(section).toMatchObject({
      timeline: ['seen before', 'meanwhile 0', 'meanwhile 1', 'meanwhile 2', 'after'],
      limited: false,
    });
    const all = await bodies(house, room);
    expect(new Set(all).size).toBe(all.length);
  });

  test('the room is readable all the while, also when nobody is left to peek through', async () => {
    const { house, room } = await peekedRoom();
    down(house, PEER);
    await pass(house, 2 * HOUR);
    expect(await house.log(room.roomId)).toMatchObject({ closed: null, feed: 'remote' });
    expect(await through(house, room)).toEqual([PEER]);
    const section = brief((await new TestDevice(house).sync()).peek.get(room.roomId) as JsonObject);
    expect(section?.timeline).toContain('before 2');
  });

  test('nobody is left ⇒ tried again ever more seldom, ten minutes at most, and taken up when the server is back', async () => {
    const { house, room } = await peekedRoom();
    down(house, PEER);
    await pass(house, HOUR);
    const tried = house.remote.sent('PUT').length - 1;
    expect(tried).toBeGreaterThanOrEqual(5);
    expect(tried).toBeLessThanOrEqual(12);
    house.remoteRoom(room);
    room.message('while it was away');
    await pass(house, 11 * MINUTE);
    expect(await bodies(house, room)).toContain('while it was away');
    expect(await through(house, room)).toEqual([PEER]);
  });

  test('the server that was left gets its DELETE when it is back, and the peek at the new one goes on', async () => {
    const { house, room } = await peekedRoom([], [PEER, OTHER]);
    const old = await house.outboundPeek(room.roomId);
    house.remoteRoom(room, OTHER);
    down(house, PEER);
    await pass(house, 7 * MINUTE);
    house.remote.leftInPeace.add(PEER);
    const before = house.remote.sent('DELETE').length;
    await pass(house, 10 * MINUTE);
    expect(house.remote.sent('DELETE')).toHaveLength(before);
    house.remoteRoom(room);
    house.remote.leftInPeace.delete(PEER);
    await pass(house, MINUTE);
    expect(house.remote.sent('DELETE').slice(before)).toEqual([
      `${PEER} /_matrix/federation/v1/peek/${room.roomId}/${old?.peekId}`,
    ]);
    expect(await house.store.outboundPeeks.ofRoom(room.roomId)).toMatchObject([
      { server: OTHER, phase: 'live' },
    ]);
  });

  test('back at the first server later: under a new peek ID, with what was said meanwhile', async () => {
    const { house, room } = await peekedRoom([], [PEER, OTHER]);
    const first = await house.outboundPeek(room.roomId);
    house.remoteRoom(room, OTHER);
    down(house, PEER);
    await pass(house, 7 * MINUTE);
    house.remoteRoom(room, PEER);
    down(house, OTHER);
    room.message('to neither');
    await pass(house, 17 * MINUTE);
    expect(await through(house, room)).toEqual([PEER]);
    expect((await house.outboundPeek(room.roomId))?.peekId).not.toBe(first?.peekId);
    expect((await bodies(house, room)).at(-1)).toBe('to neither');
  });

  test('a stranger among the candidates who answers 403 does not close the room', async () => {
    const { house, room } = await peekedRoom(['@a:stranger.test']);
    down(house, PEER);
    house.remote.refuse('stranger.test', 'PUT', '/peek/', 403, 'M_FORBIDDEN');
    await pass(house, HOUR);
    expect(house.remote.sent('PUT').some((sent) => sent.startsWith('stranger.test'))).toBe(true);
    expect(await house.log(room.roomId)).toMatchObject({ closed: null });
    expect(await through(house, room)).toEqual([PEER]);
  });

  test('the server refuses us with 403 while another lets us ⇒ the room goes on through that one', async () => {
    const { house, room } = await peekedRoom([], [PEER, OTHER]);
    house.remoteRoom(room, OTHER);
    for (const method of ['PUT', 'POST']) house.remote.refuse(PEER, method, '/peek/', 403, 'M_FORBIDDEN');
    await pass(house, 46 * MINUTE);
    expect(await through(house, room)).toEqual([OTHER]);
    expect(await house.log(room.roomId)).toMatchObject({ closed: null });
  });

  test('the server’s own state shows the room closed ⇒ it is closed, whoever else still shows it open', async () => {
    const { house, room } = await peekedRoom([], [PEER, OTHER]);
    const open = room.peekAnswer();
    house.remote.on(OTHER, 'PUT', '/peek/', () => open);
    house.remote.on(OTHER, 'DELETE', '/peek/', {});
    room.state('m.room.history_visibility', '', { history_visibility: 'joined' });
    house.remote.refuse(PEER, 'POST', '/renew', 404, 'M_NOT_FOUND');
    await pass(house, 46 * MINUTE);
    expect(await house.store.logs.get(room.roomId)).toMatchObject({ closed: { reason: 'refused' } });
    expect(house.outbound.isPeeked(room.roomId)).toBe(false);
    expect(serversOf(house.remote.sent('DELETE')).toSorted()).toEqual([OTHER, PEER].toSorted());
  });

  test('a lost server is asked last', async () => {
    const { house, room } = await peekedRoom([], [PEER, OTHER]);
    house.remoteRoom(room, OTHER);
    for (const method of ['PUT', 'POST']) house.remote.refuse(PEER, method, '/peek/', 502);
    await pass(house, 7 * MINUTE);
    expect(house.remote.sent('PUT').map((sent) => sent.split(' ')[0])).toEqual([PEER, OTHER]);
  });

  test('a server that lies about the room is not moved to', async () => {
    const { house, room } = await peekedRoom(['@a:liar.test']);
    const forged = new RoomBuilder('10', 'liar.test', 'forged');
    down(house, PEER);
    house.remote.on('liar.test', 'PUT', '/peek/', () => forged.peekAnswer());
    house.remote.on('liar.test', 'DELETE', '/peek/', {});
    await pass(house, 8 * MINUTE);
    expect(await through(house, room)).toEqual([PEER]);
    expect(serversOf(house.remote.sent('DELETE'))).toEqual(['liar.test']);
    expect(await bodies(house, room)).toEqual(['before 0', 'before 1', 'before 2']);
  });

  test('a restart in the middle: the next process goes on where this one stood', async () => {
    const { house, room } = await peekedRoom([], [PEER, OTHER]);
    down(house, PEER);
    await pass(house, 6 * MINUTE);
    const again = await PeekingHouse.on(house.store, house.clock);
    again.remoteRoom(room, OTHER);
    down(again, PEER);
    await pass(again, 8 * MINUTE);
    expect(await through(again, room)).toEqual([OTHER]);
    expect(again.outbound.peeksThrough(room.roomId, OTHER)).toBe(true);
  });
});

describe('a room that needs to catch up again and again', () => {
  test('is asked for as a whole once a minute, not at each sweep', async () => {
    const { house, room } = await peekedRoom();
    for (let i = 0; i < 20; i++) {
      await house.store.logs.setFeed(room.roomId, { needsCatchUp: true });
      await pass(house, 15_000);
    }
    expect(house.remote.sent('PUT')).toHaveLength(1 + 5);
  });

  test('and is dear to its server ⇒ twenty times as seldom as it takes', async () => {
    const { house, room } = await peekedRoom();
    house.remote.on(PEER, 'PUT', '/peek/', async () => {
      await house.clock.sleep(15_000);
      return room.peekAnswer();
    });
    for (let i = 0; i < 40; i++) {
      await house.store.logs.setFeed(room.roomId, { needsCatchUp: true });
      await pass(house, 15_000);
    }
    expect(house.remote.sent('PUT').length - 1).toBeGreaterThanOrEqual(2);
    expect(house.remote.sent('PUT').length - 1).toBeLessThanOrEqual(4);
  });

  test('while it may not be asked for, its peek is renewed all the same', async () => {
    const { house, room } = await peekedRoom();
    const { peekId, renewAt } = (await house.outboundPeek(room.roomId)) as {
      peekId: string;
      renewAt: number;
    };
    await house.store.logs.setFeed(room.roomId, { needsCatchUp: true });
    await house.outbound.sweep(house.clock.now());
    await house.store.outboundPeeks.update(room.roomId, peekId, { heardAt: renewAt });
    await house.store.logs.setFeed(room.roomId, { needsCatchUp: true });
    await house.store.outboundPeeks.update(room.roomId, peekId, { renewAt: house.clock.now() });
    await house.outbound.sweep(house.clock.now() + 1000);
    expect(house.remote.sent('POST')).toHaveLength(1);
  });
});

test('quiet rooms cost a sweep no look at each of them', async () => {
  const { house } = await peekedRoom();
  for (let i = 0; i < 20; i++)
    await house.peek(house.remoteRoom(new RoomBuilder('10', PEER, `r${i}`)).roomId);
  let looks = 0;
  const { outboundPeeks, logs } = house.store;
  const [ofRoom, get] = [outboundPeeks.ofRoom.bind(outboundPeeks), logs.get.bind(logs)];
  outboundPeeks.ofRoom = (roomId) => {
    looks++;
    return ofRoom(roomId);
  };
  logs.get = (roomId) => {
    looks++;
    return get(roomId);
  };
  await house.outbound.sweep(house.clock.now());
  expect(looks).toBe(0);
});

describe('silence', () => {
  test('of a room for as long as a renewal takes ⇒ the whole room is asked for again, and what was lost is there', async () => {
    const { house, room } = await peekedRoom();
    const lost = room.message('lost');
    const topic = room.state('m.room.topic', '', { topic: 'lost too' });
    await pass(house, 44 * MINUTE);
    expect(house.remote.sent('PUT')).toHaveLength(1);
    await pass(house, MINUTE);
    expect(house.remote.sent('PUT')).toHaveLength(2);
    const held = await house.store.logs.positions(room.roomId, [lost.eventId, topic.eventId]);
    expect(held.size).toBe(2);
    const [now] = await house.store.replicas.stateOf(room.roomId, [['m.room.topic', '']]);
    expect(now?.eventId).toBe(topic.eventId);
  });

  test('an interval of a minute ⇒ not more often than every half hour', async () => {
    const { house, room } = await peekedRoom();
    house.remote.on(PEER, 'PUT', '/peek/', () => ({ ...room.peekAnswer(), renewal_interval: 1 }));
    house.remote.on(PEER, 'POST', '/renew', { renewal_interval: 1 });
    await pass(house, 45 * MINUTE);
    expect(house.remote.sent('PUT')).toHaveLength(2);
    await pass(house, 14 * MINUTE);
    expect(house.remote.sent('PUT')).toHaveLength(2);
    expect(house.remote.sent('POST').length).toBeGreaterThan(20);
  });
});

describe('a renewal that is refused', () => {
  test('404 and then 404: the server has left the room ⇒ the next one', async () => {
    const { house, room } = await peekedRoom([], [PEER, OTHER]);
    house.remoteRoom(room, OTHER);
    for (const method of ['PUT', 'POST']) house.remote.refuse(PEER, method, '/peek/', 404, 'M_NOT_FOUND');
    const { renewAt, peekId } = (await house.outboundPeek(room.roomId)) as {
      renewAt: number;
      peekId: string;
    };
    await house.store.outboundPeeks.update(room.roomId, peekId, { heardAt: renewAt });
    await house.outbound.sweep(renewAt);
    expect(await through(house, room)).toEqual([OTHER]);
  });

  test('429 to every PUT, of a server that is asked for many rooms at once, is no reason to leave it', async () => {
    const { house, room } = await peekedRoom([], [PEER, OTHER]);
    house.remoteRoom(room, OTHER);
    house.remote.refuse(PEER, 'PUT', '/peek/', 429, 'M_LIMIT_EXCEEDED');
    await pass(house, 50 * MINUTE);
    expect(house.remote.sent('PUT').length).toBeGreaterThan(2);
    expect(house.outbound.failing).toBe(0);
    expect(await through(house, room)).toEqual([PEER]);
  });

  test('429 ⇒ tried again when it says, ten minutes at most, and nobody else is asked', async () => {
    const { house, room } = await peekedRoom([], [PEER, OTHER]);
    const { renewAt, peekId } = (await house.outboundPeek(room.roomId)) as {
      renewAt: number;
      peekId: string;
    };
    await house.store.outboundPeeks.update(room.roomId, peekId, { heardAt: renewAt });
    const body = { retry_after_ms: 1e12 };
    house.remote.on(PEER, 'POST', '/renew', new RemoteRefusal(PEER, 429, 'M_LIMIT_EXCEEDED', body));
    await house.outbound.sweep(renewAt);
    expect(await house.outboundPeek(room.roomId)).toMatchObject({
      server: PEER,
      renewAt: renewAt + 10 * MINUTE,
    });
    expect(house.remote.sent('PUT')).toHaveLength(1);
  });
});

test('an end that happened while we were down ⇒ the DELETE comes with the first sweep', async () => {
  const { house, room } = await peekedRoom();
  const old = await house.outboundPeek(room.roomId);
  const [device] = await house.store.devicePeeks.ofRoom(room.roomId);
  if (device === undefined) throw new Error('nobody peeks');
  // What a crash leaves: the device's peek has ended, and nobody has let go of the room.
  await house.stop();
  await house.store.devicePeeks.end(device, { at: house.clock.now(), reason: 'unpeek', position: 0 });
  const again = await PeekingHouse.on(house.store, house.clock);
  again.remoteRoom(room);
  await again.sweeps.run();
  await again.settle();
  expect(again.remote.sent('DELETE')).toEqual([
    `${PEER} /_matrix/federation/v1/peek/${room.roomId}/${old?.peekId}`,
  ]);
  expect(await house.store.outboundPeeks.all()).toEqual([]);
});

test('down for a day: the peek is asked for anew, what was said meanwhile is there as far as the answer goes', async () => {
  const { house, room } = await peekedRoom();
  await house.stop();
  house.clock.jump(24 * HOUR);
  room.messages(5, 'while we were down');
  const again = await PeekingHouse.on(house.store, house.clock);
  again.remoteRoom(room);
  again.remote.refuse(PEER, 'POST', '/renew', 404, 'M_NOT_FOUND');
  await again.outbound.sweep(again.clock.now());
  expect(again.remote.sent('PUT')).toHaveLength(1);
  expect(await bodies(again, room)).toEqual([
    'before 0',
    'before 1',
    'before 2',
    ...[0, 1, 2, 3, 4].map((i) => `while we were down ${i}`),
  ]);
});

test('a DELETE that is never taken is sent some fifteen times, then the peek has run out there', async () => {
  const { house, room } = await peekedRoom();
  house.remote.refuse(PEER, 'DELETE', '/peek/', 500, 'M_UNKNOWN');
  await house.peeking.unpeek(ALICE, room.roomId);
  await pass(house, 2 * HOUR);
  expect(await house.store.outboundPeeks.all()).toEqual([]);
  expect(house.remote.sent('DELETE').length).toBeGreaterThan(5);
  expect(house.remote.sent('DELETE').length).toBeLessThan(20);
});

test('the peek of a user of ours ends while everything else is down ⇒ the DELETE comes after the restart', async () => {
  const { house, room } = await peekedRoom();
  down(house, PEER);
  await house.peeking.unpeek(ALICE, room.roomId);
  await house.settle();
  const again = await PeekingHouse.on(house.store, house.clock);
  again.remoteRoom(room);
  await pass(again, MINUTE);
  expect(again.remote.sent('DELETE')).toHaveLength(1);
  expect(await house.store.outboundPeeks.all()).toEqual([]);
});
