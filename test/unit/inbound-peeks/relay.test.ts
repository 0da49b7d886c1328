import { describe, expect, test, vi } from 'vitest';
import { RemoteRefusal, RemoteUnreachable } from '../../../src/remote-servers/remote-servers.ts';
import { StoreDownError } from '../../../src/store/store.ts';
import { HOUR, House, PEER, ROOM } from './house.ts';

const numbers = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => `${from + i}`);

describe('relay', () => {
  test('every event once, in order, at most 50 PDUs a transaction, one in flight per destination', async () => {
    const house = await House.open();
    await house.put();
    for (let i = 0; i < 120; i += 10) await house.append(ROOM, numbers(i, i + 10));
    await house.append(ROOM, numbers(120, 300));
    await house.settle();
    expect(house.servers.bodies(PEER)).toEqual(numbers(0, 300));
    expect(Math.max(...house.servers.sent.map((sent) => sent.pdus.length))).toBe(50);
    expect(house.servers.mostAtOnce).toBe(1);
    expect(new Set(house.servers.sent.map((sent) => sent.path)).size).toBe(house.servers.sent.length);
    expect(house.servers.sent[0]?.path).toMatch(/^\/_matrix\/federation\/v1\/send\/peek-[\w-]+$/);
  });

  test('rooms share a transaction, each in its own order, and none starves another', async () => {
    const house = await House.open();
    house.homeserver.addRoom('!b:here.test');
    await house.put();
    await house.put(PEER, 'p', '!b:here.test');
    await house.settle();
    let release = () => {};
    house.servers.answer = () => new Promise((resolve) => (release = () => resolve({})));
    await house.append(ROOM, ['first']);
    await house.settle();
    await house.append(ROOM, numbers(0, 200));
    await house.append('!b:here.test', ['b0', 'b1']);
    house.servers.answer = () => ({});
    release();
    await house.settle();
    expect(house.servers.bodies(PEER, ROOM)).toEqual(['first', ...numbers(0, 200)]);
    expect(house.servers.bodies(PEER, '!b:here.test')).toEqual(['b0', 'b1']);
    const withB = house.servers.sent.findIndex((sent) => sent.pdus.some((pdu) => pdu.room_id !== ROOM));
    expect(withB).toBeLessThan(3);
  });

  test('two peeks of one server on a room: each event once', async () => {
    const house = await House.open();
    await house.put(PEER, 'a');
    await house.put(PEER, 'b');
    await house.append(ROOM, ['x']);
    await house.settle();
    expect(house.servers.bodies(PEER)).toEqual(['x']);
  });

  test('a failure is retried with back-off, without loss, under the same transaction ID', async () => {
    const house = await House.open();
    await house.put();
    house.servers.answer = (server) => {
      throw new RemoteUnreachable(server);
    };
    await house.append(ROOM, ['a', 'b']);
    await house.settle();
    await house.append(ROOM, ['c']);
    await house.settle(20_000);
    const failed = house.servers.sent.length;
    expect(failed).toBeGreaterThan(2);
    expect(failed).toBeLessThan(7);
    house.servers.answer = () => ({});
    await house.settle(60_000);
    const [paths, last] = [house.servers.sent.map((sent) => sent.path), house.servers.sent.slice(failed)];
    expect(new Set(paths.slice(0, failed + 1)).size).toBe(1);
    expect(last.map((sent) => sent.pdus.length)).toEqual([2, 1]);
  });

  test.each([400, 401, 403, 404, 413, 500])('%i is tried again until it is delivered', async (status) => {
    const house = await House.open();
    await house.put();
    let refused = 0;
    house.servers.answer = (server) => {
      if (refused++ < 3) throw new RemoteRefusal(server, status, null, {});
      return {};
    };
    await house.append(ROOM, ['a']);
    await house.settle(30_000);
    expect(house.servers.sent.map((sent) => sent.pdus.length)).toEqual([1, 1, 1, 1]);
    expect((await house.store.inboundPeeks.cursorsOf(PEER))[0]?.position).toBe(100);
  });

  test('transactions are counted by what became of them', async () => {
    const house = await House.open();
    await house.put();
    const outcomes = [new RemoteUnreachable(PEER), new RemoteRefusal(PEER, 400, null, {})];
    house.servers.answer = () => {
      const error = outcomes.shift();
      if (error !== undefined) throw error;
      return {};
    };
    await house.append(ROOM, ['a']);
    await house.settle(30_000);
    const { values } = await house.metrics.sendTransactions.get();
    expect(values.map(({ labels, value }) => [labels.outcome, value])).toEqual([
      ['delivered', 1],
      ['failed', 1],
      ['refused', 1],
    ]);
  });

  test('429 is waited for as long as it asks', async () => {
    const house = await House.open();
    await house.put();
    house.servers.answer = (server) => {
      throw new RemoteRefusal(server, 429, 'M_LIMIT_EXCEEDED', { retry_after_ms: 300_000 });
    };
    await house.append(ROOM, ['a']);
    await house.settle(299_000);
    expect(house.servers.sent).toHaveLength(1);
    await house.settle(2_000);
    expect(house.servers.sent).toHaveLength(2);
  });

  test('a server that calls us is up: its back-off ends', async () => {
    const house = await House.open();
    await house.put();
    house.servers.answer = (server) => {
      throw new RemoteUnreachable(server);
    };
    await house.append(ROOM, ['a']);
    await house.settle(HOUR / 2);
    const tried = house.servers.sent.length;
    house.servers.answer = () => ({});
    await house.put();
    await house.settle();
    expect(house.servers.sent).toHaveLength(tried + 1);
  });

  test('a slow server holds up no other', async () => {
    const house = await House.open();
    await house.put('slow.test');
    await house.put('quick.test');
    house.servers.answer = (server) => (server === 'slow.test' ? new Promise(() => {}) : {});
    await house.append(ROOM, ['a']);
    await house.append(ROOM, ['b']);
    await house.settle();
    expect(house.servers.bodies('quick.test')).toEqual(['a', 'b']);
  });

  test('stop() in the middle of a transaction loses nothing: the next run sends it', async () => {
    const house = await House.open();
    await house.put();
    house.servers.answer = (server) => {
      throw new RemoteUnreachable(server);
    };
    await house.append(ROOM, ['a', 'b']);
    await house.settle(5_000);
    await house.peeks.stop();
    const before = house.servers.sent.length;
    house.servers.answer = () => ({});
    const next = house.another();
    await next.start();
    await house.settle();
    expect(house.servers.sent.slice(before).map((sent) => sent.pdus.length)).toEqual([2]);
    expect(house.clock.pending).toBe(0);
    await next.stop();
  });

  test('of two processes one sends; the other goes on when it ends', async () => {
    const house = await House.open();
    const other = house.another();
    await other.start();
    await house.put();
    house.servers.answer = (server) => {
      throw new RemoteUnreachable(server);
    };
    await house.append(ROOM, ['a']);
    await house.settle(100);
    expect(house.servers.sent).toHaveLength(1);
    await house.peeks.stop();
    house.servers.answer = () => ({});
    await house.settle(60_000);
    expect(house.servers.bodies(PEER)).toEqual(['a', 'a']);
    await other.stop();
  });

  test('a store that fails at the acknowledgement: sent again, and then it is written down', async () => {
    const house = await House.open();
    await house.put();
    vi.spyOn(house.store.inboundPeeks, 'advance').mockRejectedValueOnce(new StoreDownError('down'));
    await house.append(ROOM, ['a']);
    await house.settle(10_000);
    expect(house.servers.bodies(PEER)).toEqual(['a', 'a']);
    expect((await house.store.inboundPeeks.cursorsOf(PEER))[0]?.position).toBe(100);
  });

  test('a peek that ends while its server is down ends the attempts', async () => {
    const house = await House.open();
    await house.put();
    house.servers.answer = (server) => {
      throw new RemoteUnreachable(server);
    };
    await house.append(ROOM, ['a']);
    await house.settle(5_000);
    await house.peeks.remove(PEER, ROOM, 'peek1');
    const tried = house.servers.sent.length;
    await house.settle(2 * HOUR);
    expect(house.servers.sent).toHaveLength(tried);
    expect(house.clock.pending).toBe(0);
  });

  test('a peer with nothing to be sent costs no timer', async () => {
    const house = await House.open();
    for (let i = 0; i < 20; i++) await house.put(`s${i}.test`);
    await house.append(ROOM, ['a']);
    await house.settle();
    expect(house.clock.pending).toBe(0);
    expect(house.servers.sent).toHaveLength(20);
  });
});

describe('checks at each delivery', () => {
  test('an ACL that shuts the server out stops the relay, one that lets it in again resumes it', async () => {
    const house = await House.open();
    await house.put();
    await house.put('else.test');
    await house.append(ROOM, ['before']);
    await house.settle();
    await house.append(ROOM, [house.acl(PEER), 'during']);
    await house.settle();
    expect(house.servers.bodies(PEER)).toEqual(['before']);
    await house.append(ROOM, [house.acl(), 'after']);
    await house.settle();
    expect(house.servers.bodies(PEER)).toEqual(['before', 'after']);
    expect(house.servers.bodies('else.test')).toEqual([
      'before',
      'm.room.server_acl',
      'during',
      'm.room.server_acl',
      'after',
    ]);
  });

  test('what waits for a server when the ACL shuts it out is not sent', async () => {
    const house = await House.open();
    await house.put();
    house.servers.answer = (server) => {
      throw new RemoteUnreachable(server);
    };
    await house.append(ROOM, ['waiting']);
    await house.settle();
    await house.append(ROOM, [house.acl(PEER)]);
    const tried = house.servers.sent.length;
    house.servers.answer = () => ({});
    await house.settle(HOUR);
    expect(house.servers.sent).toHaveLength(tried);
  });

  test('a join of the peeking server stops the relay, its last leave resumes it', async () => {
    const house = await House.open();
    await house.put();
    await house.append(ROOM, ['before', house.member(`@u:${PEER}`, 'join'), 'joined']);
    await house.settle();
    expect(house.servers.bodies(PEER)).toEqual(['before']);
    await house.append(ROOM, ['still joined', house.member(`@u:${PEER}`, 'leave'), 'left']);
    await house.settle();
    expect(house.servers.bodies(PEER)).toEqual(['before', 'left']);
  });

  test('a leave does not resume the relay while others of the server are in the room', async () => {
    const house = await House.open();
    house.homeserver.setState(ROOM, 'm.room.member', `@v:${PEER}`, { membership: 'join' });
    await house.put();
    await house.append(ROOM, [house.member(`@u:${PEER}`, 'join'), house.member(`@u:${PEER}`, 'leave'), 'x']);
    await house.settle();
    expect(house.servers.sent).toEqual([]);
  });

  test('visibility world_readable → shared while peeking: the closing event is the last that leaves', async () => {
    const house = await House.open();
    await house.put();
    await house.append(ROOM, ['a']);
    await house.settle();
    house.servers.answer = (server) => {
      throw new RemoteUnreachable(server);
    };
    await house.append(ROOM, ['b']);
    const closing = {
      type: 'm.room.history_visibility',
      state_key: '',
      content: { history_visibility: 'shared' },
    };
    await house.append(ROOM, [closing], true);
    house.homeserver.setState(ROOM, 'm.room.history_visibility', '', { history_visibility: 'shared' });
    const log = await house.store.logs.get(ROOM);
    await house.peeks.roomClosed(ROOM, log?.closed?.at ?? 0);
    await house.append(ROOM, ['never']);
    expect(house.released).toEqual([]);
    house.servers.answer = () => ({});
    await house.settle(60_000);
    expect(house.servers.bodies(PEER).at(-1)).toBe('m.room.history_visibility');
    expect(house.servers.bodies(PEER)).toContain('b');
    expect(house.servers.bodies(PEER)).not.toContain('never');
    expect(await house.store.inboundPeeks.cursors()).toEqual([]);
    expect(house.released).toEqual([ROOM]);
  });

  test('the end of what is owed holds even where the log goes on', async () => {
    const house = await House.open();
    await house.put();
    await house.peeks.stop();
    await house.append(ROOM, ['a', 'b', 'c']);
    const next = house.another();
    await next.roomClosed(ROOM, 101);
    await next.start();
    await house.settle();
    expect(house.servers.bodies(PEER)).toEqual(['a', 'b']);
    expect(await house.store.inboundPeeks.cursors()).toEqual([]);
    await next.stop();
  });

  test('what a closed room owes is sent after a restart too', async () => {
    const house = await House.open();
    await house.put();
    await house.peeks.stop();
    await house.append(ROOM, ['owed'], true);
    house.homeserver.setState(ROOM, 'm.room.history_visibility', '', { history_visibility: 'shared' });
    const next = house.another();
    await next.roomClosed(ROOM, 100);
    await next.start();
    await house.settle();
    expect(house.servers.bodies(PEER)).toEqual(['owed']);
    expect(house.released).toEqual([ROOM]);
    await next.stop();
  });
});

describe('eviction', () => {
  test('If a peek is not renewed, the peeked server stops sending events: renewal missed by 1 s / by 1 h ⇒ the first lives on, the second ends and is announced once', async () => {
    const house = await House.open();
    await house.put();
    await house.settle(HOUR + 1_000);
    await house.peeks.evict(house.clock.now());
    await house.append(ROOM, ['alive']);
    await house.settle();
    expect(house.servers.bodies(PEER)).toEqual(['alive']);

    await house.settle(HOUR);
    await house.peeks.evict(house.clock.now());
    await house.peeks.evict(house.clock.now());
    await house.append(ROOM, ['gone']);
    await house.settle(HOUR);
    expect(house.servers.bodies(PEER)).toEqual(['alive']);
    const announced = house.servers.sent.filter((sent) => sent.expired.length > 0);
    expect(announced).toEqual([
      expect.objectContaining({ server: PEER, pdus: [], expired: [{ room_id: ROOM, peek_id: 'peek1' }] }),
    ]);
    expect(house.released).toEqual([ROOM]);
    await house.store.logs.drop(ROOM);
    expect(await house.store.size()).toBe(0);
  });

  test('an announcement that did not arrive is made again, and withdrawn when the peek is back', async () => {
    const house = await House.open();
    await house.put(PEER, 'a');
    house.servers.answer = (server) => {
      throw new RemoteUnreachable(server);
    };
    await house.settle(2 * HOUR);
    await house.peeks.evict(house.clock.now());
    await house.settle(5_000);
    expect(house.servers.sent.length).toBeGreaterThan(1);
    house.servers.answer = () => ({});
    await house.put(PEER, 'a');
    const before = house.servers.sent.length;
    await house.settle(HOUR / 2);
    expect(house.servers.sent.slice(before).flatMap((sent) => sent.expired)).toEqual([]);
  });
});

describe('servers that have vanished', () => {
  test('are tried for a day and no longer: the store is empty and nothing is sent any more', async () => {
    const house = await House.open();
    const servers = numbers(0, 20).map((n) => `gone${n}.test`);
    for (const server of servers) await house.put(server);
    house.servers.answer = (server) => {
      throw new RemoteUnreachable(server);
    };
    await house.settle(2 * HOUR);
    await house.peeks.evict(house.clock.now());
    await house.settle(23 * HOUR);
    await house.peeks.evict(house.clock.now());
    expect(await house.store.inboundPeeks.servers()).toHaveLength(20);
    await house.settle(HOUR);
    await house.peeks.evict(house.clock.now());
    expect(await house.store.inboundPeeks.servers()).toEqual([]);
    await house.settle(2 * HOUR);
    const tried = house.servers.sent.length;
    await house.settle(48 * HOUR);
    expect(house.servers.sent).toHaveLength(tried);
    expect(house.clock.pending).toBe(0);
  });

  test('are owed the last events of a closed room for a day', async () => {
    const house = await House.open();
    await house.put();
    house.servers.answer = (server) => {
      throw new RemoteUnreachable(server);
    };
    await house.append(ROOM, ['last'], true);
    await house.peeks.roomClosed(ROOM, 100);
    await house.settle(24 * HOUR - 1);
    await house.peeks.evict(house.clock.now());
    expect(house.released).toEqual([]);
    await house.settle(1);
    await house.peeks.evict(house.clock.now());
    expect(house.released).toContain(ROOM);
    expect(await house.store.inboundPeeks.servers()).toEqual([]);
    await house.settle(2 * HOUR);
    const tried = house.servers.sent.length;
    await house.settle(48 * HOUR);
    expect(house.servers.sent).toHaveLength(tried);
  });
});
