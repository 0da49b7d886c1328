import { createHash } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import type { Json } from '../../../src/matrix/json.ts';
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

const peekedRoom = () => house.peekedRoom(bad, `room${++rooms}`);
const messages = (room: RoomBuilder) => house.messages(room);

const missing = (room: RoomBuilder, script: Script) =>
  bad.on('POST', `/get_missing_events/${room.roomId}`, script);

const pdusOf = (events: readonly BuiltEvent[]) => events.map(({ pdu }) => pdu);

/** The ID of an event that nobody has. */
const unknownId = (i: number) => `$${createHash('sha256').update(`unknown ${i}`).digest('base64url')}`;

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
