import { expect, test } from 'vitest';
import { ALICE, PEER } from '../../support/peeking-house.ts';
import type { BuiltEvent } from '../../support/room-builder.ts';
import { peeked } from './peeked-room.ts';

/** The event as a server gives it that takes its content away. */
function stripped({ eventId, pdu }: BuiltEvent): BuiltEvent {
  return { eventId, pdu: { ...pdu, content: {} } };
}

test('an access control list without its content is not taken: the room stays open, and is asked for anew', async () => {
  const { house, room, send, since, count } = await peeked();
  const acl = room.state('m.room.server_acl', '', { allow: ['*'] });
  expect(await send(stripped(acl))).toMatchObject([{ error: expect.stringContaining('content') }]);
  await house.settle();
  expect(await since()).toEqual([]);
  expect(await count('eventsDropped', 'reason', 'content')).toBe(1);
  expect(await house.log(room.roomId)).toMatchObject({ closed: null, needsCatchUp: true });
  await send(acl);
  await house.settle();
  expect(await since()).toEqual(['server_acl']);
  expect((await house.log(room.roomId)).closed).toBeNull();
  const [current] = await house.store.replicas.stateOf(room.roomId, [['m.room.server_acl', '']]);
  expect(current).toMatchObject({ eventId: acl.eventId, json: expect.stringContaining('allow') });
});

test('nor when the peeked server has nothing else when it is asked anew: the room is read as it was', async () => {
  const { house, room, send } = await peeked();
  const acl = room.state('m.room.server_acl', '', { allow: ['*'] });
  const answer = room.peekAnswer();
  const state = (answer.state as BuiltEvent['pdu'][]).map((pdu) =>
    pdu.type === acl.pdu.type ? stripped(acl).pdu : pdu,
  );
  const messages = (answer.messages as BuiltEvent['pdu'][]).slice(0, -1);
  house.remote.on(PEER, 'PUT', '/peek/', {
    ...answer,
    state,
    messages,
    latest_event: messages.at(-1) ?? null,
  });
  await send(stripped(acl));
  await house.outbound.sweep(house.clock.now());
  await house.settle();
  expect(house.remote.sent('PUT')).toHaveLength(2);
  expect((await house.log(room.roomId)).closed).toBeNull();
  expect(await house.store.replicas.stateOf(room.roomId, [['m.room.server_acl', '']])).toEqual([]);
  expect(await house.devicePeeks.of(ALICE)).toHaveLength(1);
});

test('a message beside it is taken, redacted or not', async () => {
  const { room, send, since } = await peeked();
  const topic = room.state('m.room.topic', '', { topic: 'now' });
  const [one, two] = room.messages(2, 'said');
  if (one === undefined || two === undefined) throw new Error('two were said');
  await send(stripped(topic), stripped(one), two);
  expect(await since()).toEqual(['message', 'said 1']);
});

test('what closes the room closes it without its content too', async () => {
  const { house, room, send } = await peeked();
  const encryption = room.state('m.room.encryption', '', { algorithm: 'm.megolm.v1.aes-sha2' });
  await send(stripped(encryption));
  expect((await house.log(room.roomId)).closed).toMatchObject({ reason: 'encryption' });
});
