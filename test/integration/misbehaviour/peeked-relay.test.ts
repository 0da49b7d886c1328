import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import type { Json, JsonObject } from '../../../src/matrix/json.ts';
import { longestTask } from '../../support/longest-task.ts';
import type { BuiltEvent, RoomBuilder } from '../../support/room-builder.ts';
import { Reply, type Script, type ScriptedServer } from '../../support/scripted-server.ts';
import { endings, House, LONGEST_TASK_MS, scriptedServer, WAIT } from './house.ts';

let house: House;
let bad: ScriptedServer;
let rooms = 0;
const { ends, endAll } = endings();
beforeAll(async () => {
  house = await House.start({}, ends);
  bad = await scriptedServer(ends);
});
afterAll(endAll);

const peekedRoom = () => house.peekedRoom(bad, `room${++rooms}`);
const messages = (room: RoomBuilder) => house.messages(room);

const missing = (room: RoomBuilder, script: Script) =>
  bad.on('POST', `/get_missing_events/${room.roomId}`, script);

describe('of its own accord the peeked server', () => {
  test('sends bad events of every kind among good ones ⇒ the good ones are shown, in order', async () => {
    const room = await peekedRoom();
    const like = (fields: JsonObject): Json => ({
      ...room.make({ type: 'm.room.message', content: { body: 'bad' } }).pdu,
      ...fields,
    });
    const oddities: Json[] = [
      like({ signatures: {} }),
      like({ signatures: { [bad.serverName]: { 'ed25519:test': 'AAAA' } } }),
      like({ hashes: {}, signatures: null }),
      like({ content: { body: 'x'.repeat(65_536) } }),
      like({ depth: -1 }),
      like({ depth: '5' }),
      like({ origin_server_ts: 1e300 }),
      like({ prev_events: Array(21).fill('$x') }),
      like({ auth_events: Array(10_000).fill('$x') }),
      like({ sender: '@a:127.0.0.1:1' }),
      like({ sender: 'constructor' }),
      like({ type: 7 }),
      like({ state_key: {} }),
      like({ content: [] }),
    ];
    const good = room.messages(3, 'good');
    const transaction = oddities.flatMap((odd, i) =>
      i < good.length ? [odd, (good[i] as BuiltEvent).pdu] : [odd],
    );
    expect(await house.relay(bad, transaction)).toMatchObject({ status: 200 });
    expect((await messages(room)).slice(-3)).toEqual(['good 0', 'good 1', 'good 2']);
    expect(await messages(room)).not.toContain('bad');
    const device = house.device('bob');
    expect(await device.peek(room.roomId)).toMatchObject({ status: 200 });
    expect((await device.sync()).rooms.peek[room.roomId]?.timeline?.events.length).toBeGreaterThan(2);
    await house.neighbourGoesOn();
  });

  test('sends events that the rules of the room do not allow ⇒ they are not shown, those that they would allow neither', async () => {
    const room = await peekedRoom();
    const stranger = `@stranger:${bad.serverName}`;
    const member = `@member:${bad.serverName}`;
    const joined = room.member(member, 'join');
    const powers = room.stateEvent('m.room.power_levels');
    const taken = room.make({
      type: 'm.room.power_levels',
      stateKey: '',
      content: { users: { [member]: 100 } },
      sender: member,
    });
    const events = [
      joined,
      room.make({ type: 'm.room.message', content: { body: 'not in the room' }, sender: stranger }),
      taken,
      room.make({ type: 'm.room.topic', stateKey: '', content: { topic: 'taken over' }, sender: member }),
      room.message('by the creator'),
    ];
    expect(await house.relay(bad, events)).toMatchObject({ status: 200 });
    const held = await house.log(room.roomId);
    expect(held).toContain('by the creator');
    expect(held).not.toContain('not in the room');
    expect(held).not.toContain('m.room.topic');
    const [current] = await house.store.replicas.stateOf(room.roomId, [['m.room.power_levels', '']]);
    expect(current?.eventId).toBe(powers.eventId);
    const said = house.said(bad).filter((line) => line.room === room.roomId && line.reason === 'auth');
    expect(said.length).toBeGreaterThanOrEqual(3);
    expect(JSON.stringify(said)).not.toContain('taken over');
    await house.neighbourGoesOn();
  });

  test('names events after what every object has ⇒ they are events like others', async () => {
    const room = await peekedRoom();
    const names = ['__proto__', 'constructor', 'toJSON', 'hasOwnProperty'];
    const events = names.flatMap((name) => [
      room.state(name, name, JSON.parse('{"__proto__":{"a":1},"toJSON":"x"}') as JsonObject),
      room.message(`after ${name}`),
    ]);
    expect(await house.relay(bad, events)).toMatchObject({ status: 200 });
    const held = await messages(room);
    expect(held).toEqual(expect.arrayContaining(names.map((name) => `after ${name}`)));
    const device = house.device('carol');
    expect(await device.peek(room.roomId, [bad.serverName])).toMatchObject({ status: 200 });
    const synced = await device.sync();
    const section = synced.rooms.peek[room.roomId];
    const shown = [...(section?.state?.events ?? []), ...(section?.timeline?.events ?? [])];
    expect(shown.map(({ type }) => type)).toEqual(expect.arrayContaining(names));
  });

  test('relays forks ⇒ each branch once, the room goes on', async () => {
    const room = await peekedRoom();
    const base = room.message('base');
    const prev = [base.eventId];
    const branches = [1, 2, 3].map((i) =>
      room.make({ type: 'm.room.message', content: { body: `branch ${i}` }, prev }),
    );
    const merge = room.make({
      type: 'm.room.message',
      content: { body: 'merge' },
      prev: branches.map(({ eventId }) => eventId),
      depth: Number(base.pdu.depth) + 2,
    });
    missing(room, { events: [] });
    expect(await house.relay(bad, [base, ...branches, merge, ...branches])).toMatchObject({ status: 200 });
    expect(await messages(room)).toEqual(['base', 'branch 1', 'branch 2', 'branch 3', 'merge']);
    await house.neighbourGoesOn();
  });

  test('sends 1 000 events as fast as it can ⇒ all are taken, in order, and the neighbour is served in between', async () => {
    const room = await peekedRoom();
    const events = room.messages(1000, 'burst');
    const bodies = Array.from({ length: 20 }, (_, i) => events.slice(50 * i, 50 * i + 50));
    let between = 0;
    const longest = await longestTask(async () => {
      const burst = (async () => {
        for (const body of bodies) expect(await house.relay(bad, body)).toMatchObject({ status: 200 });
        return 'over';
      })();
      for (;;) {
        const over = await Promise.race([burst, house.neighbourGoesOn().then(() => 'goes on')]);
        if (over === 'over') break;
        between++;
      }
    });
    expect(between).toBeGreaterThan(2);
    expect(longest).toBeLessThan(LONGEST_TASK_MS);
    expect((await messages(room)).slice(-1000)).toEqual(events.map((_, i) => `burst ${i}`));
  });

  test('floods expired_peeks ⇒ answered; the peek is put again once', async () => {
    const room = await peekedRoom();
    const [peek] = await house.store.outboundPeeks.ofRoom(room.roomId);
    const own = { room_id: room.roomId, peek_id: peek?.peekId ?? '' };
    const others = Array.from({ length: 3000 }, (_, i) => ({ room_id: `!r${i}:x.test`, peek_id: 'x' }));
    const asked = bad.asked('PUT', room.roomId).length;
    for (let i = 0; i < 10; i++) {
      const expired_peeks = [own, ...others, ...Array(1000).fill(own), null, 7] as Json[];
      expect(await house.relay(bad, [], { expired_peeks })).toMatchObject({ status: 200 });
    }
    await vi.waitFor(() => expect(bad.asked('PUT', room.roomId)).toHaveLength(asked + 1), WAIT);
    await house.neighbourGoesOn();
    expect(bad.asked('PUT', room.roomId)).toHaveLength(asked + 1);
  });

  test('sends to rooms that are no longer peeked ⇒ 200, and nothing of it is kept', async () => {
    const [room] = [await peekedRoom(), await peekedRoom()];
    expect(await house.alice.unpeek(room.roomId)).toMatchObject({ status: 200 });
    await vi.waitFor(() => expect(bad.asked('DELETE', room.roomId)).toHaveLength(1), WAIT);
    const before = await house.log(room.roomId);
    expect(await house.relay(bad, [room.message('late')])).toMatchObject({ status: 200 });
    await house.neighbourGoesOn();
    expect(await house.log(room.roomId)).toEqual(before);
  });

  test('sends events of rooms that are peeked through another ⇒ they are not taken from it', async () => {
    await peekedRoom();
    const stolen = house.goodRoom.make({
      type: 'm.room.message',
      content: { body: 'from the wrong server' },
    });
    expect(await house.relay(bad, [stolen])).toMatchObject({ status: 200 });
    expect(await house.log(house.goodRoom.roomId)).not.toContain('from the wrong server');
    await house.neighbourGoesOn();
  });

  test('answers renewals with garbage ⇒ the peek goes on with bounds of ours', async () => {
    const room = await peekedRoom();
    for (const said of [
      { renewal_interval: -1 },
      { renewal_interval: 1e308 },
      {},
      new Reply(429, { retry_after_ms: 1e300 }),
    ]) {
      bad.on('POST', `/peek/${room.roomId}/`, said);
      const [peek] = await house.store.outboundPeeks.ofRoom(room.roomId);
      house.clock.jump(Math.max(0, (peek?.renewAt ?? 0) - house.clock.now()));
      await house.context.outbound.sweep(house.clock.now());
      const [now] = await house.store.outboundPeeks.ofRoom(room.roomId);
      expect(now?.phase).toBe('live');
      const due = (now?.renewAt ?? 0) - house.clock.now();
      expect(due).toBeGreaterThanOrEqual(45_000);
      expect(due).toBeLessThanOrEqual(3_600_000);
    }
    await house.neighbourGoesOn();
  });
});
