import { expect, test } from 'vitest';
import type { JsonObject } from '../../../src/matrix/json.ts';
import { PEER, PeekingHouse } from '../../support/peeking-house.ts';
import { RoomBuilder } from '../../support/room-builder.ts';

async function peeked(build: (room: RoomBuilder) => void, version = '11') {
  const house = await PeekingHouse.open();
  const room = new RoomBuilder(version, PEER);
  build(room);
  house.remoteRoom(room);
  await house.peek(room.roomId);
  return { house, room };
}

test('says of a room what its state says', async () => {
  const { house, room } = await peeked((room) => {
    room.state('m.room.name', '', { name: 'The lobby' });
    room.state('m.room.topic', '', { topic: 'Talk' });
    room.state('m.room.avatar', '', { url: 'mxc://there.test/a' });
    room.state('m.room.canonical_alias', '', { alias: '#lobby:there.test' });
    room.state('m.room.guest_access', '', { guest_access: 'can_join' });
    room.member('@one:there.test', 'join');
    room.member('@gone:there.test', 'join');
    room.member('@gone:there.test', 'leave');
  });
  expect(await house.summaries.of(room.roomId)).toEqual({
    room_id: room.roomId,
    room_version: '11',
    name: 'The lobby',
    topic: 'Talk',
    avatar_url: 'mxc://there.test/a',
    canonical_alias: '#lobby:there.test',
    join_rule: 'public',
    num_joined_members: 2,
    world_readable: true,
    guest_can_join: true,
  });
});

test('leaves out what the room does not say, or says in another shape', async () => {
  const { house, room } = await peeked((room) => {
    room.state('m.room.name', '', { name: 7 });
    room.state('m.room.topic', '', {});
    room.state('m.room.join_rules', '', {
      join_rule: 'restricted',
      allow: [
        { type: 'm.room_membership', room_id: '!space:there.test' },
        { type: 'm.room_membership' },
        { type: 'other', room_id: '!x:y' },
        null,
      ],
    });
  });
  expect(await house.summaries.of(room.roomId)).toEqual({
    room_id: room.roomId,
    room_version: '11',
    join_rule: 'restricted',
    allowed_room_ids: ['!space:there.test'],
    num_joined_members: 1,
    world_readable: true,
    guest_can_join: false,
  });
});

test('counts the members anew after a minute', async () => {
  const { house, room } = await peeked(() => {});
  const count = async () => (await house.summaries.of(room.roomId))?.num_joined_members;
  expect(await count()).toBe(1);
  await house.ingest(room, [room.member('@two:there.test', 'join')]);
  expect(await count()).toBe(1);
  await house.clock.advance(60_000);
  expect(await count()).toBe(2);
});

test('nothing of a room that is not peeked, of one of our own, of one that sleeps or has closed', async () => {
  const { house, room } = await peeked(() => {});
  expect(await house.summaries.of('!none:there.test')).toBeNull();
  const own = house.resident(new RoomBuilder('10', 'here.test', 'own'));
  await house.peek(own.roomId);
  expect(await house.summaries.of(own.roomId)).toBeNull();
  await house.store.logs.setFeed(room.roomId, { asleep: { via: [PEER] } });
  expect(await house.summaries.of(room.roomId)).toBeNull();
  await house.store.logs.setFeed(room.roomId, { asleep: null });
  expect(await house.summaries.of(room.roomId)).not.toBeNull();
  await house.ingest(room, [room.state('m.room.history_visibility', '', { history_visibility: 'joined' })]);
  expect(await house.summaries.of(room.roomId)).toBeNull();
});

test('the user’s membership: the room’s word, else leave', async () => {
  const { house, room } = await peeked((room) => {
    room.state('m.room.member', '@alice:here.test', { membership: 'invite' });
  });
  expect(await house.summaries.membership(room.roomId, '@alice:here.test')).toBe('invite');
  expect(await house.summaries.membership(room.roomId, '@bob:here.test')).toBe('leave');
});

test('children: those with a via, by order, then by age, then by room ID; what counts as an order is said', async () => {
  const child = (room: RoomBuilder, id: string, content: JsonObject) =>
    room.state('m.space.child', id, content);
  const via = ['there.test'];
  const { house, room } = await peeked((room) => {
    child(room, '!plain:t', { via });
    child(room, '!tooLong:t', { via, order: 'x'.repeat(51) });
    child(room, '!notAscii:t', { via, order: 'é' });
    child(room, '!b:t', { via, order: 'b' });
    child(room, '!a:t', { via, order: 'a', suggested: true });
    child(room, '!removed:t', {});
    child(room, '!odd:t', { via: [7] });
    child(room, '!noList:t', { via: 'there.test' });
  });
  const children = await house.summaries.childrenOf(room.roomId);
  expect(children.map(({ state_key }) => state_key)).toEqual([
    '!a:t',
    '!b:t',
    '!plain:t',
    '!tooLong:t',
    '!notAscii:t',
  ]);
  expect(children[0]).toEqual({
    type: 'm.space.child',
    state_key: '!a:t',
    content: { via, order: 'a', suggested: true },
    sender: room.creator,
    origin_server_ts: expect.any(Number),
  });
});
