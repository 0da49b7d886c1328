import { expect, test, vi } from 'vitest';
import { RoomBuilder } from '../../support/room-builder.ts';
import { SyncHouse } from '../../support/sync-house.ts';

const MINUTE = 60_000;
const DORMANT_AFTER = 10 * MINUTE;

/** Alice's device has read a room of ours that it peeks into; `since` is its token. */
async function reading() {
  const sync = await SyncHouse.open({ dormantAfterMs: DORMANT_AFTER });
  const { house } = sync;
  const room = house.resident(new RoomBuilder());
  await house.peek(room.roomId);
  sync.script = ({ url, answer }) => {
    if (url.searchParams.get('since') === null) answer({ next_batch: 's1' });
  };
  const { body } = await sync.sync();
  return { sync, house, room, since: body.next_batch };
}

async function pass(house: SyncHouse['house'], minutes: number): Promise<void> {
  for (let i = 0; i < minutes; i++) {
    await house.settle(MINUTE);
    await house.sweeps.run();
  }
}

const sleepers = async ({ store }: SyncHouse['house']) =>
  (await store.devicePeeks.all()).filter(({ dormantSince }) => dormantSince !== null).length;

test('a device that waits in a held sync is awake, written down once a minute; when it is answered and gone, it sleeps', async () => {
  const { sync, house, room, since } = await reading();
  const waiting = sync.sync({ since, timeout: '1000000000' });
  await sync.upstream(1);
  const updates = vi.spyOn(house.store.devicePeeks, 'update');
  await pass(house, 60);
  expect(await sleepers(house)).toBe(0);
  expect(updates.mock.calls.length).toBeGreaterThan(50);
  expect(updates.mock.calls.length).toBeLessThanOrEqual(60);

  room.message('good morning');
  await house.settle();
  expect((await waiting).text).toContain('good morning');
  await pass(house, 11);
  expect(await sleepers(house)).toBe(1);
  expect(house.residentFeeds.isRunning(room.roomId)).toBe(false);
});

test('a device whose connection is lost sleeps, though the homeserver’s poll for it goes on for a while', async () => {
  const { sync, house, since } = await reading();
  const abort = new AbortController();
  const waiting = sync.sync({ since, timeout: '1000000000' }, 'alice', abort.signal);
  await sync.upstream(1);
  abort.abort();
  await expect(waiting).rejects.toThrow();
  await pass(house, 11);
  expect(await sleepers(house)).toBe(1);
});

test('a waiting device that was put to sleep all the same is woken within the minute, and its sync is answered', async () => {
  const { sync, house, room, since } = await reading();
  const waiting = sync.sync({ since, timeout: '1000000000' });
  await sync.upstream(1);
  await vi.waitFor(async () => {
    const [peek] = await house.store.devicePeeks.all();
    expect(peek && (await house.store.devicePeeks.sleep(peek, house.clock.now()))).toBe(true);
  });
  await house.settle(MINUTE);
  expect(await sleepers(house)).toBe(0);
  room.message('are you there?');
  await house.settle();
  expect((await waiting).text).toContain('are you there?');
});
