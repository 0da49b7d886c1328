import { expect, test } from 'vitest';
import type { JsonObject } from '../../../src/matrix/json.ts';
import { type EventRejected, verifyEvent } from '../../../src/rooms/verify-event.ts';
import { PEER } from '../../support/peeking-house.ts';
import { RoomBuilder, signedEvent, TestKeyRing } from '../../support/room-builder.ts';

/** What is said of the event, and how many keys were asked for. */
async function judged(pdu: JsonObject, room: RoomBuilder) {
  const keys = new TestKeyRing();
  const reason = await verifyEvent(pdu, room, keys).then(
    ({ redacted }) => (redacted ? 'redacted' : 'accepted'),
    (error: EventRejected) => error.reason,
  );
  return { reason, keys: keys.asked };
}

const room = new RoomBuilder('10');
const { pdu } = room.message('x');
const elsewhere = { room_id: '!elsewhere:there.test' };

test('size and shape come first: nothing else is looked at, no key is asked for', async () => {
  const tooLarge = { ...pdu, content: { body: 'x'.repeat(65_536) }, signatures: {}, ...elsewhere };
  expect(await judged(tooLarge, room)).toEqual({ reason: 'shape', keys: 0 });
  expect(await judged({ ...pdu, depth: -1, ...elsewhere }, room)).toEqual({ reason: 'shape', keys: 0 });
});

test('then the room, and of a version 12 create event its hash: no key is asked for', async () => {
  expect(await judged({ ...pdu, ...elsewhere, signatures: {} }, room)).toEqual({ reason: 'room', keys: 0 });
  const [twelve, other] = [new RoomBuilder('12'), new RoomBuilder('12', PEER, 'other')];
  const create = other.stateEvent('m.room.create').pdu;
  expect(await judged(create, twelve)).toEqual({ reason: 'room', keys: 0 });
  expect(await judged(create, other)).toMatchObject({ reason: 'accepted' });
});

test('then the content hash: a wrong one redacts, and who has to sign is asked of what is left too', async () => {
  expect(await judged({ ...pdu, content: { body: 'changed' } }, room)).toMatchObject({ reason: 'redacted' });
  const content = { membership: 'invite', third_party_invite: { signed: {} } };
  const invite = room.make({ type: 'm.room.member', stateKey: '@x:here.test', content }).pdu;
  const forged = { ...invite, content: { ...content, displayname: 'changed' }, signatures: {} };
  expect(await judged(forged, room)).toMatchObject({ reason: 'signature' });
});

test('then the signatures, of every server that must sign', async () => {
  const unsigned = { ...pdu, signatures: {} };
  expect(await judged(unsigned, room)).toEqual({ reason: 'signature', keys: 0 });
  const { signatures: _, hashes: __, ...bare } = pdu;
  expect(await judged(signedEvent(bare, room.rules, 'evil.test'), room)).toMatchObject({
    reason: 'signature',
  });
  const join = { membership: 'join', join_authorised_via_users_server: '@host:third.test' };
  const restricted = room.make({ type: 'm.room.member', stateKey: room.creator, content: join });
  expect(await judged(restricted.pdu, room)).toMatchObject({ reason: 'signature' });
});
