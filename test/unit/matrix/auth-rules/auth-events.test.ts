import { expect, test } from 'vitest';
import {
  type AuthEvent,
  authTypesFor,
  checkAuthEventsSelection,
  type StateName,
} from '../../../../src/matrix/auth-rules/auth-events.ts';
import { eventIdOf } from '../../../../src/matrix/event-id.ts';
import type { Json } from '../../../../src/matrix/json.ts';
import type { Pdu } from '../../../../src/matrix/pdu.ts';
import { SUPPORTED_ROOM_VERSIONS } from '../../../../src/matrix/room-versions.ts';
import {
  ALICE,
  type EventSketch,
  GUEST,
  MOD,
  member,
  message,
  rulesOf,
  sceneOf,
  state,
  USER,
} from './sketch.ts';

const CREATE: StateName = ['m.room.create', ''];
const LEVELS: StateName = ['m.room.power_levels', ''];
const JOIN_RULES: StateName = ['m.room.join_rules', ''];
const memberOf = (user: string): StateName => ['m.room.member', user];

function typesFor(event: EventSketch, version: string): StateName[] {
  return authTypesFor(sceneOf({ title: '', event }, version).event, rulesOf(version));
}

test.each(SUPPORTED_ROOM_VERSIONS)('the state that may authorise an event: version %s', (version) => {
  const number = Number(version);
  const create = number >= 12 ? [] : [CREATE];
  const always = (user: string) => [...create, LEVELS, memberOf(user)];
  expect(typesFor(state('m.room.create', ALICE, {}), version)).toEqual([]);
  expect(typesFor(message(USER), version)).toEqual(always(USER));
  expect(typesFor(member(USER, USER, 'leave'), version)).toEqual(always(USER));
  expect(typesFor(member(USER, USER, 'join'), version)).toEqual([...always(USER), JOIN_RULES]);
  expect(typesFor(member(MOD, USER, 'ban'), version)).toEqual([...always(MOD), memberOf(USER)]);
  expect(typesFor(member(MOD, USER, 'invite'), version)).toEqual([
    ...always(MOD),
    memberOf(USER),
    JOIN_RULES,
  ]);
  expect(typesFor(member(USER, USER, 'knock'), version)).toEqual([...always(USER), JOIN_RULES]);
  const invite = { third_party_invite: { signed: { token: '__proto__' } } };
  expect(typesFor(member(MOD, USER, 'invite', invite), version)).toEqual([
    ...always(MOD),
    memberOf(USER),
    JOIN_RULES,
    ['m.room.third_party_invite', '__proto__'],
  ]);
  for (const odd of [null, 'x', {}, { signed: [] }, { signed: { token: 1 } }]) {
    expect(typesFor(member(MOD, USER, 'invite', { third_party_invite: odd }), version)).toHaveLength(
      always(MOD).length + 2,
    );
  }
  const authorised = (user: Json) => member(GUEST, GUEST, 'join', { join_authorised_via_users_server: user });
  const plain = [...always(GUEST), JOIN_RULES];
  expect(typesFor(authorised(MOD), version)).toEqual(number >= 8 ? [...plain, memberOf(MOD)] : plain);
  expect(typesFor(authorised(GUEST), version)).toEqual(plain);
  expect(typesFor(authorised(5), version)).toEqual(plain);
  const odd = member(MOD, GUEST, 'join', { join_authorised_via_users_server: MOD });
  expect(typesFor(odd, version)).toEqual([...always(MOD), memberOf(GUEST), JOIN_RULES]);
});

interface Choice {
  readonly chosen: (state: ReadonlyMap<string, Pdu>) => readonly Pdu[];
  readonly rejected?: string;
  readonly denied?: string;
}

function check({ chosen, rejected, denied }: Choice, version: string): void {
  const { event, state: events, rules } = sceneOf({ title: '', event: message(USER) }, version);
  const byName = new Map(events.map((each) => [`${each.type} ${String(each.state_key)}`, each]));
  const known = new Map<string, AuthEvent>();
  const ids = chosen(byName).map((each) => {
    const id = eventIdOf(each, rules);
    if (each.type !== 'unknown') known.set(id, { event: each, rejected: each.type === rejected });
    return rules.eventIds === 'named' ? [id, { sha256: '' }] : id;
  });
  const verdict = checkAuthEventsSelection(
    { ...event, auth_events: ids },
    (id) => known.get(id) ?? null,
    rules,
  );
  expect(verdict, `version ${version}`).toEqual(
    denied === undefined ? { allowed: true } : { allowed: false, reason: expect.stringContaining(denied) },
  );
}

const get = (events: ReadonlyMap<string, Pdu>, name: string): Pdu => events.get(name) as Pdu;
const create = (events: ReadonlyMap<string, Pdu>) => get(events, 'm.room.create ');
const levels = (events: ReadonlyMap<string, Pdu>) => get(events, 'm.room.power_levels ');
const own = (events: ReadonlyMap<string, Pdu>) => get(events, `m.room.member ${USER}`);

const before12: [string, Choice][] = [
  ['all of them', { chosen: (s) => [create(s), levels(s), own(s)] }],
  ['in any order', { chosen: (s) => [own(s), create(s), levels(s)] }],
  ['the create event alone', { chosen: (s) => [create(s)] }],
  ['none', { chosen: () => [], denied: 'create event is not among' }],
  ['all but the create event', { chosen: (s) => [levels(s), own(s)], denied: 'create event is not among' }],
  [
    'the create event of another room',
    { chosen: (s) => [{ ...create(s), room_id: '!else:home' }], denied: 'another room' },
  ],
  [
    'a rejected create event',
    { chosen: (s) => [create(s)], rejected: 'm.room.create', denied: 'was rejected' },
  ],
];
const on12: [string, Choice][] = [
  ['all of them', { chosen: (s) => [levels(s), own(s)] }],
  ['none', { chosen: () => [] }],
  ['the create event too', { chosen: (s) => [create(s), levels(s), own(s)], denied: 'none that authorises' }],
];
const anywhere: [string, Choice][] = [
  [
    'missing/extra auth_events types: join rules',
    { chosen: (s) => [get(s, 'm.room.join_rules ')], denied: 'none that authorises' },
  ],
  [
    'the membership of another',
    { chosen: (s) => [get(s, `m.room.member ${MOD}`)], denied: 'none that authorises' },
  ],
  [
    'an event that is no state',
    { chosen: (s) => [{ ...levels(s), state_key: null }], denied: 'none that authorises' },
  ],
  [
    'duplicate: the same event twice',
    { chosen: (s) => [levels(s), levels(s)], denied: 'same type and state key' },
  ],
  [
    'duplicate: two events for one state',
    {
      chosen: (s) => [levels(s), { ...levels(s), depth: 99, event_id: '$else:home' }],
      denied: 'same type and state key',
    },
  ],
  ['an event nobody knows', { chosen: (s) => [{ ...own(s), type: 'unknown' }], denied: 'not known' }],
  [
    'a rejected event',
    { chosen: (s) => [levels(s)], rejected: 'm.room.power_levels', denied: 'was rejected' },
  ],
  [
    'an event of another room',
    { chosen: (s) => [{ ...levels(s), room_id: '!else:home' }], denied: 'another room' },
  ],
  [
    '10 000 of them',
    { chosen: (s) => Array<Pdu>(10_000).fill(levels(s)), denied: 'same type and state key' },
  ],
];

test.each([...before12, ...anywhere])('auth_events, versions 1–11: %s', (_, choice) => {
  for (const version of SUPPORTED_ROOM_VERSIONS.slice(0, 11)) check(choice, version);
});

test.each([...on12, ...anywhere])('auth_events, version 12: %s', (_, choice) => check(choice, '12'));

test('a create event has no auth_events that would matter', () => {
  const { state: events, rules } = sceneOf({ title: '', event: message(USER) }, '10');
  expect(checkAuthEventsSelection(events[0] as Pdu, () => null, rules)).toEqual({ allowed: true });
});
