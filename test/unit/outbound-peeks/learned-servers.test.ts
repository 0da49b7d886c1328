import { expect, test } from 'vitest';
import { LearnedServers } from '../../../src/outbound-peeks/learned-servers.ts';
import { ALICE, PEER, PeekingHouse } from '../../support/peeking-house.ts';
import { RoomBuilder } from '../../support/room-builder.ts';

const ROOM = '!room:there.test';

function tenOf(name: string): string[] {
  return Array.from({ length: 10 }, (_, i) => `${name}${i}.test`);
}

test('the servers that were named last come first, each one once', () => {
  const learned = new LearnedServers('here.test');
  learned.learn(ROOM, ['one.test', 'two.test'], 'named', 'alice');
  learned.learn(ROOM, ['three.test', 'one.test'], 'named', 'alice');
  expect(learned.of(ROOM)).toEqual(['three.test', 'one.test', 'two.test']);
});

test('one source has three places, however much it names and however often', () => {
  const learned = new LearnedServers('here.test');
  learned.learn(ROOM, ['real.test'], 'named', 'alice');
  for (const name of ['x', 'y', 'z']) learned.learn(ROOM, tenOf(name), 'named', 'mallory');
  expect(learned.of(ROOM)).toEqual(['z0.test', 'real.test', 'z1.test', 'z2.test']);
});

test('who names what others have named takes it from nobody', () => {
  const learned = new LearnedServers('here.test');
  learned.learn(ROOM, ['real.test'], 'named', 'alice');
  learned.learn(ROOM, ['real.test'], 'named', 'mallory');
  learned.learn(ROOM, tenOf('x'), 'named', 'mallory');
  expect(learned.of(ROOM)).toEqual(['x0.test', 'real.test', 'x1.test', 'x2.test']);
});

test('what has answered goes before what a directory lists, that before what was named, and what failed comes last', () => {
  const learned = new LearnedServers('here.test');
  learned.learn(ROOM, ['answered.test'], 'answered', 'peeks');
  learned.learn(ROOM, ['listed.test'], 'listed', 'directory');
  learned.learn(ROOM, ['named.test'], 'named', 'alice');
  learned.learn(ROOM, ['failed.test'], 'failed', 'bob');
  expect(learned.of(ROOM)).toEqual(['answered.test', 'listed.test', 'named.test', 'failed.test']);
});

test('many who name what is not there take no place of what is known, ten places in all', () => {
  const learned = new LearnedServers('here.test');
  learned.learn(ROOM, ['answered.test'], 'answered', 'peeks');
  learned.learn(ROOM, ['listed.test'], 'listed', 'directory');
  for (let i = 0; i < 20; i++) {
    learned.learn(ROOM, tenOf(`named-${i}-`), 'named', `user ${i}`);
    learned.learn(ROOM, tenOf(`failed-${i}-`), 'failed', `user ${i}`);
  }
  expect(learned.of(ROOM).slice(0, 2)).toEqual(['answered.test', 'listed.test']);
  expect(learned.of(ROOM)).toHaveLength(10);
  expect(learned.of(ROOM).filter((server) => server.startsWith('failed'))).toEqual([]);
});

test('what is known on better evidence keeps its place when it is named again', () => {
  const learned = new LearnedServers('here.test');
  learned.learn(ROOM, ['one.test'], 'listed', 'directory');
  learned.learn(ROOM, ['two.test'], 'named', 'alice');
  learned.learn(ROOM, ['one.test'], 'failed', 'mallory');
  expect(learned.of(ROOM)).toEqual(['one.test', 'two.test']);
  learned.learn(ROOM, ['two.test'], 'answered', 'peeks');
  expect(learned.of(ROOM)).toEqual(['two.test', 'one.test']);
});

test.each([
  ['our own name', ROOM, ['here.test']],
  ['what is no server name', ROOM, ['a b', '', 'x'.repeat(300), 7, null, {}]],
  ['what is no room ID', 'room', ['one.test']],
  ['an alias', '#room:there.test', ['one.test']],
  ['a room that is no string', [ROOM], ['one.test']],
])('%s is passed over', (_what, room, servers) => {
  const learned = new LearnedServers('here.test');
  learned.learn(room, servers, 'named', 'somebody');
  expect(learned.of(ROOM)).toEqual([]);
});

test('the rooms that were not heard of for the longest are forgotten', () => {
  const learned = new LearnedServers('here.test');
  for (let i = 0; i <= 20_000; i++) learned.learn(`!${i}:there.test`, ['one.test'], 'named', 'somebody');
  expect(learned.of('!0:there.test')).toEqual([]);
  expect(learned.of('!20000:there.test')).toEqual(['one.test']);
});

test('who listens is told of a server that is new for a room', () => {
  const learned = new LearnedServers('here.test');
  const told: string[] = [];
  learned.onNew((roomId) => told.push(roomId));
  learned.learn(ROOM, ['one.test'], 'named', 'somebody');
  learned.learn(ROOM, ['one.test'], 'named', 'somebody');
  expect(told).toEqual([ROOM]);
  learned.learn(ROOM, ['one.test', 'two.test'], 'named', 'somebody');
  expect(told).toEqual([ROOM, ROOM]);
});

test('a peek asks them after the servers that are named, and before the one of the room ID', async () => {
  const house = await PeekingHouse.open();
  const room = new RoomBuilder('10', 'origin.test');
  const servers = ['named.test', 'of-alias.test', 'learned.test', 'origin.test'];
  for (const server of servers) house.remote.refuse(server, 'PUT', '/peek/', 404, 'M_NOT_FOUND');
  house.homeserver.aliases.set('#room:origin.test', { roomId: room.roomId, servers: ['of-alias.test'] });
  house.learned.learn(room.roomId, ['learned.test'], 'named', 'somebody');
  await expect(house.peeking.peek(ALICE, '#room:origin.test', ['named.test'])).rejects.toThrow();
  expect(house.remote.sent('PUT').map((sent) => sent.split(' ')[0])).toEqual(servers);
});

test('whom a peek names is asked by who names nobody', async () => {
  const house = await PeekingHouse.open();
  const room = house.remoteRoom(new RoomBuilder('12'));
  await house.peek(room.roomId);
  expect(house.learned.of(room.roomId)).toEqual([PEER]);
});
