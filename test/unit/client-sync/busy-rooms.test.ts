import { describe, expect, test } from 'vitest';
import { TestDevice } from '../../support/peeking-house.ts';
import { RoomBuilder } from '../../support/room-builder.ts';
import { type SyncAnswer, SyncHouse } from '../../support/sync-house.ts';

const TOKEN = 's44_17_4_3_2_1_1_3_0_1_1_1_1_1';
const LATER = 's45_17_4_3_2_1_1_3_0_1_1_1_1_1';

/** Alice has been shown a room, in which something is under way now that takes its time: a server says nothing. */
async function busy() {
  const sync = await SyncHouse.open();
  const { house } = sync;
  const room = house.remoteRoom(new RoomBuilder());
  await house.peek(room.roomId);
  sync.script = ({ answer }) => answer({ next_batch: TOKEN });
  const since = (await sync.sync()).body.next_batch;
  await house.ledger.book(new TestDevice(house).who, new Map([[await instance(), 1]]));
  const { promise, resolve } = Promise.withResolvers<void>();
  const under = house.readers.queues.run(room.roomId, () => promise);
  const end = () => {
    resolve();
    return under;
  };
  return { sync, house, room, since, end };

  async function instance() {
    const [peek] = await house.store.devicePeeks.ofRoom(room.roomId);
    return Number(peek?.instance);
  }
}

/** The answer, in so many milliseconds. */
async function within(ms: number, answer: Promise<SyncAnswer>, { house }: SyncHouse): Promise<SyncAnswer> {
  let done = false;
  void answer.finally(() => {
    done = true;
  });
  for (let waited = 0; waited < ms && !done; waited += 10) await house.clock.advance(10);
  return Promise.race([
    answer,
    new Promise<never>((_, fail) => setTimeout(fail, 1_000, new Error('it waits'))),
  ]);
}

describe('a sync does not wait for what is under way in a room', () => {
  test('whose peek it cancels', async () => {
    const { sync, house, room, end } = await busy();
    const { body } = await within(500, sync.sync(), sync);
    expect(body.rooms?.peek).toBeUndefined();
    expect(await house.store.devicePeeks.ofRoom(room.roomId)).toEqual([]);
    expect(await house.outboundPeek(room.roomId)).toBeDefined();
    await end();
    await house.clock.advance(0);
    expect(await house.store.outboundPeeks.ofRoom(room.roomId)).toEqual([]);
  });

  test('that the user has joined', async () => {
    const { sync, house, room, since, end } = await busy();
    sync.script = ({ answer }) => answer({ next_batch: LATER, rooms: { join: { [room.roomId]: {} } } });
    const { body } = await within(500, sync.sync({ since, timeout: '30000' }), sync);
    expect(body.rooms).toEqual({ join: { [room.roomId]: {} } });
    await end();
    await house.clock.advance(0);
  });
});

test('of one user two whole states are made at once, however many requests want one', async () => {
  const sync = await SyncHouse.open();
  const { house } = sync;
  const room = house.remoteRoom(new RoomBuilder());
  await house.peek(room.roomId);
  sync.script = ({ answer }) => answer({ next_batch: TOKEN });
  const { replicas } = house.store;
  const state = replicas.state.bind(replicas);
  let reading = 0;
  let most = 0;
  replicas.state = async (roomId) => {
    most = Math.max(most, ++reading);
    await new Promise((resolve) => setTimeout(resolve, 5));
    reading--;
    return state(roomId);
  };
  const answers = await Promise.all(Array.from({ length: 20 }, () => sync.sync({ full_state: 'true' })));
  for (const { body } of answers) expect(body.rooms?.peek).toHaveProperty([room.roomId]);
  expect(most).toBe(2);
});
