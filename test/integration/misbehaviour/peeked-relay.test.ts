import { createHash } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import type { Json, JsonObject } from '../../../src/matrix/json.ts';
import { longestTask } from '../../support/longest-task.ts';
import { type BuiltEvent, RoomBuilder } from '../../support/room-builder.ts';
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

/** A room of the misbehaving server that alice peeks. */
async function peekedRoom(): Promise<RoomBuilder> {
  const room = bad.lend(new RoomBuilder('10', bad.serverName, `room${++rooms}`));
  expect(await house.alice.peek(room.roomId, [bad.serverName])).toMatchObject({ status: 200 });
  return room;
}

const missing = (room: RoomBuilder, script: Script) =>
  bad.on('POST', `/get_missing_events/${room.roomId}`, script);

const pdusOf = (events: readonly BuiltEvent[]) => events.map(({ pdu }) => pdu);

/** The ID of an event that nobody has. */
const unknownId = (i: number) => `$${createHash('sha256').update(`unknown ${i}`).digest('base64url')}`;

/** The messages of the log, oldest first. */
async function messages(room: RoomBuilder): Promise<unknown[]> {
  return (await house.log(room.roomId)).filter((body) => !String(body).startsWith('m.room.'));
}

const needsCatchUp = async (room: RoomBuilder) => (await house.store.logs.get(room.roomId))?.needsCatchUp;

/** What a sweep does for a room that lacks something, time moved on so that it is due. */
async function sweep(): Promise<void> {
  await house.clock.advance(61_000);
  await house.context.outbound.sweep(house.clock.now());
}

describe('asked for what is missing, the peeked server', () => {
  test('goes on without end, each event naming another that nobody has ⇒ asked a few times, the event is shown, the room catches up', async () => {
    const room = await peekedRoom();
    let made = 0;
    const endless = () =>
      room.make({
        type: 'm.room.message',
        content: { body: `endless ${++made}` },
        prev: [unknownId(made)],
      });
    missing(room, () => ({ events: [endless().pdu] }));
    const before = bad.calls.length;
    expect(await house.relay(bad, [endless()])).toMatchObject({ status: 200 });
    expect(bad.calls.length - before).toBeLessThan(30);
    expect(await messages(room)).toContain('endless 1');
    expect(await needsCatchUp(room)).toBe(true);
    await house.neighbourGoesOn();
    await sweep();
    expect(await needsCatchUp(room)).toBe(false);
    await house.neighbourGoesOn();
  });

  test('answers 35 events where 20 were asked, or fewer in the wrong order ⇒ what is taken is in order, once', async () => {
    const room = await peekedRoom();
    const events = room.messages(36);
    missing(room, { events: pdusOf(events.slice(0, -1)).toReversed() });
    expect(await house.relay(bad, events.slice(-1))).toMatchObject({ status: 200 });
    const held = await messages(room);
    expect(held.at(-1)).toBe('message 35');
    expect(new Set(held).size).toBe(held.length);
    expect(held).toEqual(events.slice(36 - held.length).map((_, i) => `message ${36 - held.length + i}`));
  });

  test('answers 1 500 events ⇒ no more are taken than a few times what was asked', async () => {
    const room = await peekedRoom();
    const events = room.messages(1500);
    missing(room, { events: pdusOf(events.slice(0, -1)) });
    const longest = await longestTask(() => house.relay(bad, events.slice(-1)));
    expect(longest).toBeLessThan(LONGEST_TASK_MS);
    const held = await messages(room);
    expect(held.at(-1)).toBe('message 1499');
    expect(held.length).toBeLessThan(100);
    await house.neighbourGoesOn();
  });

  test('answers an event nested 5 000 deep among the good ones ⇒ it alone is left out', async () => {
    const room = await peekedRoom();
    const [first, last] = room.messages(2) as [BuiltEvent, BuiltEvent];
    const deep = `{"room_id":"${room.roomId}","content":${'['.repeat(5000)}${']'.repeat(5000)}}`;
    missing(room, Buffer.from(`{"events":[${deep},${JSON.stringify(first.pdu)}]}`));
    expect(await house.relay(bad, [last])).toMatchObject({ status: 200 });
    expect((await messages(room)).slice(-2)).toEqual(['message 0', 'message 1']);
    expect(await needsCatchUp(room)).toBe(false);
  });

  test('answers events of other rooms, forged ones and what are none ⇒ each is dropped, the good one is taken', async () => {
    const room = await peekedRoom();
    const [first, last] = room.messages(2) as [BuiltEvent, BuiltEvent];
    const other = new RoomBuilder('10', bad.serverName, 'elsewhere');
    const events = [
      other.message('of another room').pdu,
      { ...first.pdu, room_id: house.goodRoom.roomId },
      { ...room.make({ type: 'm.room.message', content: { body: 'forged' } }).pdu, signatures: {} },
      room.make({ type: 'm.room.message', content: { body: 'as alice' }, sender: '@alice:here.test' }).pdu,
      null,
      [],
      'x',
      first.pdu,
    ] as Json[];
    missing(room, { events });
    expect(await house.relay(bad, [last])).toMatchObject({ status: 200 });
    const held = await messages(room);
    expect(held).toContain('message 0');
    expect(held.at(-1)).toBe('message 1');
    for (const body of ['of another room', 'forged']) expect(held).not.toContain(body);
    expect(JSON.stringify(await house.log(house.goodRoom.roomId))).not.toContain('message 0');
    const dropped = house
      .said(bad)
      .filter((line) => line.room === room.roomId && line.msg.includes('dropped'));
    expect(dropped.length).toBeGreaterThanOrEqual(5);
    await house.neighbourGoesOn();
  });

  test.each<[string, Script]>([
    ['withholds them', { events: [] }],
    ['refuses', new Reply(403, { errcode: 'M_FORBIDDEN' })],
    ['answers garbage', Buffer.from('{"events":')],
    ['answers a wrong type', { events: { a: 1 } }],
    ['closes', ({ res }) => void res.destroy()],
    ['answers 40 MiB', Buffer.alloc(40 * 1024 * 1024, ' ')],
    ['answers 800 000 empty arrays', Buffer.from(`{"events":[[${'[],'.repeat(800_000)}[]]]}`)],
  ])('%s ⇒ an honest gap, read anew by the next sweep', async (_, script) => {
    const room = await peekedRoom();
    const [, last] = room.messages(2) as [BuiltEvent, BuiltEvent];
    missing(room, script);
    const longest = await longestTask(async () => {
      expect(await house.relay(bad, [last])).toMatchObject({ status: 200 });
    });
    expect(longest).toBeLessThan(LONGEST_TASK_MS);
    expect((await messages(room)).at(-1)).toBe('message 1');
    expect(await needsCatchUp(room)).toBe(true);
    await house.neighbourGoesOn();
    const asked = bad.asked('PUT', room.roomId).length;
    await sweep();
    expect(bad.asked('PUT', room.roomId).length).toBeGreaterThan(asked);
    expect(await needsCatchUp(room)).toBe(false);
  });

  test('never answers ⇒ the event is shown all the same, in its time; the neighbour goes on meanwhile', async () => {
    const room = await peekedRoom();
    const [, last] = room.messages(2) as [BuiltEvent, BuiltEvent];
    missing(room, () => new Promise(() => {}));
    const answer = house.relay(bad, [last]);
    await vi.waitFor(() => expect(bad.asked('POST', room.roomId)).toHaveLength(1), WAIT);
    await house.neighbourGoesOn();
    await house.clock.advance(60_000);
    expect(await answer).toMatchObject({ status: 200 });
    expect((await messages(room)).at(-1)).toBe('message 1');
  });
});

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
