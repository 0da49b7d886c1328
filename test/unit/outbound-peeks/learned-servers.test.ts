import { expect, test } from 'vitest';
import { LearnedServers } from '../../../src/outbound-peeks/learned-servers.ts';
import { ALICE, PEER, PeekingHouse } from '../../support/peeking-house.ts';
import { RoomBuilder } from '../../support/room-builder.ts';

const ROOM = '!room:there.test';

test('the servers that were named last come first, each one once, ten at most', () => {
  const learned = new LearnedServers('here.test');
  learned.learn(ROOM, ['one.test', 'two.test']);
  learned.learn(ROOM, ['three.test', 'one.test']);
  expect(learned.of(ROOM)).toEqual(['three.test', 'one.test', 'two.test']);
  learned.learn(
    ROOM,
    Array.from({ length: 30 }, (_, i) => `${i}.test`),
  );
  expect(learned.of(ROOM)).toEqual(Array.from({ length: 10 }, (_, i) => `${i}.test`));
});

test.each([
  ['our own name', ROOM, ['here.test']],
  ['what is no server name', ROOM, ['a b', '', 'x'.repeat(300), 7, null, {}]],
  ['what is no room ID', 'room', ['one.test']],
  ['an alias', '#room:there.test', ['one.test']],
  ['a room that is no string', [ROOM], ['one.test']],
])('%s is passed over', (_what, room, servers) => {
  const learned = new LearnedServers('here.test');
  learned.learn(room, servers);
  expect(learned.of(ROOM)).toEqual([]);
});

test('the rooms that were not heard of for the longest are forgotten', () => {
  const learned = new LearnedServers('here.test');
  for (let i = 0; i <= 20_000; i++) learned.learn(`!${i}:there.test`, ['one.test']);
  expect(learned.of('!0:there.test')).toEqual([]);
  expect(learned.of('!20000:there.test')).toEqual(['one.test']);
});

test('who listens is told of a server that is new for a room', () => {
  const learned = new LearnedServers('here.test');
  const told: string[] = [];
  learned.onNew((roomId) => told.push(roomId));
  learned.learn(ROOM, ['one.test']);
  learned.learn(ROOM, ['one.test']);
  expect(told).toEqual([ROOM]);
  learned.learn(ROOM, ['one.test', 'two.test']);
  expect(told).toEqual([ROOM, ROOM]);
});

test('a peek asks them after the servers that are named, and before the one of the room ID', async () => {
  const house = await PeekingHouse.open();
  const room = new RoomBuilder('10', 'origin.test');
  const servers = ['named.test', 'of-alias.test', 'learned.test', 'origin.test'];
  for (const server of servers) house.remote.refuse(server, 'PUT', '/peek/', 404, 'M_NOT_FOUND');
  house.homeserver.aliases.set('#room:origin.test', { roomId: room.roomId, servers: ['of-alias.test'] });
  house.learned.learn(room.roomId, ['learned.test']);
  await expect(house.peeking.peek(ALICE, '#room:origin.test', ['named.test'])).rejects.toThrow();
  expect(house.remote.sent('PUT').map((sent) => sent.split(' ')[0])).toEqual(servers);
});

test('whom a peek names is asked by who names nobody', async () => {
  const house = await PeekingHouse.open();
  const room = house.remoteRoom(new RoomBuilder('12'));
  await house.peek(room.roomId);
  expect(house.learned.of(room.roomId)).toEqual([PEER]);
});
