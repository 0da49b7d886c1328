import { pino } from 'pino';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { unwrapToken } from '../../../src/client-sync/sync-token.ts';
import { systemClock } from '../../../src/platform/clock.ts';
import { openStore } from '../../../src/store/open-store.ts';
import { ALICE } from '../../support/peeking-house.ts';
import { startRedis } from '../../support/redis-server.ts';
import { RoomBuilder } from '../../support/room-builder.ts';
import { SyncHouse } from '../../support/sync-house.ts';

const TOKEN = 's44_17_4_3_2_1_1_3_0_1_1_1_1_1';
const LATER = 's45_17_4_3_2_1_1_3_0_1_1_1_1_1';
/** Ten times the grace: what a busy machine may take for work that waits for nothing. */
const WIDE_MS = 500;

/** Alice peeks, Bob does not; the store is a Redis that can be taken away. */
async function onRedis() {
  const redis = await startRedis();
  onTestFinished(() => redis.stop());
  const logger = pino({ level: 'silent' });
  const store = await openStore({ redisUrl: redis.url, dataDir: ':memory:', clock: systemClock, logger });
  onTestFinished(() => store.close());
  const sync = await SyncHouse.open({ store });
  const { house } = sync;
  const bob = { ...ALICE, userId: '@bob:here.test' };
  house.homeserver.identities.set('Bearer bob', bob);
  await house.homeserver.whoami({ ...bob.caller, authorization: 'Bearer bob' });
  const room = house.resident(new RoomBuilder());
  await house.peek(room.roomId);
  sync.script = ({ answer }) => answer({ next_batch: TOKEN });
  const { next_batch: since } = (await sync.sync()).body;
  sync.script = ({ answer }) =>
    answer({ next_batch: LATER, to_device: { events: [{ type: 'm.room_key' }] } });
  return { redis, sync, house, since };
}

describe.each(['killed', 'hanging'] as const)('Redis down ⇒ plain sync within +50 ms (%s)', (how) => {
  test('a device that peeks nothing does not notice; one that peeks waits no longer than the grace, for the homeserver’s answer', async () => {
    const { redis, sync, house, since } = await onRedis();
    if (how === 'killed') await redis.kill();
    else {
      process.kill(redis.pid, 'SIGSTOP');
      onTestFinished(() => void process.kill(redis.pid, 'SIGCONT'));
    }

    const started = performance.now();
    const plain = await sync.sync({ since: TOKEN }, 'bob');
    expect(plain.body).toMatchObject({ next_batch: LATER, to_device: { events: [{ type: 'm.room_key' }] } });
    expect(performance.now() - started).toBeLessThan(WIDE_MS);

    const asked = sync.asked.length;
    const waiting = sync.sync({ since });
    await sync.upstream(asked);
    let answered = false;
    void waiting.then(() => {
      answered = true;
    });
    // Time stands still but for these steps: 50 ms together, and the answer is out.
    await vi.waitFor(async () => {
      if (house.clock.pending > 0) await house.clock.advance(50);
      expect(answered).toBe(true);
    }, 5_000);
    const { body } = await waiting;
    expect(body).toMatchObject({ to_device: { events: [{ type: 'm.room_key' }] } });
    expect(unwrapToken(body.next_batch)).toEqual({ homeserver: LATER, ours: unwrapToken(since).ours });
  });
});
