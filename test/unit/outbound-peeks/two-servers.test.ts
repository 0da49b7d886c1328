import { expect, test } from 'vitest';
import { ALICE, PEER, PeekingHouse } from '../../support/peeking-house.ts';
import { bodies, down, MINUTE, OTHER, pass, peekedRoom, through } from './living.ts';

async function two() {
  const { house, room } = await peekedRoom([], [PEER, OTHER], { serversPerRoom: 2 });
  house.remoteRoom(room, OTHER);
  await pass(house, 15_000);
  return { house, room };
}

const compared = async (house: {
  metrics: { stateComparisons: { get(): Promise<{ values: unknown[] }> } };
}) =>
  Object.fromEntries(
    (
      (await house.metrics.stateComparisons.get()).values as {
        labels: { outcome: string };
        value: number;
      }[]
    ).map(({ labels, value }) => [labels.outcome, value]),
  );

test('a second server is asked soon after the first, and both are heard', async () => {
  const { house, room } = await two();
  expect(await through(house, room)).toEqual([PEER, OTHER]);
  expect(
    [PEER, OTHER, 'evil.test'].map((server) => house.outbound.peeksThrough(room.roomId, server)),
  ).toEqual([true, true, false]);
  expect(house.outbound.count).toBe(1);
});

test('with the setting at one there is one', async () => {
  const { house, room } = await peekedRoom([], [PEER, OTHER]);
  house.remoteRoom(room, OTHER);
  await pass(house, 2 * MINUTE);
  expect(await through(house, room)).toEqual([PEER]);
});

test('what one withholds the other gives, and the same event from both is there once', async () => {
  const { house, room } = await two();
  const [withheld, both] = room.messages(2, 'said');
  if (withheld === undefined || both === undefined) throw new Error('two were said');
  await house.ingest(room, [withheld, both], OTHER);
  await house.ingest(room, [both], PEER);
  expect((await bodies(house, room)).slice(-2)).toEqual(['said 0', 'said 1']);
  expect(await bodies(house, room)).toHaveLength(5);
});

test('the second answer tells what the first kept back, and the state stays the first one’s word', async () => {
  const { house, room } = await peekedRoom([`@resident:${OTHER}`], [PEER, OTHER], { serversPerRoom: 2 });
  room.message('kept back');
  const before = room.currentState.length;
  house.remoteRoom(room, OTHER);
  await pass(house, 15_000);
  expect((await bodies(house, room)).at(-1)).toBe('kept back');
  expect(await house.store.replicas.state(room.roomId)).toHaveLength(before);
  expect(await compared(house)).toEqual({ same: 1, differing: 0 });
});

test('states that differ are counted and logged, each time that the second is asked', async () => {
  const { house, room } = await peekedRoom([`@resident:${OTHER}`], [PEER, OTHER], { serversPerRoom: 2 });
  house.remoteRoom(room, OTHER);
  house.remote.on(OTHER, 'PUT', '/peek/', () => {
    const answer = room.peekAnswer();
    const state = answer.state as { type: string }[];
    return { ...answer, state: state.filter(({ type }) => type !== 'm.room.join_rules') } as never;
  });
  await pass(house, 15_000);
  expect(await compared(house)).toEqual({ same: 0, differing: 1 });
  expect((await house.metrics.stateDifferences.get()).values[0]?.value).toBe(1);
  await pass(house, 46 * MINUTE);
  expect(await compared(house)).toEqual({ same: 0, differing: 2 });
  const [rules] = await house.store.replicas.stateOf(room.roomId, [['m.room.join_rules', '']]);
  expect(rules).toBeDefined();
});

test.each([
  ['the first', PEER, OTHER],
  ['the second', OTHER, PEER],
])('%s is gone ⇒ the other goes on alone, without anything being asked anew', async (_, gone, stays) => {
  const { house, room } = await two();
  const puts = house.remote.sent('PUT').length;
  down(house, gone);
  // Both are quiet, so both are asked.
  await pass(house, 7 * MINUTE);
  expect(await through(house, room)).toEqual([stays]);
  expect(
    house.remote
      .sent('PUT')
      .slice(puts)
      .every((sent) => sent.startsWith(`${gone} `)),
  ).toBe(true);
  expect(await house.log(room.roomId)).toMatchObject({ closed: null });
  house.remoteRoom(room, gone);
  await pass(house, 21 * MINUTE);
  expect((await through(house, room)).toSorted()).toEqual([OTHER, PEER].toSorted());
});

test('the first says that the room is closed to us, the second does not ⇒ the room goes on', async () => {
  const { house, room } = await two();
  for (const method of ['PUT', 'POST']) house.remote.refuse(PEER, method, '/peek/', 403, 'M_FORBIDDEN');
  await pass(house, 46 * MINUTE);
  expect(await through(house, room)).toEqual([OTHER]);
  expect(await house.log(room.roomId)).toMatchObject({ closed: null });
});

test('the last device goes ⇒ a DELETE to each, and nothing is left', async () => {
  const { house, room } = await two();
  await house.peeking.unpeek(ALICE, room.roomId);
  await house.settle();
  expect(house.remote.sent('DELETE').map((sent) => sent.split(' ')[0])).toEqual([PEER, OTHER]);
  expect(await house.store.outboundPeeks.all()).toEqual([]);
});

test('the second lets us no more ⇒ it is let go, and another takes its place', async () => {
  const { house, room } = await peekedRoom(['@a:third.test'], [PEER, OTHER], { serversPerRoom: 2 });
  house.remoteRoom(room, OTHER);
  await pass(house, 15_000);
  for (const method of ['PUT', 'POST']) house.remote.refuse(OTHER, method, '/peek/', 403, 'M_FORBIDDEN');
  house.remoteRoom(room, 'third.test');
  await pass(house, 50 * MINUTE);
  expect(await through(house, room)).toEqual([PEER, 'third.test']);
  expect(await house.log(room.roomId)).toMatchObject({ closed: null });
});

test('after a restart both are known, and neither is asked anew', async () => {
  const { house, room } = await two();
  const again = await PeekingHouse.on(house.store, house.clock, { serversPerRoom: 2 });
  await pass(again, 2 * MINUTE);
  expect([PEER, OTHER].map((server) => again.outbound.peeksThrough(room.roomId, server))).toEqual([
    true,
    true,
  ]);
  expect(again.remote.calls).toEqual([]);
});

test('expired_peeks of the second ⇒ it alone is put again', async () => {
  const { house, room } = await two();
  const second = (await house.store.outboundPeeks.ofRoom(room.roomId)).at(1);
  const puts = house.remote.sent('PUT').length;
  await house.outbound.expired(PEER, [{ roomId: room.roomId, peekId: second?.peekId ?? '' }]);
  expect(house.remote.sent('PUT')).toHaveLength(puts);
  await house.outbound.expired(OTHER, [{ roomId: room.roomId, peekId: second?.peekId ?? '' }]);
  expect(house.remote.sent('PUT').slice(puts)).toEqual([
    `${OTHER} /_matrix/federation/v1/peek/${room.roomId}/${second?.peekId}`,
  ]);
  expect(await through(house, room)).toEqual([PEER, OTHER]);
});
