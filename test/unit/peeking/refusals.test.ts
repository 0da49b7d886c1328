import { describe, expect, test } from 'vitest';
import { MatrixError } from '../../../src/platform/matrix-error.ts';
import { ALICE, PeekingHouse } from '../../support/peeking-house.ts';
import { RoomBuilder } from '../../support/room-builder.ts';

async function refusal(peek: Promise<unknown>): Promise<string> {
  const error = await peek.then(
    () => 'accepted',
    (reason: unknown) => reason,
  );
  return error instanceof MatrixError ? `${error.status} ${error.errcode}` : String(error);
}

describe('a room that is not open', () => {
  test('says that the user is in it, to a user who is', async () => {
    const house = await PeekingHouse.open();
    const room = house.resident(new RoomBuilder());
    house.homeserver.close(room.roomId);
    expect(await refusal(house.peeking.peek(ALICE, room.roomId, []))).toBe('403 M_FORBIDDEN');
    house.homeserver.joined.set('Bearer alice', [room.roomId]);
    expect(await refusal(house.peeking.peek(ALICE, room.roomId, []))).toBe('400 M_BAD_STATE');
  });
});

test('encryption that is switched on between the check and the feed’s beginning is seen', async () => {
  const house = await PeekingHouse.open();
  const room = house.resident(new RoomBuilder());
  house.homeserver.beforeFollow = () => {
    house.homeserver.beforeFollow = null;
    room.state('m.room.encryption', '', { algorithm: 'm.megolm.v1.aes-sha2' });
  };
  expect(await refusal(house.peeking.peek(ALICE, room.roomId, []))).toBe('403 M_FORBIDDEN');
  expect(await house.store.devicePeeks.all()).toEqual([]);
});
