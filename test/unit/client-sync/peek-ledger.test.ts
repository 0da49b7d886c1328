import { describe, expect, test } from 'vitest';
import { ALICE, type HouseOptions, PEER, PeekingHouse, TestDevice } from '../../support/peeking-house.ts';
import { RoomBuilder } from '../../support/room-builder.ts';

async function peeking(options: HouseOptions = {}) {
  const house = await PeekingHouse.open(options);
  const room = house.resident(new RoomBuilder());
  await house.peek(room.roomId);
  const [peek] = await house.store.devicePeeks.all();
  const instance = peek?.instance ?? 0;
  const one = async () => (await house.store.devicePeeks.all()).find((other) => other.instance === instance);
  return { house, room, instance, one, device: new TestDevice(house) };
}

describe('a token', () => {
  test('that contains a peek shows that it was delivered: its first section is not kept any longer', async () => {
    const { device, one } = await peeking();
    await device.sync();
    expect(await one()).toMatchObject({ delivered: false, initial: { from: expect.any(Number) } });
    await device.sync();
    expect(await one()).toMatchObject({ delivered: true, initial: null });
  });

  test('without an ended peek shows that its end was told, or never had to be', async () => {
    const { house, room, instance, one } = await peeking();
    await house.peeking.unpeek(ALICE, room.roomId);
    await house.ledger.book(ALICE, new Map([[instance, 5]]));
    expect(await one()).toMatchObject({ ended: { reason: 'unpeek' } });
    await house.ledger.book(ALICE, new Map());
    expect(await one()).toBeUndefined();
  });
});

describe('a since-less sync', () => {
  async function sinceless(options: HouseOptions, delivered: boolean) {
    const all = await peeking(options);
    if (delivered) {
      await all.device.sync();
      await all.device.sync();
    }
    const fresh = new TestDevice(all.house);
    const answer = await fresh.sync();
    return { ...all, answer, ended: (await all.one())?.ended?.reason ?? null };
  }

  test.each([
    ['delivered', true, 'cancelled'],
    ['delivered', false, null],
    ['all', false, 'cancelled'],
    ['none', true, null],
    ['none', false, null],
  ] as const)('set to %s, of a peek delivered: %s ⇒ %s', async (sincelessSync, delivered, expected) => {
    const { ended, answer, room } = await sinceless({ sincelessSync }, delivered);
    expect(ended).toBe(expected);
    expect(answer.peek.has(room.roomId)).toBe(expected === null);
    expect(answer.leave.size).toBe(0);
  });

  test('a peek made since the last sync is new, and delivered; the stale ones go', async () => {
    const { house, device, room } = await peeking();
    await device.sync();
    await device.sync();
    const other = house.resident(new RoomBuilder('10', PEER, 'other'));
    await house.peek(other.roomId);
    const answer = await new TestDevice(house).sync();
    expect([...answer.peek.keys()]).toEqual([other.roomId]);
    expect((await house.store.devicePeeks.ofRoom(room.roomId)).length).toBe(0);
  });

  test('whose answer was lost on its way and is asked for again cancels nothing', async () => {
    const { house, room } = await peeking();
    const lost = new TestDevice(house);
    for (let i = 0; i < 3; i++) {
      const answer = await lost.lostSync();
      expect(answer.peek.has(room.roomId)).toBe(true);
    }
    expect(await house.store.devicePeeks.ofRoom(room.roomId)).toHaveLength(1);
  });

  test('the token after it has no trace of what was cancelled, and the next sync forgets it', async () => {
    const { house, answer } = await sinceless({}, true);
    expect(answer.read.size).toBe(0);
    const device = new TestDevice(house);
    device.read = answer.read;
    await device.sync();
    expect(await house.store.devicePeeks.all()).toEqual([]);
  });
});

test('every sync keeps a peek alive, written down at most once a minute', async () => {
  const { house, device, one } = await peeking();
  const begun = house.clock.now();
  await device.sync();
  await house.clock.advance(59_999);
  await device.sync();
  expect((await one())?.seenAt).toBe(begun);
  await house.clock.advance(1);
  await device.sync();
  expect((await one())?.seenAt).toBe(begun + 60_000);
});
