import { beforeEach, describe, expect, test } from 'vitest';
import { StoreDownError } from '../../../src/store/store.ts';
import { ALICE } from '../../support/peeking-house.ts';
import { PASSED, ReadHouse } from '../../support/read-house.ts';
import { RoomBuilder } from '../../support/room-builder.ts';

const BOB = { userId: '@bob:here.test', deviceId: 'LAPTOP', isGuest: false };
const RECEIPTS = [
  'receipt/m.read/$e',
  'receipt/m.read.private/%24e',
  'receipt/m.fully_read/$e',
  'read_markers',
];

let house: ReadHouse;

beforeEach(async () => {
  house = await ReadHouse.open(() => new Map());
  house.house.homeserver.identities.set('Bearer bob', BOB);
});

async function remote(): Promise<string> {
  return (await house.peeked()).roomId;
}

async function resident(): Promise<string> {
  const room = house.house.resident(new RoomBuilder('10', 'here.test', 'own'));
  await house.house.peek(room.roomId);
  return room.roomId;
}

function post(roomId: string, what: string, body = '{}', token = 'alice') {
  return house.request('POST', `/_matrix/client/v3/rooms/${encodeURIComponent(roomId)}/${what}`, token, body);
}

describe.each([
  ['remote', remote],
  ['resident', resident],
])('in a %s room', (_kind, peeked) => {
  test.each(RECEIPTS)('a peeker’s %s is answered 200 {} and goes nowhere', async (what) => {
    const got = await post(await peeked(), what, '{"m.fully_read":"$e","m.read":"$e"}');
    expect(got).toMatchObject({ status: 200, text: '{}' });
    expect(got.headers.get('access-control-allow-origin')).toBe('*');
    expect(house.passed).toEqual([]);
  });

  test.each(RECEIPTS)('a member’s %s goes to the homeserver', async (what) => {
    const roomId = await peeked();
    expect((await post(roomId, what, '{}', 'bob')).body).toEqual(PASSED);
    // Alice has joined, and her peek does not know it yet.
    house.house.residency.joining(roomId);
    house.house.homeserver.joined.set('Bearer alice', [roomId]);
    expect((await post(roomId, what)).body).toEqual(PASSED);
  });

  test.each([
    ['receipt/m.unknown/$e', '{}'],
    ['receipt/m.read/e', '{}'],
    ['receipt/m.read/$e/x', '{}'],
    ['receipt/m.read', '{}'],
    ['read_markers/x', '{}'],
    ['send/m.read/$e', '{}'],
  ])('what is no receipt is passed on: %s', async (what, body) => {
    expect((await post(await peeked(), what, body)).body).toEqual(PASSED);
  });

  test.each(['', '[]', '{"a":', `{"a":"${'x'.repeat(70_000)}"}`])(
    'a body that the homeserver would refuse goes to it: %.9s',
    async (body) => {
      const roomId = await peeked();
      expect((await post(roomId, 'read_markers', body)).status).toBe(400);
      const [passed = ''] = house.passed;
      expect(body.startsWith(passed.slice(passed.indexOf('read_markers ') + 13))).toBe(true);
    },
  );

  test('after the peek has ended the homeserver gets it', async () => {
    const roomId = await peeked();
    await house.house.peeking.unpeek(ALICE, roomId);
    expect((await post(roomId, 'read_markers')).body).toEqual(PASSED);
  });

  test('when the store is down the homeserver gets it', async () => {
    const roomId = await peeked();
    house.house.store.devicePeeks.ofDevice = () => Promise.reject(new StoreDownError('gone'));
    expect((await post(roomId, 'read_markers')).body).toEqual(PASSED);
  });
});

test('when the homeserver does not say who is in the room, it gets the receipt', async () => {
  const roomId = await resident();
  house.house.homeserver.joinedRooms = () => Promise.reject(new Error('slow'));
  expect((await post(roomId, 'receipt/m.read/$e')).body).toEqual(PASSED);
});

test('where nobody peeks nobody is asked', async () => {
  expect((await post('!a:here.test', 'read_markers')).body).toEqual(PASSED);
  expect(house.house.homeserver.calls).toEqual([]);
});
