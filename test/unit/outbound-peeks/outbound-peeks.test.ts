import { describe, expect, test } from 'vitest';
import type { MatrixError } from '../../../src/platform/matrix-error.ts';
import { RemoteRefusal, RemoteUnreachable } from '../../../src/remote-servers/remote-servers.ts';
import { StoreDownError } from '../../../src/store/store.ts';
import { ALICE, HOUR, PEER, PeekingHouse } from '../../support/peeking-house.ts';
import { RoomBuilder } from '../../support/room-builder.ts';

const MINUTE = 60_000;

async function refusal(work: Promise<unknown>): Promise<MatrixError> {
  return work.then(
    () => {
      throw new Error('it was accepted');
    },
    (error: MatrixError) => error,
  );
}

async function live() {
  const house = await PeekingHouse.open();
  const room = house.remoteRoom(new RoomBuilder());
  await house.peek(room.roomId);
  const peek = await house.outboundPeek(room.roomId);
  if (peek === null) throw new Error('not peeked');
  return { house, room, peek };
}

/** A peek through whom events come all the time. */
async function busy() {
  const { house, room, peek } = await live();
  await house.store.outboundPeeks.update(room.roomId, peek.peekId, { heardAt: peek.renewAt });
  return { house, room, peek };
}

describe('candidates', () => {
  test('are tried in their order, ourselves left out, no repeats; the first that lets us is peeked through', async () => {
    const house = await PeekingHouse.open();
    const room = house.remoteRoom(new RoomBuilder(), 'third.test');
    await house.outbound.subscribe(room.roomId, [
      'first.test',
      'here.test',
      'first.test',
      'second.test',
      'third.test',
      'fourth.test',
    ]);
    expect(house.remote.sent('PUT').map((sent) => sent.split(' ')[0])).toEqual([
      'first.test',
      'second.test',
      'third.test',
    ]);
    const peek = await house.outboundPeek(room.roomId);
    expect(peek).toMatchObject({ server: 'third.test', phase: 'live' });
    expect(peek?.peekId).toMatch(/^[0-9A-Za-z]{8}$/);
    expect(house.outbound.peeksThrough(room.roomId, 'third.test')).toBe(true);
    expect(house.outbound.peeksThrough(room.roomId, 'first.test')).toBe(false);
  });

  test('many ⇒ ten are tried', async () => {
    const house = await PeekingHouse.open();
    const servers = Array.from({ length: 30 }, (_, i) => `s${i}.test`);
    await refusal(house.outbound.subscribe('!room:s0.test', servers));
    expect(house.remote.calls).toHaveLength(10);
  });

  test('callers at the same time share one attempt', async () => {
    const house = await PeekingHouse.open();
    const room = house.remoteRoom(new RoomBuilder());
    const logs = await Promise.all([1, 2, 3].map(() => house.outbound.subscribe(room.roomId, [PEER])));
    expect(new Set(logs.map(({ roomId }) => roomId)).size).toBe(1);
    expect(house.remote.sent('PUT')).toHaveLength(1);
  });

  test('a v12 room ID has no domain: without a candidate ⇒ 404', async () => {
    const house = await PeekingHouse.open();
    const room = new RoomBuilder('12');
    expect(await refusal(house.peeking.peek(ALICE, room.roomId, []))).toMatchObject({ status: 404 });
    house.remoteRoom(room);
    await house.peek(room.roomId);
    expect(await house.log(room.roomId)).toMatchObject({ roomVersion: '12', feed: 'remote' });
  });

  test('a store that is down is said as such, not blamed on the servers', async () => {
    const house = await PeekingHouse.open();
    const room = house.remoteRoom(new RoomBuilder());
    await house.store.close();
    expect(await refusal(house.outbound.subscribe(room.roomId, [PEER]))).toBeInstanceOf(StoreDownError);
  });
});

describe('precedence of refusals', () => {
  const down = new RemoteUnreachable('down');
  const refused = (status: number, errcode: string | null) => new RemoteRefusal('s', status, errcode, {});
  test.each<[string, Error[], number]>([
    ['any 403', [down, refused(404, 'M_NOT_FOUND'), refused(403, 'M_FORBIDDEN')], 403],
    ['else any M_NOT_FOUND', [down, refused(404, 'M_NOT_FOUND'), refused(404, 'M_UNRECOGNIZED')], 404],
    ['M_UNRECOGNIZED means "cannot peek"', [refused(404, 'M_UNRECOGNIZED')], 502],
    ['404 without errcode means "cannot peek"', [refused(404, null)], 502],
    ['405 means "cannot peek"', [refused(405, null)], 502],
    ['nobody there', [down, down], 502],
    ['500', [refused(500, 'M_UNKNOWN')], 502],
  ])('%s', async (_, errors, status) => {
    const house = await PeekingHouse.open();
    const servers = errors.map((_, i) => `s${i}.test`);
    servers.forEach((server, i) => {
      house.remote.on(server, 'PUT', '/peek/', errors[i] as Error);
    });
    const error = await refusal(house.outbound.subscribe('!room:s0.test', servers));
    expect(error.status).toBe(status);
    if (status === 502) for (const server of servers) expect(error.message).toContain(server);
    expect(await house.store.size()).toBe(0);
  });

  test('a room whose state says that it is not open ⇒ 403, whatever the server said, and DELETE', async () => {
    const house = await PeekingHouse.open();
    const room = house.remoteRoom(new RoomBuilder());
    room.state('m.room.encryption', '', { algorithm: 'm.megolm' });
    const error = await refusal(house.peeking.peek(ALICE, room.roomId, [PEER]));
    expect(error).toMatchObject({ status: 403, errcode: 'M_FORBIDDEN' });
    await house.settle();
    expect(house.remote.sent('DELETE')).toHaveLength(1);
    expect(await house.store.size()).toBe(0);
  });

  test('an answer that cannot be used ⇒ DELETE, and the next candidate', async () => {
    const house = await PeekingHouse.open();
    const room = house.remoteRoom(new RoomBuilder(), 'good.test');
    house.remote.on('bad.test', 'PUT', '/peek/', { room_version: '10', state: [] });
    house.remote.on('bad.test', 'DELETE', '/peek/', {});
    await house.outbound.subscribe(room.roomId, ['bad.test', 'good.test']);
    expect(house.remote.sent('DELETE').map((sent) => sent.split(' ')[0])).toEqual(['bad.test']);
    expect(await house.outboundPeek(room.roomId)).toMatchObject({ server: 'good.test' });
  });
});

describe('the last device is gone', () => {
  test('⇒ DELETE of this very peek, and nothing is left', async () => {
    const { house, room, peek } = await live();
    await house.peeking.unpeek(ALICE, room.roomId);
    await house.settle();
    expect(house.remote.sent('DELETE')).toEqual([
      `${PEER} /_matrix/federation/v1/peek/${room.roomId}/${peek.peekId}`,
    ]);
    expect(await house.store.outboundPeeks.all()).toEqual([]);
    expect(house.outbound.anyThrough(PEER)).toBe(false);
  });

  test('⇒ a DELETE that failed is sent again by the sweep', async () => {
    const { house, room } = await live();
    house.remote.on(PEER, 'DELETE', '/peek/', new RemoteUnreachable('down'));
    await house.peeking.unpeek(ALICE, room.roomId);
    expect(await house.outboundPeek(room.roomId)).toMatchObject({ phase: 'ending' });
    house.remote.on(PEER, 'DELETE', '/peek/', {});
    await house.outbound.sweep(house.clock.now());
    expect(await house.store.outboundPeeks.all()).toEqual([]);
  });

  test('⇒ a DELETE that never succeeds is forgotten when the peek has ended for want of renewal', async () => {
    const { house, room } = await live();
    house.remote.on(PEER, 'DELETE', '/peek/', new RemoteUnreachable('down'));
    await house.peeking.unpeek(ALICE, room.roomId);
    await house.outbound.sweep(house.clock.now() + 2 * HOUR);
    expect(await house.store.outboundPeeks.all()).toEqual([]);
  });
});

describe('renewal', () => {
  test('comes before the interval ends, and not earlier than needed', async () => {
    const { house } = await busy();
    await house.outbound.sweep(house.clock.now() + 40 * MINUTE);
    expect(house.remote.sent('POST')).toEqual([]);
    await house.outbound.sweep(house.clock.now() + 45 * MINUTE);
    expect(house.remote.sent('POST')).toEqual([expect.stringMatching(/\/renew$/)]);
  });

  test.each([
    [404, 'M_NOT_FOUND'],
    [404, 'M_UNRECOGNIZED'],
    [405, null],
  ] as const)('on %s %s the same PUT is sent again', async (status, errcode) => {
    const { house, peek } = await busy();
    house.remote.refuse(PEER, 'POST', '/renew', status, errcode);
    await house.outbound.sweep(peek.renewAt);
    expect(house.remote.sent('PUT')).toEqual(
      Array(2).fill(`${PEER} /_matrix/federation/v1/peek/${peek.roomId}/${peek.peekId}`),
    );
  });

  test('that fails is tried again after a minute; the room stays readable', async () => {
    const { house, peek } = await busy();
    house.remote.on(PEER, 'POST', '/renew', new RemoteUnreachable('down'));
    await house.outbound.sweep(peek.renewAt);
    await house.outbound.sweep(peek.renewAt + 30_000);
    expect(house.remote.sent('POST')).toHaveLength(1);
    await house.outbound.sweep(peek.renewAt + MINUTE);
    expect(house.remote.sent('POST')).toHaveLength(2);
    expect((await house.log(peek.roomId)).closed).toBeNull();
  });

  test('at a server that is down: the next candidate is peeked through', async () => {
    const house = await PeekingHouse.open();
    const room = house.remoteRoom(new RoomBuilder());
    room.member('@resident:other.test', 'join');
    await house.outbound.subscribe(room.roomId, [PEER, 'other.test']);
    const down = new RemoteUnreachable('down');
    house.remote.on(PEER, 'POST', '/renew', down);
    house.remote.on(PEER, 'PUT', '/peek/', down);
    house.remoteRoom(room, 'other.test');
    const { head } = await house.log(room.roomId);
    room.message('meanwhile');
    await house.outbound.sweep(house.clock.now() + HOUR);
    expect(await house.outboundPeek(room.roomId)).toMatchObject({ server: 'other.test' });
    expect(await house.store.logs.read(room.roomId, head, 10)).toHaveLength(1);
  });

  test.each([
    [1, MINUTE],
    [90_000, 90_000],
    [1e12, HOUR],
  ])('an interval of %s ms is taken as %s', async (interval, taken) => {
    const { house, peek } = await busy();
    house.remote.on(PEER, 'POST', '/renew', { renewal_interval: interval });
    await house.outbound.sweep(peek.renewAt);
    expect(await house.outboundPeek(peek.roomId)).toMatchObject({
      renewalIntervalMs: taken,
      renewAt: peek.renewAt + taken * 0.75,
    });
  });
});

describe('renewal that is refused', () => {
  test('⇒ 403 by every candidate: the room shuts us out, its log closes and its peeks end', async () => {
    const { house, room } = await live();
    house.remote.refuse(PEER, 'POST', '/peek/', 403, 'M_FORBIDDEN');
    house.remote.refuse(PEER, 'PUT', '/peek/', 403, 'M_FORBIDDEN');
    await house.settle(HOUR);
    await house.sweeps.run();
    await house.sweeps.run();
    expect(await house.store.logs.get(room.roomId)).toMatchObject({ closed: { reason: 'refused' } });
    expect(await house.store.devicePeeks.all()).toMatchObject([{ ended: { reason: 'closed' } }]);
    expect(house.outbound.peeksThrough(room.roomId, PEER)).toBe(false);
  });
});

describe('expired_peeks', () => {
  test('⇒ the peek is put again at once', async () => {
    const { house, room, peek } = await live();
    await house.outbound.expired(PEER, [{ roomId: room.roomId, peekId: peek.peekId }]);
    expect(house.remote.sent('PUT')).toHaveLength(2);
  });

  test('of another server, another peek, or a peek that was let go ⇒ nothing', async () => {
    const { house, room, peek } = await live();
    await house.outbound.expired('evil.test', [{ roomId: room.roomId, peekId: peek.peekId }]);
    await house.outbound.expired(PEER, [{ roomId: room.roomId, peekId: 'another' }]);
    await house.outbound.expired(PEER, [{ roomId: '!unknown:there.test', peekId: peek.peekId }]);
    await house.peeking.unpeek(ALICE, room.roomId);
    await house.outbound.expired(PEER, [{ roomId: room.roomId, peekId: peek.peekId }]);
    expect(house.remote.sent('PUT')).toHaveLength(1);
  });
});

test('what is peeked through whom is known again after a restart', async () => {
  const { house, room } = await live();
  const again = await PeekingHouse.on(house.store, house.clock);
  expect(again.outbound.peeksThrough(room.roomId, PEER)).toBe(true);
  expect(again.outbound.anyThrough('evil.test')).toBe(false);
  expect(again.outbound.count).toBe(1);
});
