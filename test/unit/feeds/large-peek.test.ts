import { describe, expect, onTestFinished, test } from 'vitest';
import { ALICE, brief, DAY, PEER, PeekingHouse, TestDevice } from '../../support/peeking-house.ts';
import { RoomBuilder } from '../../support/room-builder.ts';
import { ScriptedWorkers } from '../../support/scripted-workers.ts';

const MEMBERS = 30;
/** So few events make more than a MiB. */
const LONG = 'x'.repeat(50_000);

async function largeRoom() {
  const workers = new ScriptedWorkers();
  const house = await PeekingHouse.open({ workers });
  const room = house.remoteRoom(new RoomBuilder());
  for (let i = 0; i < MEMBERS; i++) room.member(`@user${i}:there.test`, 'join', { avatar_url: LONG });
  room.member('@speaker:there.test', 'join');
  for (let i = 0; i < 25; i++) room.message(`word ${i}`, '@speaker:there.test');
  workers.hold();
  onTestFinished(() => workers.release());
  return { house, room, workers };
}

const members = (state: readonly string[] | undefined) =>
  (state ?? []).filter((line) => line.startsWith('member')).map((line) => line.slice('member '.length));

/** Lets what runs beside the test come to its end. */
async function untilComplete(house: PeekingHouse, roomId: string): Promise<void> {
  while (house.remoteFeed.isCompleting(roomId)) await house.settle();
}

describe('a large room', () => {
  test('can be read before all of it is verified: the rest is not shown, then told whole, nothing twice', async () => {
    const { house, room, workers } = await largeRoom();
    await house.peek(room.roomId);
    expect(workers.jobs).toEqual(['outline', 'verify', 'verify']);
    const device = new TestDevice(house);
    const first = brief((await device.sync()).peek.get(room.roomId));
    expect(first?.timeline.at(-1)).toBe('word 24');
    expect(members(first?.state)).toEqual(['@creator:there.test=join', '@speaker:there.test=join']);
    expect((await device.sync()).peek.size).toBe(0);

    workers.release();
    await untilComplete(house, room.roomId);
    const second = brief((await device.sync()).peek.get(room.roomId));
    expect(second).toMatchObject({ timeline: [], limited: false });
    expect(members(second?.state).length).toBe(MEMBERS + 2);
    expect((await device.sync()).peek.size).toBe(0);
    expect((await house.log(room.roomId)).needsCatchUp).toBe(false);
  });

  test('who comes when all is verified sees it as any other room', async () => {
    const { house, room, workers } = await largeRoom();
    workers.release();
    await house.peek(room.roomId);
    await untilComplete(house, room.roomId);
    const device = new TestDevice(house);
    const first = brief((await device.sync()).peek.get(room.roomId));
    expect(first?.timeline.at(-1)).toBe('word 24');
    expect(members(first?.state).length).toBe(MEMBERS + 2);
    expect((await device.sync()).peek.size).toBe(0);
  });

  test('events that arrive meanwhile wait for the rest, and are newer than it', async () => {
    const { house, room, workers } = await largeRoom();
    await house.peek(room.roomId);
    const change = room.member('@user3:there.test', 'join', { displayname: 'new' });
    let taken = false;
    const ingested = house.ingest(room, [change]).finally(() => {
      taken = true;
    });
    await house.settle();
    expect(taken).toBe(false);
    workers.release();
    expect(await ingested).toEqual([{ eventId: change.eventId, error: null }]);
    const [now] = await house.store.replicas.stateOf(room.roomId, [['m.room.member', '@user3:there.test']]);
    expect(now?.eventId).toBe(change.eventId);
  });

  test('an event of the rest that does not verify costs itself', async () => {
    const { house, room, workers } = await largeRoom();
    const { pdu } = room.stateEvent('m.room.member', '@user7:there.test');
    pdu.depth = 1;
    workers.release();
    await house.peek(room.roomId);
    await untilComplete(house, room.roomId);
    const state = await house.store.replicas.state(room.roomId);
    expect(state.map(({ stateKey }) => stateKey)).not.toContain('@user7:there.test');
    expect(state.length).toBe(MEMBERS - 1 + 6);
  });

  test('the workers fail over the rest ⇒ the log needs its state anew, and the next sweep reads it', async () => {
    const { house, room, workers } = await largeRoom();
    await house.peek(room.roomId);
    const device = new TestDevice(house);
    await device.sync();
    workers.fail(new Error('the worker ended'));
    await untilComplete(house, room.roomId);
    expect((await house.log(room.roomId)).needsCatchUp).toBe(true);
    workers.hold();
    workers.release();
    await house.outbound.sweep(house.clock.now());
    await house.settle();
    expect((await house.log(room.roomId)).needsCatchUp).toBe(false);
    expect((await house.store.replicas.state(room.roomId)).length).toBe(MEMBERS + 6);
    const again = brief((await device.sync()).peek.get(room.roomId));
    expect(again).toMatchObject({ timeline: [], limited: false });
    expect(members(again?.state).length).toBe(MEMBERS + 2);
  });

  test('is not swept while it is being completed', async () => {
    const { house, room } = await largeRoom();
    await house.peek(room.roomId);
    await house.outbound.sweep(house.clock.now() + DAY);
    expect(house.remote.sent('PUT').length).toBe(1);
  });

  test('let go of meanwhile ⇒ nothing of it is left in the end', async () => {
    const { house, room, workers } = await largeRoom();
    await house.peek(room.roomId);
    await house.store.logs.drop(room.roomId);
    workers.release();
    await untilComplete(house, room.roomId);
    expect(await house.store.logs.get(room.roomId)).toBeNull();
    expect(await house.store.replicas.state(room.roomId)).toEqual([]);
  });

  test('asked of two servers, one that is not needed any more holds no place', async () => {
    const { house, room, workers } = await largeRoom();
    house.remoteRoom(room, 'second.test');
    const other = house.remoteRoom(new RoomBuilder('10', PEER, 'other'));
    for (let i = 0; i < MEMBERS; i++) other.member(`@user${i}:there.test`, 'join', { avatar_url: LONG });
    await house.peek(room.roomId, ALICE, [PEER, 'second.test']);
    await house.peek(other.roomId);
    workers.release();
    await untilComplete(house, room.roomId);
    await untilComplete(house, other.roomId);
    expect((await house.store.replicas.state(other.roomId)).length).toBe(MEMBERS + 5);
  });
});
