import { describe, expect, test } from 'vitest';
import type { JsonObject } from '../../../src/matrix/json.ts';
import { requiredSigners } from '../../../src/matrix/pdu.ts';
import { type EventRejected, verifyEvent } from '../../../src/rooms/verify-event.ts';
import { RoomBuilder, signedEvent, TestKeyRing } from '../../support/room-builder.ts';

const accepted = (room: RoomBuilder, pdu: JsonObject, keys = new TestKeyRing()) =>
  verifyEvent(pdu, room, keys).then(
    () => 'accepted',
    ({ reason }: EventRejected) => reason,
  );

describe.each(['1', '3', '10', '12'])('an invite by third party (version %s)', (version) => {
  const room = new RoomBuilder(version);
  const content = { membership: 'invite', third_party_invite: { signed: { mxid: '@x:here.test' } } };
  const { pdu } = room.make({ type: 'm.room.member', stateKey: '@x:here.test', content });

  test('that its sender’s server has signed is taken', async () => {
    expect(await accepted(room, pdu)).toBe('accepted');
  });

  test('needs no other signature than that of the server that named it: authorization looks at the one inside', async () => {
    if (version !== '1') expect(requiredSigners(pdu, room.rules)).toEqual([]);
    const { signatures: _, ...bare } = pdu;
    const unsigned = version === '1' ? 'signature' : 'accepted';
    expect(await accepted(room, { ...bare, signatures: {} })).toBe(unsigned);
    expect(await accepted(room, signedEvent(bare, room.rules, 'evil.test'))).toBe(unsigned);
  });

  test('whose content hash is wrong needs its sender’s: redacted, it may be an invite like any other', async () => {
    const { signatures: _, ...bare } = pdu;
    const forged = { ...bare, content: { ...bare.content, displayname: 'x' }, signatures: {} };
    const keepsInvite = version === '12';
    expect(await accepted(room, forged)).toBe(keepsInvite ? 'accepted' : 'signature');
  });
});

test('an event of any other kind is taken with its sender’s server’s signature alone', async () => {
  const room = new RoomBuilder();
  const { pdu } = room.message('x');
  expect(await accepted(room, pdu)).toBe('accepted');
  const keys = new TestKeyRing();
  keys.unknown.add('there.test');
  expect(await accepted(room, pdu, keys)).toBe('signature');
});

/** Its keys were valid until 1970. */
class ExpiredKeyRing extends TestKeyRing {
  override async publicKey(server: string, keyId: string, at?: number): Promise<Uint8Array | null> {
    return at === 0 ? this.known(server, keyId) : null;
  }
}

test.each([
  ...['1', '2', '3', '4'].map((version) => [version, 'accepted']),
  ...['5', '6', '10', '11', '12'].map((version) => [version, 'signature']),
])('an event of room version %s, signed with a key after its validity ⇒ %s', async (version, outcome) => {
  const room = new RoomBuilder(version);
  expect(await accepted(room, room.message('x').pdu, new ExpiredKeyRing())).toBe(outcome);
});
