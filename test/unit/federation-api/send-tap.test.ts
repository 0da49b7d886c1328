import { beforeEach, describe, expect, test } from 'vitest';
import { HomeserverDown } from '../../../src/homeserver/homeserver.ts';
import type { JsonObject } from '../../../src/matrix/json.ts';
import { StoreDownError } from '../../../src/store/store.ts';
import { ALICE, HOUR, PEER, type PeekingHouse } from '../../support/peeking-house.ts';
import { RoomBuilder } from '../../support/room-builder.ts';
import { type Forwarded, type SendOptions, TapHouse, transaction } from './tap-house.ts';

let tap: TapHouse;
let house: PeekingHouse;
let room: RoomBuilder;
let forwarded: Forwarded[];

beforeEach(async () => {
  tap = await TapHouse.open();
  ({ house, room, forwarded } = tap);
});

const send = (content: JsonObject, server?: string, options?: SendOptions) =>
  tap.send(content, server, options);
const newest = async () =>
  (await house.store.logs.readLast(room.roomId, Number.MAX_SAFE_INTEGER, 1))[0]?.eventId;

describe('a transaction that is nothing but the relay of a peeked room', () => {
  test('is answered here, without the homeserver, when it is stored', async () => {
    const events = [room.message('one'), room.message('two')];
    const answer = await send(transaction(events.map(({ pdu }) => pdu)));
    expect(answer).toEqual({
      status: 200,
      body: { pdus: Object.fromEntries(events.map(({ eventId }) => [eventId, {}])) },
    });
    expect(await newest()).toBe(events[1]?.eventId);
    expect(forwarded).toEqual([]);
  });

  test('with an empty list of EDUs too', async () => {
    await send(transaction([room.message('one').pdu], { edus: [] }));
    expect(forwarded).toEqual([]);
  });

  test('with PDUs whose room cannot be told: they are dropped, the rest is taken', async () => {
    const event = room.message('one');
    const odd = [null, 7, 'event', [], {}, { room_id: 5 }, { type: 'm.room.create', state_key: '' }];
    expect(await send(transaction([...odd, event.pdu]))).toMatchObject({ status: 200 });
    expect(await newest()).toBe(event.eventId);
    expect(forwarded).toEqual([]);
  });

  test('or of expired_peeks alone: answered, and the peek is put again', async () => {
    const peek = await house.outboundPeek(room.roomId);
    const expired = [{ room_id: room.roomId, peek_id: peek?.peekId ?? '' }, 'odd', { room_id: 1 }];
    expect(await send(transaction([], { expired_peeks: expired }))).toEqual({
      status: 200,
      body: { pdus: {} },
    });
    await house.settle();
    expect(house.remote.sent('PUT')).toHaveLength(2);
    expect(forwarded).toEqual([]);
  });

  test('of expired_peeks with the store down: answered, and the process goes on', async () => {
    const peek = await house.outboundPeek(room.roomId);
    house.store.outboundPeeks.ofRoom = () => Promise.reject(new StoreDownError('down'));
    const expired = Array(500).fill({ room_id: room.roomId, peek_id: peek?.peekId ?? '' });
    expect(await send(transaction([], { expired_peeks: expired }))).toMatchObject({ status: 200 });
    await house.settle();
    expect(house.remote.sent('PUT')).toHaveLength(1);
  });

  test('PDUs for rooms no longer peeked: 200', async () => {
    const other = house.remoteRoom(new RoomBuilder('10', PEER, 'other'));
    await house.peek(other.roomId);
    const closing = room.state('m.room.history_visibility', '', { history_visibility: 'joined' });
    await house.ingest(room, [closing]);
    expect(await send(transaction([room.message('late').pdu]))).toMatchObject({ status: 200 });
  });

  test('the store is down ⇒ no 200: the sender sends it again', async () => {
    house.store.logs.append = () => Promise.reject(new StoreDownError('down'));
    const answer = await send(transaction([room.message('one').pdu]));
    expect(answer.status).toBe(503);
    expect(answer.body).toMatchObject({ errcode: 'M_UNKNOWN' });
    expect(forwarded).toEqual([]);
  });

  test('one bad event never fails it', async () => {
    const good = room.message('good');
    const answer = await send(transaction([{ room_id: room.roomId, type: 'm.x' }, good.pdu]));
    expect(answer).toEqual({ status: 200, body: { pdus: { [good.eventId]: {} } } });
  });

  test('is noted as word of the peeked server', async () => {
    await house.settle(HOUR);
    await send(transaction([room.message('one').pdu]));
    expect((await house.outboundPeek(room.roomId))?.heardAt).toBe(house.clock.now());
  });
});

describe('forwarded byte for byte, and read on the side, when', () => {
  const message = () => room.message('hello').pdu;
  test.each<[string, () => JsonObject | Promise<JsonObject>]>([
    ['it has EDUs', () => transaction([message()], { edus: [{ edu_type: 'm.typing' }] })],
    [
      'a PDU is of a room that is not peeked',
      () => transaction([message(), new RoomBuilder('10', PEER, 'other').message('x').pdu]),
    ],
    [
      'it rescinds the invite of a local user, which the homeserver acts on in any room',
      () =>
        transaction([message(), room.state('m.room.member', '@x:here.test', { membership: 'leave' }).pdu]),
    ],
    [
      'the homeserver is in the room',
      () => {
        house.resident(room);
        return transaction([message()]);
      },
    ],
    [
      'the homeserver is joining the room',
      () => {
        house.residency.joining(room.roomId);
        return transaction([message()]);
      },
    ],
    [
      'the homeserver holds the room in part: its join is not over',
      () => {
        house.homeserver.add(room).membership = 'partial';
        return transaction([message()]);
      },
    ],
    [
      'a PDU is of a room that is peeked through another server',
      async () => {
        const other = house.remoteRoom(new RoomBuilder('10', 'second.test', 'other'), 'second.test');
        await house.peek(other.roomId, ALICE, ['second.test']);
        return transaction([message(), other.message('x').pdu]);
      },
    ],
    [
      'nobody can say whether the homeserver is in the room',
      () => {
        house.homeserver.failure = new HomeserverDown('down');
        return transaction([message()]);
      },
    ],
  ])('%s', async (_, make) => {
    const content = await make();
    const text = `${JSON.stringify(content, null, 1)}\n`;
    const answer = await send(content, PEER, { text });
    expect(answer.body).toEqual({ pdus: { by: 'homeserver' } });
    expect(forwarded.map(({ body }) => body)).toEqual([text]);
    await house.settle();
    const held = await house.store.logs.readLast(room.roomId, Number.MAX_SAFE_INTEGER, 10);
    expect(held.some(({ json }) => json.includes('hello'))).toBe(true);
  });

  test('it is of nothing: no PDU of a known room, no expired_peeks', async () => {
    for (const content of [transaction([]), transaction([null, {}])]) await send(content);
    expect(forwarded).toHaveLength(2);
  });

  test.each([
    ['51 PDUs, 101 EDUs', () => transaction(Array(51).fill(message()), { edus: Array(101).fill({}) })],
    ['51 PDUs', () => transaction(Array(51).fill(message()))],
    ['101 EDUs', () => transaction([message()], { edus: Array(101).fill({}) })],
    ['edus that are no list', () => transaction([message()], { edus: {} })],
    ['pdus that are no list', () => ({ ...transaction([]), pdus: {} })],
    ['expired_peeks that are no list', () => transaction([message()], { expired_peeks: 'x' })],
  ])('it is none that we know: %s', async (_, make) => {
    const before = await newest();
    await send(make());
    expect(forwarded).toHaveLength(1);
    expect(await newest()).toBe(before);
  });

  test('a join that has failed ends it: the next one is answered here again', async () => {
    const join = house.residency.joining(room.roomId);
    await send(transaction([message()]));
    join.failed();
    await send(transaction([message()]));
    expect(forwarded).toHaveLength(1);
  });

  test('the side reading fails ⇒ the homeserver’s answer stands, the room is marked for catch-up', async () => {
    const { append } = house.store.logs;
    house.store.logs.append = () => Promise.reject(new StoreDownError('down'));
    const answer = await send(transaction([message()], { edus: [{}] }));
    expect(answer).toEqual({ status: 200, body: { pdus: { by: 'homeserver' } } });
    await house.settle();
    house.store.logs.append = append;
    expect((await house.log(room.roomId)).needsCatchUp).toBe(true);
  });
});

describe('what is not authenticated is the homeserver’s to judge', () => {
  test.each<[string, () => Promise<unknown>]>([
    ['a bad signature', () => send(transaction([room.message('x').pdu]), PEER, { signedAs: 'evil.test' })],
    [
      'a body changed after signing',
      () => send(transaction([]), PEER, { text: JSON.stringify(transaction([room.message('x').pdu])) }),
    ],
    ['a body that is no JSON', () => send(transaction([]), PEER, { text: '{"pdus":[' })],
    [
      'a body of many small values, which is not parsed',
      () => send(transaction([room.message('x').pdu], { edus: Array(50_000).fill({}) })),
    ],
    ['a body nested 5 000 deep', () => send(transaction([]), PEER, { text: '['.repeat(5000) })],
    [
      'no header',
      () => fetch(`${tap.origin}/_matrix/federation/v1/send/t`, { method: 'PUT', body: '{"pdus":[]}' }),
    ],
    ['a server that we do not peek through', () => send(transaction([room.message('x').pdu]), 'evil.test')],
  ])('%s', async (_, work) => {
    const before = await newest();
    await work();
    expect(forwarded).toHaveLength(1);
    await house.settle();
    expect(await newest()).toBe(before);
  });
});

test('after the last peek through a server its transactions are not looked at', async () => {
  await house.peeking.unpeek(ALICE, room.roomId);
  await send(transaction([room.message('x').pdu]));
  expect(forwarded).toHaveLength(1);
});
