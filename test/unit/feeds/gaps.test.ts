import { expect, test } from 'vitest';
import type { Json, JsonObject } from '../../../src/matrix/json.ts';
import { brief, PEER, PeekingHouse, TestDevice } from '../../support/peeking-house.ts';
import { type BuiltEvent, RoomBuilder } from '../../support/room-builder.ts';
import { changed, peeked } from './peeked-room.ts';

const GUEST = '@guest:else.test';
const OTHER = 'else.test';

/** Lets a server answer `get_missing_events` as homeservers do: the newest twenty before what is named, oldest first. */
function givesMissing(
  house: PeekingHouse,
  room: RoomBuilder,
  { server = PEER, has = (_: BuiltEvent) => true as boolean, most = 20 } = {},
): void {
  house.remote.on(server, 'POST', '/get_missing_events/', ({ body }) => {
    const earliest = body.earliest_events as string[];
    const latest = body.latest_events as string[];
    const at = Math.max(...latest.map((id) => room.events.findIndex(({ eventId }) => eventId === id)));
    const from = room.events.findLastIndex(({ eventId }) => earliest.includes(eventId)) + 1;
    const between = room.events.slice(Math.max(from, at - most), at).filter(has);
    return { events: between.filter(({ eventId }) => !latest.includes(eventId)).map(({ pdu }) => pdu) };
  });
}

const asked = (house: PeekingHouse, server = PEER) =>
  house.remote.sent('POST').filter((path) => path.startsWith(`${server} `) && path.includes('get_missing'));

test('a chain of 70 missing events ⇒ several rounds, all of them in their order, no gap', async () => {
  const { house, room, send, since, count } = await peeked();
  givesMissing(house, room);
  room.messages(70, 'missed');
  await send(room.message('after'));
  expect(await since()).toEqual([...Array.from({ length: 70 }, (_, i) => `missed ${i}`), 'after']);
  expect(asked(house)).toHaveLength(4);
  expect(await house.log(room.roomId)).toMatchObject({ needsCatchUp: false });
  expect(await count('gaps', 'outcome', 'filled')).toBe(1);
});

test('a server that goes on for ever with ancestors ⇒ is asked twelve times', async () => {
  const { house, room, send, since } = await peeked();
  const made: BuiltEvent[] = [];
  for (let i = 0; i < 400; i++) made.push(room.message(`m ${i}`));
  givesMissing(house, room, { most: 1 });
  await send(room.message('after'));
  expect(asked(house)).toHaveLength(12);
  expect((await since()).at(-1)).toBe('after');
  expect(await since()).toHaveLength(13);
});

test('what the sender does not give is asked of the room’s other servers, most members first', async () => {
  const { house, room, send, since } = await peeked('10', (builder) => {
    builder.member(GUEST, 'join');
    builder.member('@second:else.test', 'join');
    builder.member('@third:third.test', 'join');
  });
  const missed = room.message('missed', GUEST);
  givesMissing(house, room, { has: ({ eventId }) => eventId !== missed.eventId });
  givesMissing(house, room, { server: OTHER });
  await send(room.message('after'));
  expect(await since()).toEqual(['missed', 'after']);
  expect(asked(house, OTHER)).toHaveLength(1);
  expect(asked(house, 'third.test')).toHaveLength(0);
  expect(await house.log(room.roomId)).toMatchObject({ needsCatchUp: false });
});

test('another server adds what nobody asked for ⇒ it is not taken', async () => {
  const { house, room, send, since } = await peeked('10', (builder) => builder.member(GUEST, 'join'));
  const missed = room.message('missed');
  const after = room.message('after');
  const aside = changed(room, room.message('aside', GUEST), { prev_events: missed.pdu.prev_events as Json });
  house.remote.on(OTHER, 'POST', '/get_missing_events/', () => ({ events: [aside, missed.pdu] }));
  await send(after);
  expect(await since()).toEqual(['missed', 'after']);
});

test('another server gives state without its content ⇒ it is not taken, and the room goes on', async () => {
  const { house, room, send, since } = await peeked('10', (builder) => builder.member(GUEST, 'join'));
  const acl = room.state('m.room.server_acl', '', { allow: ['*'] });
  house.remote.on(OTHER, 'POST', '/get_missing_events/', () => ({ events: [{ ...acl.pdu, content: {} }] }));
  await send(room.message('after'));
  expect(await since()).toEqual(['after']);
  expect(await house.log(room.roomId)).toMatchObject({ needsCatchUp: true });
  await send(room.message('later'));
  expect(await since()).toEqual(['after', 'later']);
});

test('the sender is down, another server fills the gap', async () => {
  const { house, room, send, since } = await peeked('10', (builder) => builder.member(GUEST, 'join'));
  givesMissing(house, room, { server: OTHER });
  room.message('missed');
  await send(room.message('after'));
  expect(await since()).toEqual(['missed', 'after']);
});

test('what was found before a gap that stays is kept: the gap comes before it', async () => {
  const { house, room, send } = await peeked();
  const device = new TestDevice(house);
  await device.sync();
  room.message('lost');
  const [, , third] = room.messages(3, 'found');
  const lost = room.events.length - 4;
  givesMissing(house, room, { has: (event) => room.events.indexOf(event) > lost });
  await send(third as BuiltEvent, room.message('after'));
  const section = brief((await device.sync()).peek.get(room.roomId));
  expect(section).toMatchObject({ limited: true, timeline: ['found 0', 'found 1', 'found 2', 'after'] });
});

test('N + 1 before N, in two transactions and with nobody to ask ⇒ both reach the reader, none twice', async () => {
  const { house, room, send } = await peeked();
  const device = new TestDevice(house);
  await device.sync();
  const [first, second] = [room.message('N'), room.message('N + 1')];
  const seen: string[] = [];
  const sync = async () => {
    const section = brief((await device.sync()).peek.get(room.roomId));
    seen.push(...(section?.timeline ?? []));
    return section?.limited;
  };
  await send(second);
  expect(await sync()).toBe(true);
  await send(first);
  expect(await sync()).toBe(false);
  await send(first, second, room.message('N + 2'));
  await sync();
  await house.sweeps.run();
  await sync();
  expect(seen).toEqual(['N + 1', 'N', 'N + 2']);
  expect(await house.log(room.roomId)).toMatchObject({ needsCatchUp: false });
});

test('N + 1 before N in one transaction ⇒ in their order', async () => {
  const { house, room, send, since } = await peeked();
  const [first, second] = [room.message('N'), room.message('N + 1')];
  await send(second, first);
  expect(await since()).toEqual(['N', 'N + 1']);
  expect(asked(house)).toEqual([]);
});

test('what is put again after a gap brings what was missed, and nothing twice', async () => {
  const { house, room, send } = await peeked();
  const device = new TestDevice(house);
  await send(...room.messages(5, 'had'));
  await device.sync();
  room.messages(5, 'missed');
  await send(room.message('after'));
  const seen = brief((await device.sync()).peek.get(room.roomId))?.timeline ?? [];
  await house.sweeps.run();
  seen.push(...(brief((await device.sync()).peek.get(room.roomId))?.timeline ?? []));
  expect(seen.toSorted()).toEqual(['after', ...Array.from({ length: 5 }, (_, i) => `missed ${i}`)]);
});

test.each(['10', '11'])(
  'a redaction that arrives before its target prunes it (version %s)',
  async (version) => {
    const { house, room, send, entries } = await peeked(version);
    const target = room.message('regretted');
    const redaction = room.redaction(target.eventId);
    await send(redaction);
    await send(target);
    expect(JSON.stringify(await entries())).not.toContain('regretted');
    expect((await entries()).map(({ eventId }) => eventId)).toEqual([redaction.eventId, target.eventId]);
    expect((await house.log(room.roomId)).closed).toBeNull();
  },
);

test.each([false, true])(
  'an event between the answer to the PUT and its sending ⇒ had by asking once more; who begins before it answers is not asked (%s)',
  async (seamless) => {
    const house = await PeekingHouse.open();
    const room = house.remoteRoom(new RoomBuilder());
    house.remote.on(PEER, 'PUT', `/peek/${room.roomId}/`, () => {
      const { messages: _, ...answer } = room.peekAnswer();
      return seamless ? room.peekAnswer() : answer;
    });
    await house.peek(room.roomId);
    expect(await house.log(room.roomId)).toMatchObject({ needsCatchUp: !seamless });
    room.message('in between');
    await house.sweeps.run();
    const { head, needsCatchUp } = await house.log(room.roomId);
    const [newest] = await house.store.logs.readLast(room.roomId, head, 1);
    expect(newest?.json.includes('in between')).toBe(!seamless);
    expect(needsCatchUp).toBe(false);
  },
);

test('a slow key server holds the events of a room for ten seconds, those of other rooms not at all', async () => {
  const { house, room, send, since } = await peeked('10', (builder) =>
    builder.member('@slow:slow.test', 'join'),
  );
  house.keys.unknown.add('slow.test');
  const never = new Promise<null>(() => {});
  const publicKey = house.keys.publicKey.bind(house.keys);
  house.keys.publicKey = (server, keyId) => (server === 'slow.test' ? never : publicKey(server, keyId));
  let settled = false;
  const taken = send(room.message('slow', '@slow:slow.test'), room.message('quick')).then(() => {
    settled = true;
  });
  await house.clock.advance(9_000);
  expect(settled).toBe(false);
  await house.clock.advance(2_000);
  await taken;
  expect((await since()).at(-1)).toBe('quick');
});

test('an event whose key is not to be had in time ⇒ the room is asked for again, and it is there then', async () => {
  const { house, room, send, since } = await peeked('10', (builder) => builder.member(GUEST, 'join'));
  const device = new TestDevice(house);
  await device.sync();
  house.keys.unknown.add(OTHER);
  await send(room.message('unverified', GUEST));
  expect(await since()).toEqual([]);
  expect(await house.log(room.roomId)).toMatchObject({ needsCatchUp: true });
  house.keys.unknown.delete(OTHER);
  await house.sweeps.run();
  expect(brief((await device.sync()).peek.get(room.roomId))?.timeline).toEqual(['unverified']);
  expect(await house.log(room.roomId)).toMatchObject({ needsCatchUp: false });
});

test('a transaction of one room is stored in one step', async () => {
  const { house, room, send, since } = await peeked();
  const { logs } = house.store;
  const append = logs.append.bind(logs);
  const steps: number[] = [];
  logs.append = (roomId, what) => {
    steps.push(what.entries.length);
    return append(roomId, what);
  };
  const events = [...room.messages(30), room.state('m.room.topic', '', { topic: 'x' }), ...room.messages(19)];
  expect((await send(...events)).every(({ error }) => error === null)).toBe(true);
  expect(steps).toEqual([50]);
  expect(await since()).toHaveLength(50);
});

test('the store fails in the middle ⇒ the transaction is not acknowledged, and comes whole the next time', async () => {
  const { house, room, send, since } = await peeked();
  const { logs } = house.store;
  const append = logs.append.bind(logs);
  logs.append = () => Promise.reject(new Error('the disk is full'));
  const events = room.messages(3);
  await expect(send(...events)).rejects.toThrow('the disk is full');
  logs.append = append;
  expect((await send(...events)) as unknown as JsonObject[]).toHaveLength(3);
  expect(await since()).toHaveLength(3);
});
