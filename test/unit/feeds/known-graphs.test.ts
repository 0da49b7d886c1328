import { expect, test } from 'vitest';
import { newEntry } from '../../../src/rooms/log-entries.ts';
import type { BuiltEvent } from '../../support/room-builder.ts';
import { peeked } from './peeked-room.ts';

const flags = { shown: true, applied: true };

test('what another process has appended meanwhile is part of the graph: no fork where there is none', async () => {
  const { house, room, send } = await peeked();
  await send(room.message('mine'));
  const theirs = room.state('m.room.topic', '', { topic: 'theirs' });
  const entries = [newEntry({ ...theirs, replaces: null }, 0, flags)];
  await house.store.logs.append(room.roomId, { entries, intoReplica: true });
  await send(room.message('mine again'), room.state('m.room.topic', '', { topic: 'mine' }));
  expect((await house.metrics.forks.get()).values[0]?.value ?? 0).toBe(0);
  expect(await house.log(room.roomId)).toMatchObject({ needsCatchUp: false });
});

test('what could not be stored is not believed: what follows on it is a gap until it comes', async () => {
  const { house, room, send, since } = await peeked();
  await send(room.message('stored'));
  const { logs } = house.store;
  const append = logs.append.bind(logs);
  logs.append = () => Promise.reject(new Error('the disk is full'));
  const lost = room.message('lost');
  await expect(send(lost)).rejects.toThrow('the disk is full');
  logs.append = append;
  const after = room.message('after');
  await send(after);
  expect(await house.log(room.roomId)).toMatchObject({ needsCatchUp: true });
  await send(lost);
  expect(await since()).toEqual(['stored', 'after', 'lost']);
});

test('a fork is seen across transactions, and over more of them than are read at once', async () => {
  const { house, room, send } = await peeked();
  for (let i = 0; i < 12; i++) await send(...room.messages(50));
  const base = room.latest;
  const topic = (text: string): BuiltEvent =>
    room.make({ type: 'm.room.topic', stateKey: '', content: { topic: text }, prev: [base.eventId] });
  await send(topic('one'));
  expect(await house.log(room.roomId)).toMatchObject({ needsCatchUp: false });
  await send(topic('other'));
  expect(await house.log(room.roomId)).toMatchObject({ needsCatchUp: true });
});
