import { expect, test } from 'vitest';
import { canonicalJson } from '../../../src/matrix/canonical-json.ts';
import { isEventId } from '../../../src/matrix/event-id.ts';
import { hasValidContentHash } from '../../../src/matrix/hashes.ts';
import type { Json, JsonObject } from '../../../src/matrix/json.ts';
import {
  authEventIds,
  checkPdu,
  PduError,
  prevEventIds,
  requiredSigners,
  roomIdOf,
  stateKeyOf,
  stripUnsigned,
} from '../../../src/matrix/pdu.ts';
import { redact } from '../../../src/matrix/redaction.ts';
import { type RoomVersionRules, roomVersion } from '../../../src/matrix/room-versions.ts';

const rules = (version: string) => roomVersion(version) as RoomVersionRules;
const eventId = (letter: string) => `$${letter.repeat(43)}`;

function event(change: JsonObject = {}): JsonObject {
  return {
    type: 'm.room.message',
    room_id: '!r:domain',
    sender: '@a:domain',
    content: { body: 'hello' },
    depth: 12,
    origin_server_ts: 1_700_000_000_000,
    prev_events: [eventId('a')],
    auth_events: [eventId('b'), eventId('c')],
    hashes: { sha256: 'x' },
    signatures: { domain: { 'ed25519:1': 'x' } },
    ...change,
  };
}

function named(change: JsonObject = {}): JsonObject {
  return event({
    event_id: '$e:maker.example',
    prev_events: [['$p:domain', { sha256: 'x' }]],
    auth_events: [['$q:domain', {}]],
    ...change,
  });
}

const refused = (value: Json, version = '10') =>
  expect(() => checkPdu(value, rules(version)), JSON.stringify(value));

test('an event of its room version passes as it is', () => {
  for (const version of ['4', '6', '11']) expect(checkPdu(event(), rules(version))).toEqual(event());
  for (const version of ['1', '2']) expect(checkPdu(named(), rules(version))).toEqual(named());
});

test('65 536 / 65 537 bytes', () => {
  const padding = 65_536 - Buffer.byteLength(canonicalJson(event({ content: { body: '' } })));
  const sized = (bytes: number) =>
    event({ content: { body: 'é'.repeat(bytes >> 1) + 'x'.repeat(bytes & 1) } });
  expect(checkPdu(sized(padding), rules('10')).type).toBe('m.room.message');
  refused(sized(padding + 1)).toThrow(PduError);
  // What servers add on the way does not count.
  checkPdu({ ...sized(padding), unsigned: { age: 1.5 } }, rules('10'));
});

test('type, state_key: 255 bytes, and strings', () => {
  for (const name of ['type', 'state_key']) {
    checkPdu(event({ [name]: 'x'.repeat(255) }), rules('10'));
    refused(event({ [name]: 'x'.repeat(256) })).toThrow(PduError);
    refused(event({ [name]: 'é'.repeat(128) })).toThrow(PduError);
    refused(event({ [name]: 1 })).toThrow(PduError);
    refused(event({ [name]: null })).toThrow(PduError);
  }
  refused(event({ sender: `@${'x'.repeat(255)}:domain` })).toThrow(PduError);
  refused(event({ room_id: `!${'x'.repeat(255)}:domain` })).toThrow(PduError);
});

test('prev_events 21+, and 10 000 auth_events ⇒ refused', () => {
  checkPdu(event({ prev_events: Array(20).fill(eventId('a')) }), rules('10'));
  refused(event({ prev_events: Array(21).fill(eventId('a')) })).toThrow('prev_events');
  checkPdu(event({ auth_events: Array(10).fill(eventId('a')) }), rules('10'));
  refused(event({ auth_events: Array(11).fill(eventId('a')) })).toThrow('auth_events');
  refused(event({ auth_events: Array(10_000).fill('') })).toThrow(PduError);
});

test('depth ±2⁶³, −1, string ⇒ refused', () => {
  for (const version of ['1', '5', '6', '12']) {
    for (const depth of [2 ** 63, -(2 ** 63), -1, '1', null, 1.5, [], 2 ** 64]) {
      const pdu = Number(version) < 3 ? named({ depth }) : event({ depth });
      refused(pdu, version).toThrow(PduError);
    }
  }
  expect(checkPdu(event({ depth: 0 }), rules('6')).depth).toBe(0);
  expect(checkPdu(event({ depth: 2 ** 53 - 1 }), rules('6')).depth).toBe(2 ** 53 - 1);
  refused(event({ depth: 2 ** 53 }), '6').toThrow(PduError);
  expect(checkPdu(event({ depth: 2 ** 60 }), rules('5')).depth).toBe(2 ** 60);
});

test('`origin_server_ts` in year 10 000 ⇒ accepted; no integer ⇒ refused', () => {
  checkPdu(event({ origin_server_ts: 253_402_300_800_000 }), rules('10'));
  for (const ts of ['1', null, 1.5]) refused(event({ origin_server_ts: ts })).toThrow(PduError);
});

test('float, 2⁵³ and lone surrogates ⇒ refused from version 6 on, floats tolerated before', () => {
  for (const number of [1.5, 2 ** 53, -0]) {
    expect(checkPdu(event({ content: { number } }), rules('5')).content).toEqual({ number });
    refused(event({ content: { number } }), '6').toThrow(PduError);
  }
  refused(event({ content: { body: '\ud800' } }), '5').toThrow(PduError);
  refused(event({ content: { body: '\ud800' } }), '6').toThrow(PduError);
});

test('32 000 nesting ⇒ refused', () => {
  let deep: Json = [];
  for (let i = 0; i < 32_000; i++) deep = [deep];
  expect(() => checkPdu(event({ content: { deep } }), rules('10'))).toThrow(PduError);
});

test('event ID wrong for version ⇒ refused', () => {
  const standard = `$${'+'.repeat(43)}`;
  const urlSafe = `$${'_'.repeat(43)}`;
  expect(isEventId(standard, rules('3'))).toBe(true);
  expect(isEventId(standard, rules('4'))).toBe(false);
  expect(isEventId(urlSafe, rules('3'))).toBe(false);
  expect(isEventId(urlSafe, rules('4'))).toBe(true);
  expect(isEventId('$a:domain', rules('4'))).toBe(false);
  expect(isEventId('$a:domain', rules('2'))).toBe(true);
  expect(isEventId('a:domain', rules('2'))).toBe(false);
  expect(isEventId('$a', rules('2'))).toBe(false);
  refused(event({ prev_events: [standard] }), '4').toThrow('prev_events');
  refused(event({ auth_events: ['$a:domain'] }), '4').toThrow('auth_events');
  refused(named({ event_id: '$nodomain' }), '1').toThrow('event_id');
  refused(named({ event_id: null }), '1').toThrow('event_id');
  refused(event({ event_id: '$e:domain' }), '1').toThrow(PduError);
  for (const pair of [['$p:domain'], ['$p:domain', 'x'], ['$p:domain', {}, 1], '$p:domain', null]) {
    refused(named({ prev_events: [pair] }), '2').toThrow('prev_events');
  }
});

test('members that are missing or of another type ⇒ refused', () => {
  for (const name of [
    'type',
    'room_id',
    'sender',
    'content',
    'depth',
    'origin_server_ts',
    'prev_events',
    'auth_events',
    'hashes',
    'signatures',
  ]) {
    const { [name]: _gone, ...rest } = event();
    refused(rest).toThrow(PduError);
    for (const wrong of [null, true, [1], {}, '', 1.5]) {
      if (name === 'content' || name === 'hashes' || name === 'signatures') {
        if (JSON.stringify(wrong) === '{}') continue;
      }
      if (name === 'type' && wrong === '') continue;
      refused(event({ [name]: wrong })).toThrow(PduError);
    }
  }
  for (const value of [null, 1, 'x', [], [event()]]) refused(value).toThrow(PduError);
});

test('`__proto__`, `constructor`, `toJSON`, `hasOwnProperty` as type, state_key, room ID, user ID', () => {
  for (const name of ['__proto__', 'constructor', 'toJSON', 'hasOwnProperty']) {
    const pdu = checkPdu(
      event({ type: name, state_key: name, room_id: `!${name}:domain`, sender: `@${name}:domain` }),
      rules('10'),
    );
    expect(stateKeyOf(pdu)).toBe(name);
    expect(roomIdOf(pdu, rules('10'))).toBe(`!${name}:domain`);
    expect(requiredSigners(pdu, rules('10'))).toEqual(['domain']);
    expect(redact(pdu, rules('10')).content).toEqual({});
    const hostile = JSON.parse(`{"${name}":{"sha256":"x"}}`) as JsonObject;
    expect(hasValidContentHash(checkPdu(event({ hashes: hostile, content: hostile }), rules('10')))).toBe(
      false,
    );
    refused(event({ room_id: name })).toThrow(PduError);
    refused(event({ sender: name })).toThrow(PduError);
  }
});

test('the room ID has the form of the room version', () => {
  const hashed = `!${'h'.repeat(43)}`;
  expect(roomIdOf(checkPdu(event({ room_id: hashed }), rules('12')), rules('12'))).toBe(hashed);
  refused(event({ room_id: hashed }), '11').toThrow('room_id');
  refused(event({ room_id: '!r:domain' }), '12').toThrow('room_id');
});

test('unsigned can be stripped', () => {
  expect(stripUnsigned(event({ unsigned: { age: 1 } }))).toEqual(event());
});

test('references to other events', () => {
  expect(prevEventIds(event(), rules('10'))).toEqual([eventId('a')]);
  expect(authEventIds(event(), rules('10'))).toEqual([eventId('b'), eventId('c')]);
  expect(prevEventIds(named(), rules('1'))).toEqual(['$p:domain']);
  expect(authEventIds(named(), rules('1'))).toEqual(['$q:domain']);
  expect(prevEventIds({ prev_events: 'x' }, rules('10'))).toEqual([]);
});

test('whose signatures an event needs', () => {
  const member = (content: JsonObject, version = '10') =>
    requiredSigners(
      checkPdu(event({ type: 'm.room.member', state_key: '@x:other', content }), rules(version)),
      rules(version),
    );
  expect(requiredSigners(checkPdu(event(), rules('10')), rules('10'))).toEqual(['domain']);
  expect(requiredSigners(checkPdu(named(), rules('2')), rules('2'))).toEqual(['domain', 'maker.example']);
  expect(member({ membership: 'invite' })).toEqual(['domain']);
  expect(member({ membership: 'invite', third_party_invite: { signed: {} } })).toEqual([]);
  expect(member({ membership: 'join', third_party_invite: { signed: {} } })).toEqual(['domain']);
  const restricted = { membership: 'join', join_authorised_via_users_server: '@boss:resident.example' };
  expect(member(restricted)).toEqual(['domain', 'resident.example']);
  expect(member(restricted, '8')).toEqual(['domain', 'resident.example']);
  expect(member(restricted, '7')).toEqual(['domain']);
  expect(() => member({ membership: 'join', join_authorised_via_users_server: 'x' })).toThrow(PduError);
});
