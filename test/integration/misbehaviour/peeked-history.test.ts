import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { JsonObject } from '../../../src/matrix/json.ts';
import { enc, type Json } from '../../support/client.ts';
import { longestTask } from '../../support/longest-task.ts';
import { type BuiltEvent, RoomBuilder } from '../../support/room-builder.ts';
import { Reply, type Script, type ScriptedServer } from '../../support/scripted-server.ts';
import { endings, House, LONGEST_TASK_MS, scriptedServer } from './house.ts';

let house: House;
let bad: ScriptedServer;
let rooms = 0;
const { ends, endAll } = endings();
beforeAll(async () => {
  house = await House.start({}, ends);
  bad = await scriptedServer(ends);
});
afterAll(endAll);

/** A room with a past, of which the log has the newest twenty events; its server tells of the past what `tells` gives. */
async function peekedRoom(make: (room: RoomBuilder) => void, version = '10'): Promise<RoomBuilder> {
  const room = new RoomBuilder(version, bad.serverName, `past${++rooms}`);
  make(room);
  bad.lend(room);
  expect(await house.alice.peek(room.roomId, [bad.serverName])).toMatchObject({ status: 200 });
  bad.on('GET', '/event/', new Reply(404, { errcode: 'M_NOT_FOUND' }));
  return room;
}

const backfill = (room: RoomBuilder, script: Script) => bad.on('GET', `/backfill/${room.roomId}`, script);
const pdusOf = (events: readonly BuiltEvent[]) => events.map(({ pdu }) => pdu);
const asked = (room: RoomBuilder) =>
  bad.calls.filter(({ path }) => path.includes(`/backfill/${room.roomId}`)).length;

async function page(room: RoomBuilder, from?: unknown) {
  const at = typeof from === 'string' ? `&from=${from}` : '';
  const path = `/v3/rooms/${enc(room.roomId)}/messages?dir=b&limit=100${at}`;
  const { status, body } = await house.alice.request('GET', path);
  const chunk = (body.chunk ?? []) as { content: Json; type: string }[];
  return { status, body, end: body.end, bodies: chunk.map(({ content, type }) => content.body ?? type) };
}

const NEWEST = 20;
const newest = (room: RoomBuilder) => room.events.slice(-NEWEST).map(bodyOf).reverse();
const bodyOf = ({ pdu }: BuiltEvent) => pdu.content.body ?? pdu.type;

describe('asked for the past of a room, the peeked server', () => {
  test.each<[string, (room: RoomBuilder) => Script]>([
    ['50 MB', () => Buffer.from(`{"pdus":["${'a'.repeat(50 * 1024 * 1024)}"]}`)],
    ['what is nested 100 000 deep', () => Buffer.from(`{"pdus":${'['.repeat(100_000)}`)],
    ['HTML', () => Buffer.from('<html>')],
    ['500', () => new Reply(500, {})],
    ['that we may not', () => new Reply(403, { errcode: 'M_FORBIDDEN' })],
  ])('answers %s ⇒ what is here with a token to come again, then 502', async (_, script) => {
    const room = await peekedRoom((made) => made.messages(60));
    backfill(room, script(room));
    let end: unknown;
    const longest = await longestTask(async () => {
      const first = await page(room);
      expect(first).toMatchObject({ status: 200, bodies: newest(room), end: expect.any(String) });
      end = first.end;
      expect(await page(room, end)).toMatchObject({ status: 502, body: { errcode: 'M_UNKNOWN' } });
    });
    expect(longest).toBeLessThan(LONGEST_TASK_MS);
    backfill(room, { pdus: pdusOf(room.events).reverse() });
    await house.clock.advance(3_600_000);
    expect((await page(room, end)).bodies).toHaveLength(room.events.length - NEWEST);
    await house.neighbourGoesOn();
  });

  test.each<[string, (room: RoomBuilder) => JsonObject[]]>([
    ['events of another room', () => pdusOf(new RoomBuilder('10', bad.serverName, 'other').messages(5))],
    ['what are no events', () => [1, null, 'x', [], {}, { __proto__: 1 }] as never],
    ['nothing', () => []],
    ['the newest page again and again', (room) => pdusOf(room.events.slice(-NEWEST)).reverse()],
  ])('answers %s ⇒ the history ends, after few questions', async (_, pdus) => {
    const room = await peekedRoom((made) => made.messages(60));
    backfill(room, { pdus: pdus(room) });
    const told = await page(room);
    expect(told).toMatchObject({ status: 200, bodies: newest(room) });
    expect(told.end).toBeUndefined();
    expect(asked(room)).toBeLessThan(3);
  });

  test('changes the content of events ⇒ they are shown without it, as their hashes have it', async () => {
    const room = await peekedRoom((made) => made.messages(60));
    backfill(room, {
      pdus: pdusOf(room.events)
        .reverse()
        .map((pdu) => ({ ...pdu, content: { body: 'forged' } })),
    });
    const { bodies } = await page(room);
    expect(bodies).not.toContain('forged');
    expect(bodies.slice(NEWEST)).toContain('m.room.message');
  });

  test('breaks the signature of an event ⇒ that one is left out, the history goes on before it', async () => {
    const room = await peekedRoom((made) => made.messages(60));
    const broken = room.events[30] as BuiltEvent;
    const signatures = { [bad.serverName]: { 'ed25519:test': 'A'.repeat(86) } };
    const pdus = room.events.map(({ pdu }) => (pdu === broken.pdu ? { ...pdu, signatures } : pdu));
    backfill(room, { pdus: pdus.reverse() });
    const { bodies } = await page(room);
    expect(bodies).not.toContain(bodyOf(broken));
    expect(bodies).toHaveLength(room.events.length - 1);
  });

  test('tells of what its auth events do not allow ⇒ it is left out, the history goes on before it', async () => {
    const room = await peekedRoom((made) => {
      made.messages(20);
      made.add({
        type: 'm.room.message',
        content: { body: 'from nowhere' },
        sender: `@no:${bad.serverName}`,
      });
      made.messages(40);
    });
    backfill(room, { pdus: pdusOf(room.events).reverse() });
    bad.on('GET', `/event_auth/${room.roomId}`, { auth_chain: [] });
    const { bodies } = await page(room);
    expect(bodies).not.toContain('from nowhere');
    expect(bodies).toHaveLength(room.events.length - 1);
  });

  test('events that name each other in a circle ⇒ each once, and an end', async () => {
    const room = await peekedRoom((made) => {
      const first = made.make({ type: 'm.room.message', content: { body: 'first' }, depth: 6 });
      const second = made.add({
        type: 'm.room.message',
        content: { body: 'second' },
        prev: [first.eventId],
        depth: 7,
      });
      made.add({
        type: 'm.room.message',
        content: { body: 'first' },
        prev: [second.eventId],
        depth: 6,
        more: { event_id: first.eventId },
      });
      made.add({ type: 'm.room.message', content: { body: 'third' }, prev: [second.eventId], depth: 8 });
      made.messages(30);
    }, '1');
    backfill(room, { pdus: pdusOf(room.events).reverse() });
    const told = await page(room);
    expect(told.bodies.filter((body) => ['first', 'second', 'third'].includes(String(body)))).toEqual([
      'third',
      'second',
      'first',
    ]);
    expect(told.end).toBeUndefined();
  });

  test('lies of depths ⇒ what is deeper than what follows it is not gone into', async () => {
    const room = await peekedRoom((made) => {
      made.messages(10);
      made.add({ type: 'm.room.message', content: { body: 'too deep' }, depth: 2 ** 50 });
      made.add({ type: 'm.room.message', content: { body: 'after' }, depth: 20 });
      made.messages(40);
    });
    backfill(room, { pdus: pdusOf(room.events).reverse() });
    const told = await page(room);
    expect(told.bodies).toContain('after');
    expect(told.bodies).not.toContain('too deep');
    expect(told.end).toBeUndefined();
  });

  test('goes on without end, one event at a time ⇒ pages with tokens, a dozen questions for each', async () => {
    const room = await peekedRoom((made) => made.messages(60));
    backfill(room, ({ target }) => {
      const wanted = new URL(target, 'https://x.test').searchParams.get('v');
      return { pdus: pdusOf(room.events.filter(({ eventId }) => eventId === wanted)) };
    });
    const first = await page(room);
    expect(first).toMatchObject({ status: 200, end: expect.any(String) });
    expect(first.bodies).toEqual(
      room.events
        .slice(-NEWEST - 12)
        .map(bodyOf)
        .reverse(),
    );
    expect(asked(room)).toBe(12);
    const second = await page(room, first.end);
    expect(second.bodies).toHaveLength(12);
    expect(asked(room)).toBe(24);
  });

  test('drips, a byte now and then ⇒ within fifteen seconds 200 with what is here, others are not delayed', async () => {
    const room = await peekedRoom((made) => made.messages(60));
    backfill(room, ({ res }) => {
      res.writeHead(200, { 'content-type': 'application/json' });
      res.write('{"pdus":[');
      return undefined;
    });
    const answer = page(room);
    for (let i = 0; i < 4; i++) {
      await house.neighbourGoesOn();
      await house.clock.advance(5_000);
    }
    expect(await answer).toMatchObject({ status: 200, bodies: newest(room), end: expect.any(String) });
  });
});
