import { expect, test } from 'vitest';
import {
  actionLevel,
  powerLevelOf,
  readLevel,
  requiredLevel,
} from '../../../../src/matrix/auth-rules/power-levels.ts';
import type { Json, JsonObject } from '../../../../src/matrix/json.ts';
import type { Pdu } from '../../../../src/matrix/pdu.ts';
import { SUPPORTED_ROOM_VERSIONS } from '../../../../src/matrix/room-versions.ts';
import { ADMIN, ALICE, rulesOf, USER } from './sketch.ts';

function eventOf(content: JsonObject, sender = ALICE): Pdu {
  return { type: 'm.x', sender, content, depth: 1, origin_server_ts: 1 };
}

test('levels are read as versions 1–9 write them', () => {
  const read: [Json, number][] = [
    [50, 50],
    [-50, -50],
    [50.57, 50],
    [-50.57, -50],
    [5.114698e4, 51146],
    [1e300, 1e300],
    ['100', 100],
    ['000100', 100],
    ['+100', 100],
    ['-100', -100],
    [' \t100\n ', 100],
  ];
  for (const [value, level] of read) expect(readLevel(value), String(value)).toBe(level);
});

test('what is no level reads as NaN', () => {
  const huge = '9'.repeat(400);
  for (const value of ['', ' ', 'x', '1.0', '1e2', '0x10', '+-1', '- 1', '1 2', '１', 'Infinity', huge]) {
    expect(readLevel(value), value).toBeNaN();
  }
  for (const value of [JSON.parse('1e999'), null, true, [], [1], {}, { valueOf: 1 }]) {
    expect(readLevel(value), JSON.stringify(value)).toBeNaN();
  }
});

test.each(SUPPORTED_ROOM_VERSIONS)(
  'who made the room, without and with power levels: version %s',
  (version) => {
    const rules = rulesOf(version);
    const create = eventOf({ creator: ADMIN, additional_creators: [USER] });
    const number = Number(version);
    const levels = eventOf({ users: { [ADMIN]: 10 }, users_default: 3 });
    expect(powerLevelOf(ALICE, null, create, rules)).toBe(number >= 12 ? Infinity : number === 11 ? 100 : 0);
    expect(powerLevelOf(ADMIN, null, create, rules)).toBe(number <= 10 ? 100 : 0);
    expect(powerLevelOf(USER, null, create, rules)).toBe(number >= 12 ? Infinity : 0);
    expect(powerLevelOf(ALICE, levels, create, rules)).toBe(number >= 12 ? Infinity : 3);
    expect(powerLevelOf(ADMIN, levels, create, rules)).toBe(10);
    expect(powerLevelOf('__proto__', levels, create, rules)).toBe(3);
    expect(powerLevelOf('constructor', eventOf({}), create, rules)).toBe(0);
    expect(powerLevelOf(ADMIN, eventOf({ users: [] }), create, rules)).toBeNaN();
    expect(powerLevelOf(ADMIN, eventOf({ users: { [ADMIN]: 'x' } }), create, rules)).toBeNaN();
  },
);

test('a prototype gives no levels', () => {
  const levels = eventOf(
    JSON.parse('{"__proto__":{"users_default":100,"users":{"@a:b":100},"events_default":100}}'),
  );
  expect(powerLevelOf('@a:b', levels, eventOf({}), rulesOf('10'))).toBe(0);
  expect(requiredLevel('m.x', false, levels)).toBe(0);
});

test('needed levels: the type, then the default of its kind, then 50 for state and 0 for the rest', () => {
  expect(requiredLevel('m.x', true, null)).toBe(50);
  expect(requiredLevel('m.x', false, null)).toBe(0);
  expect(requiredLevel('m.x', true, eventOf({}))).toBe(50);
  expect(requiredLevel('m.x', false, eventOf({}))).toBe(0);
  const levels = eventOf({ state_default: '7', events_default: 8, events: { 'm.x': 9, 'm.none': null } });
  expect(requiredLevel('m.x', true, levels)).toBe(9);
  expect(requiredLevel('m.y', true, levels)).toBe(7);
  expect(requiredLevel('m.none', false, levels)).toBe(8);
  expect(requiredLevel('toString', false, levels)).toBe(8);
  expect(requiredLevel('m.x', false, eventOf({ events: 'all' }))).toBeNaN();
});

test('actions: 50 to ban, kick and redact, 0 to invite, unless the room says otherwise', () => {
  for (const levels of [null, eventOf({})]) {
    const defaults = (['ban', 'kick', 'redact', 'invite'] as const).map((action) =>
      actionLevel(action, levels),
    );
    expect(defaults).toEqual([50, 50, 50, 0]);
  }
  expect(actionLevel('invite', eventOf({ invite: 30 }))).toBe(30);
  expect(actionLevel('kick', eventOf({ kick: {} }))).toBeNaN();
});
