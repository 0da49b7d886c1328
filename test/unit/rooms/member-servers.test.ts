import { pino } from 'pino';
import { expect, onTestFinished, test } from 'vitest';
import { MemberServers } from '../../../src/rooms/member-servers.ts';
import { openStore } from '../../../src/store/open-store.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { RoomBuilder } from '../../support/room-builder.ts';

const MINUTE = 60_000;

async function given(
  members: Readonly<Record<string, string>>,
  more: (room: RoomBuilder) => void = () => {},
) {
  const clock = new ManualClock();
  const store = await openStore({
    redisUrl: null,
    dataDir: ':memory:',
    clock,
    logger: pino({ level: 'silent' }),
  });
  onTestFinished(() => store.close());
  const room = new RoomBuilder();
  for (const [userId, membership] of Object.entries(members)) room.member(userId, membership);
  more(room);
  const replicate = () =>
    store.replicas.replace(
      room.roomId,
      room.currentState.map(({ eventId, pdu }) => ({
        eventId,
        json: JSON.stringify(pdu),
        type: pdu.type,
        stateKey: String(pdu.state_key),
      })),
      [],
    );
  await replicate();
  const servers = new MemberServers({ store, clock, serverName: 'here.test' });
  return { store, clock, room, replicate, of: (limit?: number) => servers.of(room.roomId, limit) };
}

test('most members first; those who are not joined do not count, and we are not among them', async () => {
  const { of } = await given({
    '@a:two.test': 'join',
    '@b:two.test': 'join',
    '@c:three.test:8448': 'join',
    '@d:three.test:8448': 'join',
    '@e:three.test:8448': 'join',
    '@f:gone.test': 'leave',
    '@g:invited.test': 'invite',
    '@h:here.test': 'join',
    '@i:no server': 'join',
    'no user': 'join',
  });
  expect(await of()).toEqual(['three.test:8448', 'two.test', 'there.test']);
  expect(await of(2)).toEqual(['three.test:8448', 'two.test']);
});

test('servers that the ACL denies are left out, also when it came after the counting', async () => {
  const { of, room, replicate } = await given({ '@a:evil.test': 'join' });
  expect(await of()).toEqual(['evil.test', 'there.test']);
  room.state('m.room.server_acl', '', { allow: ['*'], deny: ['evil.*'] });
  await replicate();
  expect(await of()).toEqual(['there.test']);
  room.state('m.room.server_acl', '', {});
  await replicate();
  expect(await of()).toEqual([]);
});

test('members are counted once in a quarter of an hour, also for several that ask at the same time', async () => {
  const { of, store, clock } = await given({});
  let reads = 0;
  const { replicas } = store;
  const stateOfType = replicas.stateOfType.bind(replicas);
  replicas.stateOfType = (roomId, type) => {
    reads++;
    return stateOfType(roomId, type);
  };
  await Promise.all([of(), of(), of()]);
  clock.jump(14 * MINUTE);
  await of();
  expect(reads).toBe(1);
  clock.jump(MINUTE);
  await of();
  expect(reads).toBe(2);
});

test('a room without a replica has none, until it has one', async () => {
  const { of, store, room, replicate } = await given({});
  await store.replicas.drop(room.roomId);
  expect(await of()).toEqual([]);
  await replicate();
  expect(await of()).toEqual(['there.test']);
});

test('many servers ⇒ fifty are remembered', async () => {
  const members = Array.from({ length: 60 }, (_, i) => [`@u:s${i}.test`, 'join']);
  const { of } = await given(Object.fromEntries(members));
  expect(await of()).toHaveLength(50);
});
