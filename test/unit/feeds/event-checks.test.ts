import { describe, expect, test } from 'vitest';
import { canonicalJson } from '../../../src/matrix/canonical-json.ts';
import type { Json, JsonObject } from '../../../src/matrix/json.ts';
import { checkJson } from '../../../src/matrix/json-scan.ts';
import { PEER } from '../../support/peeking-house.ts';
import { RoomBuilder } from '../../support/room-builder.ts';
import { changed, peeked, references } from './peeked-room.ts';

const message = (body: string) => ({ type: 'm.room.message', content: { body } });

/** What each of these costs is itself: the event after it is taken. */
async function costsItself(bad: (room: RoomBuilder) => Json, version = '10'): Promise<void> {
  const { house, room, since } = await peeked(version);
  const event = bad(room);
  await house.remoteFeed.ingest(room.roomId, PEER, [event, room.message('good').pdu]);
  expect(await since()).toEqual(['good']);
}

describe('an event of a transaction', () => {
  test.each(['1', '10', '12'])(
    "missing signature of sender's server ⇒ costs that event (version %s)",
    (version) => costsItself((room) => ({ ...room.make(message('bad')).pdu, signatures: {} }), version),
  );

  test.each<[string, string, (room: RoomBuilder) => Json]>([
    ['no event_id', '1', (room) => without(room.make(message('bad')).pdu, 'event_id')],
    [
      'an event_id that is none',
      '2',
      (room) => changed(room, room.make(message('bad')), { event_id: 'bad' }),
    ],
    [
      'an event_id of another server, which has not signed it',
      '1',
      (room) => changed(room, room.make(message('bad')), { event_id: '$bad:evil.test' }),
    ],
    [
      'prev_events as of version 3',
      '1',
      (room) => changed(room, room.make(message('bad')), { prev_events: [`$${'a'.repeat(43)}`] }),
    ],
    [
      'prev_events as of version 1',
      '4',
      (room) => changed(room, room.make(message('bad')), { prev_events: [['$a:there.test', {}]] }),
    ],
    [
      'auth_events with the base64 of version 3',
      '4',
      (room) => changed(room, room.make(message('bad')), { auth_events: [`$${'+'.repeat(43)}`] }),
    ],
  ])('event ID wrong for version: %s (version %s) ⇒ costs that event', (_, version, bad) =>
    costsItself(bad, version),
  );

  test('an event_id where the version has none is not believed: its ID is its hash', async () => {
    const { room, send, entries } = await peeked('10');
    const event = room.message('named');
    const named = changed(room, event, { event_id: '$other:there.test' });
    const [outcome] = await send({ pdu: named });
    expect(outcome?.eventId).not.toBe('$other:there.test');
    expect((await entries()).map(({ eventId }) => eventId)).toEqual([outcome?.eventId]);
  });

  test.each<[string, Json]>([
    ['2⁶³', 2 ** 63],
    ['−2⁶³', -(2 ** 63)],
    ['−1', -1],
    ['a string', '12'],
    ['missing', null],
    ['beyond what is an exact integer, where the version allows none', 2 ** 62],
  ])('depth ±2⁶³, −1, string ⇒ costs that event: %s', (_, depth) =>
    costsItself((room) => ({ ...room.make(message('bad')).pdu, depth })),
  );

  test('`origin_server_ts` in year 10 000 ⇒ taken like any other, where its key was valid for ever', async () => {
    const { room, send, since } = await peeked();
    await send({ pdu: changed(room, room.make(message('late')), { origin_server_ts: 253_402_300_800_000 }) });
    expect(await since()).toEqual(['late']);
  });

  test.each([
    ['65 536 bytes ⇒ taken', 65_536, ['sized', 'good']],
    ['65 537 bytes ⇒ costs that event', 65_537, ['good']],
  ] as const)('65 536 / 65 537 bytes: %s', async (_, bytes, expected) => {
    const { room, send, since } = await peeked();
    const sized = (padding: number) =>
      changed(room, room.make(message('sized')), { content: { body: 'sized', x: 'x'.repeat(padding) } });
    const padding = bytes - Buffer.byteLength(canonicalJson(sized(0)));
    await send({ pdu: sized(padding) }, room.message('good'));
    expect(await since()).toEqual(expected);
  });

  test('nesting of 100 levels and more ⇒ costs that event; deeper ones never reach the feed', async () => {
    let deep: Json = 'x';
    for (let i = 0; i < 200; i++) deep = [deep];
    await costsItself((room) => ({ ...room.make(message('bad')).pdu, content: { deep } }));
    expect(() => checkJson(Buffer.from(`${'['.repeat(5_000)}${']'.repeat(5_000)}`))).toThrow();
  });

  test.each<[string, Json]>([
    ['a float', 1.5],
    ['2⁵³', 2 ** 53],
  ])('numbers: %s ⇒ costs that event from version 6 on, and is taken before', async (_, number) => {
    await costsItself((room) => ({ ...room.make(message('bad')).pdu, content: { number } }));
    const { room, send, entries } = await peeked('5');
    await send({ pdu: { ...room.make(message('old')).pdu, content: { number } } });
    expect(await entries()).toHaveLength(1);
  });

  test('duplicate keys ⇒ the last one counts: what was signed is what is shown', async () => {
    const { house, room, entries } = await peeked();
    const text = JSON.stringify(room.message('signed').pdu);
    const twice = `{"content":{"body":"first"},${text.slice(1)}`;
    await house.remoteFeed.ingest(room.roomId, PEER, [JSON.parse(twice) as JsonObject]);
    expect(JSON.stringify(await entries())).toContain('signed');
    expect(JSON.stringify(await entries())).not.toContain('first');
  });

  test.each(['__proto__', 'constructor', 'toJSON', 'hasOwnProperty'])(
    '`__proto__`, `constructor`, `toJSON`, `hasOwnProperty` as room ID and user ID ⇒ costs that event, or is a name: %s',
    async (name) => {
      await costsItself((room) => changed(room, room.make(message('bad')), { room_id: name }));
      await costsItself((room) => ({ ...room.make(message('bad')).pdu, sender: name }));
      const user = `@${name}:there.test`;
      const { house, room, send, since } = await peeked();
      await send(room.member(user, 'join'), room.message('hello', user));
      expect(await since()).toEqual(['member', 'hello']);
      const [held] = await house.store.replicas.stateOf(room.roomId, [['m.room.member', user]]);
      expect(held?.stateKey).toBe(user);
      const other = `!${name}:there.test`;
      expect(await house.remoteFeed.ingest(other, PEER, [room.latest.pdu])).toEqual([]);
    },
  );

  test('v12 create has no room_id: another create event, or one that has, costs itself', async () => {
    for (const more of [{}, { room_id: '!x:there.test' }]) {
      await costsItself((room) => {
        const create = new RoomBuilder('12', PEER, 'other').stateEvent('m.room.create');
        return changed(room, create, { ...more, prev_events: references(room) });
      }, '12');
    }
  });

  test('unknown room version ⇒ nothing of the room is taken', async () => {
    const { house, room } = await peeked();
    const get = house.store.logs.get.bind(house.store.logs);
    house.store.logs.get = async (roomId) => {
      const log = await get(roomId);
      return log === null ? null : { ...log, roomVersion: 'org.example.99' };
    };
    expect(await house.ingest(room, [room.message('x')])).toEqual([]);
  });
});

function without(pdu: JsonObject, name: string): JsonObject {
  const { [name]: _, ...rest } = pdu;
  return rest;
}
