import { describe, expect, test } from 'vitest';
import type { JsonObject } from '../../../src/matrix/json.ts';
import type { OutboundPeek } from '../../../src/store/store.ts';
import { StoreDownError } from '../../../src/store/store.ts';
import { ALICE, HOUR, PEER, PeekingHouse } from '../../support/peeking-house.ts';
import { RoomBuilder } from '../../support/room-builder.ts';

const MINUTE = 60_000;
const never = () => new Promise<JsonObject>(() => {});

async function live(server = PEER) {
  const house = await PeekingHouse.open();
  const room = house.remoteRoom(new RoomBuilder(), server);
  await house.peek(room.roomId, ALICE, [server]);
  const peek = await house.outboundPeek(room.roomId);
  if (peek === null) throw new Error('not peeked');
  return { house, room, peek };
}

const servers = (sent: readonly string[]) => sent.map((one) => one.split(' ')[0]);

describe('expired_peeks', () => {
  test('500 equal entries ⇒ one PUT, and none for a minute', async () => {
    const { house, room, peek } = await live();
    const said = Array(500).fill({ roomId: room.roomId, peekId: peek.peekId });
    await Promise.all([house.outbound.expired(PEER, said), house.outbound.expired(PEER, said)]);
    await house.outbound.expired(PEER, said);
    expect(house.remote.sent('PUT')).toHaveLength(2);
    await house.settle(MINUTE);
    await house.outbound.expired(PEER, said);
    expect(house.remote.sent('PUT')).toHaveLength(3);
  });

  test('of rooms that are not peeked through that server ⇒ the store is not even asked', async () => {
    const { house, room, peek } = await live();
    house.store.outboundPeeks.ofRoom = () => Promise.reject(new Error('asked'));
    await house.outbound.expired('evil.test', [{ roomId: room.roomId, peekId: peek.peekId }]);
    await house.outbound.expired(
      PEER,
      Array.from({ length: 200 }, (_, i) => ({ roomId: `!r${i}:there.test`, peekId: 'x' })),
    );
    expect(house.remote.sent('PUT')).toHaveLength(1);
  });

  test('with the store down ⇒ no rejection that nobody handles', async () => {
    const { house, room, peek } = await live();
    house.store.outboundPeeks.ofRoom = () => Promise.reject(new StoreDownError('down'));
    const said = [{ roomId: room.roomId, peekId: peek.peekId }];
    await expect(house.outbound.expired(PEER, said)).resolves.toBeUndefined();
  });
});

describe('slow servers', () => {
  test('the next candidate is started after 3 seconds, and the slow one gets a DELETE', async () => {
    const house = await PeekingHouse.open();
    const room = house.remoteRoom(new RoomBuilder());
    house.remote.on('tarpit.test', 'PUT', '/peek/', never);
    const log = house.outbound.subscribe(room.roomId, ['tarpit.test', PEER]);
    await house.settle(2_999);
    expect(servers(house.remote.sent('PUT'))).toEqual(['tarpit.test']);
    await house.settle(1);
    expect(await log).toMatchObject({ roomId: room.roomId });
    expect(servers(house.remote.sent('PUT'))).toEqual(['tarpit.test', PEER]);
    expect(servers(house.remote.sent('DELETE'))).toEqual(['tarpit.test']);
    expect(house.outbound.peeksThrough(room.roomId, 'tarpit.test')).toBe(false);
    expect(await house.outboundPeek(room.roomId)).toMatchObject({ server: PEER });
  });

  test('a slow one that does not say what it runs gets none: to Dendrite it would be a second PUT', async () => {
    const house = await PeekingHouse.open();
    const room = house.remoteRoom(new RoomBuilder());
    house.remote.runs.set('tarpit.test', null);
    house.remote.on('tarpit.test', 'PUT', '/peek/', never);
    const log = house.outbound.subscribe(room.roomId, ['tarpit.test', PEER]);
    await house.settle(3_000);
    await log;
    expect(servers(house.remote.sent('PUT'))).toEqual(['tarpit.test', PEER]);
    expect(house.remote.sent('DELETE')).toEqual([]);
  });

  test('nothing but tarpits ⇒ 502 within 45 seconds, and nothing is left', async () => {
    const house = await PeekingHouse.open();
    house.remote.on('tarpit.test', 'PUT', '/peek/', never);
    const refused = house.outbound.subscribe('!r:tarpit.test', []).catch((error: unknown) => error);
    await house.settle(45_000);
    expect(await refused).toMatchObject({ status: 502 });
    expect(await house.store.size()).toBe(0);
    expect(house.outbound.isPeeked('!r:tarpit.test')).toBe(false);
  });

  test('the room’s own domain is among the ten', async () => {
    const house = await PeekingHouse.open();
    const room = house.remoteRoom(new RoomBuilder());
    const many = Array.from({ length: 30 }, (_, i) => `s${i}.test`);
    await house.outbound.subscribe(room.roomId, many);
    expect(servers(house.remote.sent('PUT'))).toEqual([...many.slice(0, 9), PEER]);
  });

  test('one tarpit does not starve the rest: renewals run side by side', async () => {
    const { house, peek } = await live();
    const others = ['a.test', 'b.test', 'c.test'];
    for (const server of others) {
      const room = house.remoteRoom(new RoomBuilder('10', server, server), server);
      await house.peek(room.roomId, ALICE, [server]);
    }
    house.remote.on(PEER, 'POST', '/renew', never);
    for (const { roomId, peekId } of await house.store.outboundPeeks.all()) {
      await house.store.outboundPeeks.update(roomId, peekId, { heardAt: peek.renewAt });
    }
    let swept = false;
    const sweep = house.outbound.sweep(peek.renewAt + 1).then(() => {
      swept = true;
    });
    await house.settle();
    expect(servers(house.remote.sent('POST')).toSorted()).toEqual([...others, PEER].toSorted());
    expect(swept).toBe(false);
    await house.settle(30_000);
    await sweep;
    await house.outbound.sweep(peek.renewAt + 1);
    expect(servers(house.remote.sent('POST')).filter((server) => server === PEER)).toHaveLength(1);
  });

  test('a server with many rooms that answers slowly keeps no room of another from its renewal', async () => {
    const { house, peek } = await live('good.test');
    for (let i = 0; i < 12; i++) {
      const room = house.remoteRoom(new RoomBuilder('10', 'slow.test', `many${i}`), 'slow.test');
      await house.peek(room.roomId, ALICE, ['slow.test']);
    }
    house.remote.on('slow.test', 'POST', '/renew', never);
    for (const { roomId, peekId } of await house.store.outboundPeeks.all()) {
      await house.store.outboundPeeks.update(roomId, peekId, { heardAt: peek.renewAt });
    }
    // The good one is the last to be due.
    const all = house.store.outboundPeeks.all.bind(house.store.outboundPeeks);
    house.store.outboundPeeks.all = async () =>
      (await all()).toSorted((a, b) => (a.server < b.server ? 1 : -1));
    const sweep = house.outbound.sweep(peek.renewAt + 1);
    await house.settle();
    expect(servers(house.remote.sent('POST')).filter((server) => server === 'good.test')).toHaveLength(1);
    expect(servers(house.remote.sent('POST')).filter((server) => server === 'slow.test')).toHaveLength(4);
    await house.settle(60_000);
    await sweep;
  });

  test('a DELETE to a stopped peer holds up nobody, and is sent at once', async () => {
    const { house, room } = await live();
    house.remote.on(PEER, 'DELETE', '/peek/', never);
    await house.peeking.unpeek(ALICE, room.roomId);
    await house.settle();
    expect(house.remote.sent('DELETE')).toHaveLength(1);
    expect(await house.outboundPeek(room.roomId)).toMatchObject({ phase: 'ending' });
    expect(house.outbound.anyThrough(PEER)).toBe(false);
  });

  test('a peek that is put again and not heard of in time goes on', async () => {
    const { house, peek } = await live();
    house.remote.on(PEER, 'PUT', '/peek/', never);
    const expired = house.outbound.expired(PEER, [peek]);
    await house.settle();
    await house.settle(45_000);
    await expired;
    expect(house.remote.sent('DELETE')).toEqual([]);
    expect(await house.outboundPeek(peek.roomId)).toMatchObject({
      phase: 'live',
      renewAt: house.clock.now() + MINUTE,
    });
  });
});

describe('a peek without a log, as a crash leaves it', () => {
  test('is ended by the sweep, not in its first minute', async () => {
    const { house, room, peek } = await live();
    await house.store.logs.drop(room.roomId);
    await house.outbound.sweep(house.clock.now() + MINUTE - 1);
    expect(await house.outboundPeek(room.roomId)).toMatchObject({ phase: 'live' });
    await house.outbound.sweep(house.clock.now() + MINUTE);
    await house.settle();
    expect(house.remote.sent('DELETE')).toEqual([
      `${PEER} /_matrix/federation/v1/peek/${room.roomId}/${peek.peekId}`,
    ]);
    expect(await house.store.outboundPeeks.all()).toEqual([]);
  });

  test('takes the replica with it that was stored before the log', async () => {
    const { house, room } = await live();
    const replica = await house.store.replicas.state(room.roomId);
    await house.store.logs.drop(room.roomId);
    await house.store.replicas.replace(room.roomId, replica, []);
    await house.outbound.sweep(house.clock.now() + MINUTE);
    await house.settle();
    expect(replica).not.toEqual([]);
    expect(await house.store.replicas.state(room.roomId)).toEqual([]);
  });
});

describe('Dendrite', () => {
  async function dendrite() {
    const { house, room, peek } = await live('dendrite.test');
    house.remote.runs.set('dendrite.test', 'Dendrite');
    return { house, room, peek };
  }
  const idsOf = (house: PeekingHouse) => house.remote.sent('PUT').map((sent) => sent.split('/').at(-1));

  test('renewal ⇒ a PUT with a new peek ID, no /renew', async () => {
    const { house, room, peek } = await dendrite();
    await house.outbound.sweep(peek.renewAt);
    const ids = idsOf(house);
    expect([ids.length, new Set(ids).size]).toEqual([2, 2]);
    expect(house.remote.sent('POST')).toEqual([]);
    const now = (await house.outboundPeek(room.roomId)) as OutboundPeek;
    expect(now).toMatchObject({ phase: 'live', peekId: ids[1] });
  });

  test('catching up ⇒ a new peek ID too', async () => {
    const { house, room } = await dendrite();
    await house.store.logs.setFeed(room.roomId, { needsCatchUp: true });
    await house.outbound.sweep(house.clock.now());
    expect(new Set(idsOf(house)).size).toBe(2);
  });

  test('the end ⇒ forgotten, without DELETE', async () => {
    const { house, room } = await dendrite();
    await house.peeking.unpeek(ALICE, room.roomId);
    await house.settle(HOUR);
    expect(house.remote.sent('DELETE')).toEqual([]);
    expect(await house.store.outboundPeeks.all()).toEqual([]);
  });
});
