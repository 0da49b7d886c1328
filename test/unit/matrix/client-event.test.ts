import { expect, test } from 'vitest';
import { federationFormat, toClientEvent } from '../../../src/matrix/client-event.ts';
import { historyVisibilityOf } from '../../../src/matrix/history-visibility.ts';
import type { JsonObject } from '../../../src/matrix/json.ts';

const pdu: JsonObject = {
  type: 'm.room.topic',
  state_key: '',
  sender: '@a:b',
  content: { topic: 'x' },
  origin_server_ts: 1000,
  room_id: '!r:b',
  depth: 3,
  prev_events: [],
  auth_events: [],
  hashes: {},
  signatures: {},
  origin: 'b',
  unsigned: { age: 1, prev_content: {}, transaction_id: 'secret' },
};

test('clients get the event, not what servers need nor what others put into unsigned', () => {
  expect(toClientEvent(pdu, '$e', { now: 1500 })).toEqual({
    type: 'm.room.topic',
    state_key: '',
    sender: '@a:b',
    content: { topic: 'x' },
    origin_server_ts: 1000,
    event_id: '$e',
    unsigned: { age: 500 },
  });
});

test('the room ID is there when asked for; age is given, taken from the clock, or absent', () => {
  expect(toClientEvent(pdu, '$e', { roomId: '!r:b', age: 7 })).toMatchObject({
    room_id: '!r:b',
    unsigned: { age: 7 },
  });
  expect(toClientEvent(pdu, '$e', { roomId: null })).not.toHaveProperty('room_id');
  expect(toClientEvent(pdu, '$e').unsigned).toEqual({});
  expect(toClientEvent(pdu, '$e', { now: 1 }).unsigned).toEqual({ age: 0 });
});

test('an event that is not state has no state_key', () => {
  const { state_key: _none, ...message } = pdu;
  expect(toClientEvent(message, '$e')).not.toHaveProperty('state_key');
});

test('a redaction names its target in both places', () => {
  const old = { ...pdu, type: 'm.room.redaction', redacts: '$t', content: { reason: 'r' } };
  const recent = { ...pdu, type: 'm.room.redaction', content: { reason: 'r', redacts: '$t' } };
  for (const event of [
    toClientEvent(old, '$e'),
    toClientEvent(old, '$e', { redactsPlace: 'event' }),
    toClientEvent(recent, '$e'),
    toClientEvent(recent, '$e', { redactsPlace: 'content' }),
  ]) {
    expect(event).toMatchObject({ redacts: '$t', content: { reason: 'r', redacts: '$t' } });
  }
  const both = { ...recent, redacts: '$other' };
  expect(toClientEvent(both, '$e', { redactsPlace: 'content' }).redacts).toBe('$t');
  expect(toClientEvent(both, '$e', { redactsPlace: 'event' }).redacts).toBe('$other');
  expect(toClientEvent({ ...recent, content: {} }, '$e')).not.toHaveProperty('redacts');
  expect(old.content).toEqual({ reason: 'r' });
});

test('federation format keeps the PDU and adds its ID', () => {
  expect(federationFormat(pdu, '$e', { now: 1500 })).toEqual({
    ...pdu,
    event_id: '$e',
    unsigned: { age: 500 },
  });
});

test('missing event = `shared`; malformed value = shared', () => {
  expect(historyVisibilityOf(null)).toBe('shared');
  for (const value of [undefined, null, 1, [], {}, '', 'WORLD_READABLE', 'constructor']) {
    expect(historyVisibilityOf({ history_visibility: value } as JsonObject)).toBe('shared');
  }
  for (const value of ['world_readable', 'shared', 'invited', 'joined']) {
    expect(historyVisibilityOf({ history_visibility: value })).toBe(value);
  }
});
