import fc from 'fast-check';
import { expect, test } from 'vitest';
import { authTypesFor, checkAuthEventsSelection } from '../../../../src/matrix/auth-rules/auth-events.ts';
import { authStateOf } from '../../../../src/matrix/auth-rules/auth-state.ts';
import { authorise } from '../../../../src/matrix/auth-rules/authorise.ts';
import { encodeBase64 } from '../../../../src/matrix/base64.ts';
import { type Json, type JsonObject, ownMember } from '../../../../src/matrix/json.ts';
import type { Pdu } from '../../../../src/matrix/pdu.ts';
import { SUPPORTED_ROOM_VERSIONS } from '../../../../src/matrix/room-versions.ts';
import {
  ADMIN,
  ALICE,
  GUEST,
  MOD,
  member,
  message,
  rulesOf,
  type Scene,
  sceneOf,
  state,
  USER,
} from './sketch.ts';

const NAMES = [
  ...['__proto__', 'constructor', 'toString', 'hasOwnProperty', '', '@', ALICE, ADMIN, USER, GUEST],
  ...['membership', 'join_rule', 'users', 'events', 'notifications', 'users_default', 'ban', 'creator'],
  ...['additional_creators', 'third_party_invite', 'signed', 'token', 'mxid', 'signatures', 'public_key'],
  ...['public_keys', 'join_authorised_via_users_server', 'm.federate', 'room_version', 'ed25519:1'],
];
const WORDS = [
  'join',
  'invite',
  'leave',
  'ban',
  'knock',
  'public',
  'restricted',
  'knock_restricted',
  '50',
  '1',
  '12',
];
const NUMBERS = [0, -0, 50, 1e308, -1e308, 5e-324, 2 ** 53, JSON.parse('1e999') as number, 0.5];
const key = fc.oneof(fc.constantFrom(...NAMES), fc.string({ unit: 'binary', maxLength: 4 }));
const TYPES = [
  'create',
  'member',
  'power_levels',
  'join_rules',
  'third_party_invite',
  'aliases',
  'redaction',
  'topic',
];

const { value } = fc.letrec<{ value: Json }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    fc.constantFrom<Json>(...NAMES, ...WORDS, ...NUMBERS, null, true, false),
    fc.array(tie('value'), { maxLength: 4 }),
    fc.dictionary(key, tie('value'), { maxKeys: 6 }),
  ),
}));
const content = fc.dictionary(key, value, { maxKeys: 8 });

const pdu: fc.Arbitrary<Pdu> = fc
  .record({
    type: fc.constantFrom(...TYPES).map((type) => `m.room.${type}`),
    sender: fc.constantFrom(ALICE, ADMIN, USER, GUEST),
    content,
    depth: fc.nat(),
    origin_server_ts: fc.nat(),
    state_key: fc.oneof(fc.constant(''), key, value),
    room_id: fc.oneof(fc.constant('!room:home'), value),
    event_id: fc.oneof(fc.constant('$a:home'), key),
    prev_events: value,
    auth_events: value,
    redacts: value,
  })
  .map((fields): Pdu => fields);

test('anything in any member: a verdict, never an error', () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...SUPPORTED_ROOM_VERSIONS),
      pdu,
      fc.array(pdu, { maxLength: 8 }),
      (version, event, events) => {
        const rules = rulesOf(version);
        const verdict = authorise(event, String(event.event_id), authStateOf(events), rules);
        if (!verdict.allowed) expect(verdict.reason).not.toBe('');
        expect(authTypesFor(event, rules).length).toBeLessThanOrEqual(6);
        checkAuthEventsSelection(event, () => ({ event: events[0] ?? event, rejected: false }), rules);
      },
    ),
    { numRuns: 2000 },
  );
});

function verdictIn({ event, eventId, state: events, rules }: Scene, change: Partial<Pdu>) {
  return authorise({ ...event, ...change } as Pdu, eventId, authStateOf(events), rules);
}

test('whatever the content: who is outside sends nothing, and nobody joins for another', () => {
  fc.assert(
    fc.property(fc.constantFrom(...SUPPORTED_ROOM_VERSIONS), content, (version, odd) => {
      const outside = sceneOf({ title: '', event: message(GUEST) }, version);
      expect(verdictIn(outside, { content: odd }).allowed).toBe(false);
      const forced = sceneOf(
        { title: '', room: { joinRule: 'public' }, event: member(ADMIN, GUEST, 'join') },
        version,
      );
      expect(verdictIn(forced, { content: { ...odd, membership: 'join' } }).allowed).toBe(false);
    }),
    { numRuns: 500 },
  );
});

test('whatever the power levels: nobody raises anybody above themselves', () => {
  fc.assert(
    fc.property(fc.constantFrom(...SUPPORTED_ROOM_VERSIONS), content, fc.integer(), (version, odd, level) => {
      const levels: JsonObject = { state_default: 0, users: { [ADMIN]: 100, [MOD]: 50 } };
      const users = { [ADMIN]: 100, [MOD]: 50, [USER]: level };
      const event = state('m.room.power_levels', MOD, {});
      const verdict = verdictIn(sceneOf({ title: '', room: { levels }, event }, version), {
        content: { ...odd, users },
      });
      if (verdict.allowed) expect(level).toBeLessThanOrEqual(50);
      const banned = ownMember(odd, 'ban');
      if (verdict.allowed && typeof banned === 'number') expect(banned).toBeLessThan(51);
    }),
    { numRuns: 500 },
  );
});

test('an event of 64 KiB with thousands of signatures and keys is answered soon', () => {
  const signatures = Object.fromEntries(
    Array.from({ length: 1000 }, (_, i) => [`s${i}`, { 'ed25519:1': encodeBase64(new Uint8Array(64)) }]),
  );
  const keys = Array.from({ length: 1000 }, () => ({ public_key: encodeBase64(new Uint8Array(32).fill(9)) }));
  const scene = sceneOf(
    {
      title: '',
      room: { state: [state('m.room.third_party_invite', USER, { public_keys: keys }, 'token')] },
      event: member(USER, GUEST, 'invite', {
        third_party_invite: { signed: { mxid: GUEST, token: 'token', signatures } },
      }),
    },
    '12',
  );
  const started = performance.now();
  expect(verdictIn(scene, {})).toEqual({ allowed: false, reason: expect.stringContaining('no key') });
  expect(performance.now() - started).toBeLessThan(1000);
});
