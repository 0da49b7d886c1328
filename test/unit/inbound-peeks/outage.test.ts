import { describe, expect, test } from 'vitest';
import { HomeserverRefusal } from '../../../src/homeserver/homeserver.ts';
import { RemoteUnreachable } from '../../../src/remote-servers/remote-servers.ts';
import { HOUR, House, PEER, ROOM } from './house.ts';

const MINUTE = 60_000;
const numbers = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => `${from + i}`);

/** A server that calls us, but cannot be reached by us until the test says so. */
function unreachable(house: House): { end(): void } {
  let down = true;
  house.servers.answer = (server) => {
    if (down && server === PEER) throw new RemoteUnreachable(server);
    return {};
  };
  return {
    end() {
      down = false;
    },
  };
}

/** As many hours as there are, in which a hundred events are said each, and the peek is renewed. */
async function hours(house: House, count: number): Promise<void> {
  for (let hour = 0; hour < count; hour++) {
    await house.append(ROOM, numbers(hour * 100, hour * 100 + 100));
    await house.settle(45 * MINUTE);
    await house.peeks.renew(PEER, ROOM, 'peek1');
    await house.settle(15 * MINUTE);
  }
}

describe('a server that cannot be reached for a day', () => {
  test('gets all of it afterwards, in order and once, in transactions of 50; another one was not held up', async () => {
    const house = await House.open();
    await house.put();
    await house.put('other.test');
    const outage = unreachable(house);
    await hours(house, 24);
    expect(house.servers.bodies('other.test')).toEqual(numbers(0, 2400));
    house.servers.sent.splice(0);
    outage.end();
    await house.settle(2 * HOUR);
    expect(house.servers.bodies(PEER)).toEqual(numbers(0, 2400));
    expect(house.servers.sent).toHaveLength(2400 / 50);
  });

  test('gets what the log still holds, where the log was cut meanwhile: an honest gap', async () => {
    const house = await House.open();
    await house.put();
    const outage = unreachable(house);
    await hours(house, 3);
    const log = await house.store.logs.get(ROOM);
    await house.store.logs.prune(ROOM, (log?.head ?? 0) - 99);
    house.servers.sent.splice(0);
    outage.end();
    await house.settle(2 * HOUR);
    // What was on its way when the log was cut comes too; the others are asked for by their `prev_events`.
    expect(house.servers.bodies(PEER)).toEqual([...numbers(0, 50), ...numbers(200, 300)]);
    const [cursor] = await house.store.inboundPeeks.cursors();
    expect(cursor?.position).toBe(log?.head);
  });

  test('is tried ever more rarely, with jitter, at least once an hour while it renews', async () => {
    const house = await House.open();
    await house.put();
    unreachable(house);
    await house.append(ROOM, ['x']);
    const waits: number[] = [];
    let last = house.clock.now();
    for (let tried = house.servers.sent.length; waits.length < 14; ) {
      await house.settle(1_000);
      if (house.servers.sent.length === tried) continue;
      tried = house.servers.sent.length;
      waits.push(house.clock.now() - last);
      last = house.clock.now();
    }
    for (const [n, wait] of waits.slice(1).entries()) {
      const base = Math.min(HOUR, 1_000 * 2 ** n);
      expect(wait).toBeGreaterThanOrEqual(base - 1_000);
      expect(wait).toBeLessThanOrEqual(Math.min(HOUR, 1.5 * base) + 2_000);
    }
  });

  test('and does not renew meanwhile is evicted, told so once when it is back, and begins anew by a PUT', async () => {
    const house = await House.open();
    await house.put();
    const outage = unreachable(house);
    for (let hour = 0; hour < 12; hour++) {
      await house.append(ROOM, [`${hour}`]);
      await house.peeks.evict(house.clock.now());
      await house.settle(HOUR);
    }
    expect(await house.store.inboundPeeks.all()).toEqual([]);
    house.servers.sent.splice(0);
    outage.end();
    await house.settle(HOUR);
    expect(house.servers.sent.map(({ pdus, expired }) => [pdus, expired])).toEqual([
      [[], [{ room_id: ROOM, peek_id: 'peek1' }]],
    ]);
    expect(await house.store.size()).toBe(1 + 12);
    await house.put();
    await house.append(ROOM, ['new']);
    await house.settle();
    expect(house.servers.bodies(PEER)).toEqual(['new']);
  });
});

describe('what a transaction holds', () => {
  test('at most a MiB of events, one at least; order is kept', async () => {
    const house = await House.open();
    await house.put();
    const large = (n: number) => ({
      type: 'm.large',
      content: { body: `${n}`, filler: 'x'.repeat(400_000) },
    });
    await house.append(ROOM, [large(0), large(1), large(2), large(3), 'small', large(4)]);
    const giant = { type: 'm.large', content: { body: 'giant', filler: 'x'.repeat(2_000_000) } };
    await house.append(ROOM, [giant, 'last']);
    await house.settle();
    expect(house.servers.bodies(PEER)).toEqual(['0', '1', '2', '3', 'small', '4', 'giant', 'last']);
    expect(house.servers.sent.map(({ pdus }) => pdus.length)).toEqual([2, 3, 1, 1, 1]);
  });

  test('an event that cannot be written as canonical JSON costs itself alone', async () => {
    const house = await House.open();
    await house.put();
    const odd = { type: 'm.odd', content: { body: 'odd \ud800' } };
    await house.append(ROOM, ['a', odd, 'b']);
    await house.append(ROOM, [odd]);
    await house.settle(HOUR);
    expect(house.servers.bodies(PEER)).toEqual(['a', 'b']);
    expect((await house.store.inboundPeeks.cursors())[0]?.position).toBe(
      (await house.store.logs.get(ROOM))?.head,
    );
  });
});

describe('the switch between our relay and the homeserver’s own sending', () => {
  const member = (house: House, user: string, membership: string) =>
    house.member(`@${user}:${PEER}`, membership);
  const story = (house: House) => [
    'before',
    member(house, 'u', 'invite'),
    member(house, 'u', 'join'),
    'both',
    member(house, 'v', 'join'),
    member(house, 'u', 'leave'),
    'one is left',
    member(house, 'v', 'ban'),
    'after',
  ];
  /** An invite is an event like others; from the join to the last leave the homeserver sends. */
  const relayed = ['before', 'm.room.member', 'after'];

  test('has neither hole nor double, whether the server keeps up', async () => {
    const house = await House.open();
    await house.put();
    for (const event of story(house)) {
      await house.append(ROOM, [event]);
      await house.settle();
    }
    expect(house.servers.bodies(PEER)).toEqual(relayed);
  });

  test('has neither hole nor double, or was away meanwhile, or we were restarted', async () => {
    const house = await House.open();
    await house.put();
    const outage = unreachable(house);
    for (const event of story(house)) {
      await house.append(ROOM, [event]);
      await house.settle();
    }
    await house.peeks.stop();
    house.servers.sent.splice(0);
    outage.end();
    const restarted = house.another();
    await restarted.start();
    await house.settle();
    expect(house.servers.bodies(PEER)).toEqual(relayed);
    await restarted.stop();
  });

  test('a user who declines an invite was never there', async () => {
    const house = await House.open();
    await house.put();
    await house.append(ROOM, [member(house, 'u', 'invite'), member(house, 'u', 'leave'), 'x']);
    await house.settle();
    expect(house.servers.bodies(PEER)).toEqual(['m.room.member', 'm.room.member', 'x']);
  });
});

describe('a homeserver whose state is ahead of the log', () => {
  const user = `@u:${PEER}`;
  const memberships = (house: House) => ({
    becomes: (membership: string) => house.homeserver.setState(ROOM, 'm.room.member', user, { membership }),
    event: (membership: string) => house.member(user, membership),
  });

  test('by a join: what was said before it is sent', async () => {
    const house = await House.open();
    const { becomes, event } = memberships(house);
    await house.put();
    house.homeserver.runAhead(ROOM);
    becomes('join');
    await house.append(ROOM, ['before']);
    await house.settle();
    await house.append(ROOM, [event('join'), 'joined']);
    await house.settle();
    expect(house.servers.bodies(PEER)).toEqual(['before']);
  });

  test('by a join that comes with a later page after a restart: all that was missed before it is sent', async () => {
    const house = await House.open();
    const { becomes, event } = memberships(house);
    await house.put();
    await house.append(ROOM, ['old']);
    await house.settle();
    await house.peeks.stop();
    house.homeserver.runAhead(ROOM);
    becomes('join');
    const restarted = house.another();
    await restarted.start();
    await house.append(ROOM, ['missed 1', 'missed 2']);
    await house.settle();
    await house.append(ROOM, ['missed 3', event('join'), 'joined']);
    await house.settle();
    expect(house.servers.bodies(PEER)).toEqual(['old', 'missed 1', 'missed 2', 'missed 3']);
    await restarted.stop();
  });

  test('by the last leave: what was said until then comes from the homeserver alone', async () => {
    const house = await House.open();
    const { becomes, event } = memberships(house);
    becomes('join');
    await house.put();
    house.homeserver.runAhead(ROOM);
    becomes('leave');
    await house.append(ROOM, ['while it was there']);
    await house.settle();
    await house.append(ROOM, [event('leave'), 'after']);
    await house.settle();
    expect(house.servers.bodies(PEER)).toEqual(['after']);
  });

  test('by nothing: after the last leave an invite that is declined makes no hole', async () => {
    const house = await House.open();
    const { becomes, event } = memberships(house);
    const other = (membership: string) => house.member(`@v:${PEER}`, membership);
    becomes('join');
    await house.put();
    await house.append(ROOM, ['while it was there']);
    await house.settle();
    await house.append(ROOM, [event('leave'), 'a', other('invite'), 'b', other('leave'), 'c']);
    await house.settle();
    expect(house.servers.bodies(PEER)).toEqual(['a', 'm.room.member', 'b', 'm.room.member', 'c']);
  });

  test('by nothing: an invite while it is there, before the last leave, makes no double', async () => {
    const house = await House.open();
    const { becomes, event } = memberships(house);
    becomes('join');
    await house.put();
    await house.append(ROOM, ['while it was there']);
    await house.settle();
    await house.append(ROOM, [house.member(`@v:${PEER}`, 'invite'), 'a', event('leave'), 'b']);
    await house.settle();
    expect(house.servers.bodies(PEER)).toEqual(['b']);
  });

  test('the state of a room is read once, however many servers are sent to', async () => {
    const house = await House.open();
    for (let i = 0; i < 5; i++) await house.put(`s${i}.test`);
    for (let i = 0; i < 5; i++) {
      await house.append(ROOM, [`${i}`]);
      await house.settle();
    }
    expect(house.servers.sent).toHaveLength(25);
    expect(house.homeserver.statesBefore).toBe(1);
  });

  test('an event that it does not have any more: the present state is asked for', async () => {
    const house = await House.open();
    memberships(house).becomes('join');
    house.homeserver.stateBefore = async () => {
      throw new HomeserverRefusal(404, Buffer.from('{}'));
    };
    await house.put();
    await house.put('else.test');
    await house.append(ROOM, ['x']);
    await house.settle();
    expect(house.servers.sent.map(({ server }) => server)).toEqual(['else.test']);
  });
});
