import { expect, onTestFinished, test } from 'vitest';
import { sqliteFiles } from '../support/simulation/sim-store.ts';
import { World } from '../support/simulation/world.ts';

test('a homeserver that has come up just now, and counts as down yet ⇒ what a peeked server sends at that moment is not lost', async () => {
  const world = new World({ seed: 7, store: sqliteFiles, rooms: 1 });
  onTestFinished(() => world.remove());
  const { clock } = world.stage;
  const [room] = world.rooms;
  const [, device] = world.devices;
  const [, proxy] = world.proxies;
  const [, homeserver] = world.homeservers;
  if (room === undefined || device === undefined || proxy === undefined) throw new Error('an empty world');
  world.whenKilled(async (killed) => {
    await world.storeOf(killed).crashed();
    await killed.start();
  });
  await world.start();
  void device.peek(room.roomId);
  await clock.advance(1_000);
  void device.sync(0, false);
  await clock.advance(1_000);
  expect(device.rooms.get(room.roomId)?.isComplete).toBe(true);

  homeserver.stopNow();
  proxy.dieIn(1);
  await clock.advance(60_000);
  expect(proxy.isUp).toBe(true);
  homeserver.startAgain();
  world.say(room, 3);
  await clock.advance(30_000);
  void device.sync(0, false);
  await clock.advance(1_000);
  expect(world.violations).toEqual([]);
  expect(device.rooms.get(room.roomId)?.isComplete).toBe(true);
});
