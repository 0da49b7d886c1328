import type { Json, JsonObject } from '../../../../../src/matrix/json.ts';
import { ADMIN, ALICE, type AuthCase, LEVEL_FIELDS, MOD, state, USER } from '../sketch.ts';

/** Everybody here may send power levels; MOD has 50. */
const OPEN: JsonObject = { state_default: 0, users: { [ADMIN]: 100, [MOD]: 50, '@mod2:home': 50 } };

interface Change {
  readonly title: string;
  readonly by?: string;
  /** Over `OPEN`. */
  readonly before?: JsonObject;
  readonly after: JsonObject;
  readonly versions?: readonly [number, number];
  readonly denied?: string;
  readonly synapseDiffers?: string;
}

function change({ title, by = MOD, before = {}, after, ...rest }: Change): AuthCase {
  return {
    title: `power levels: ${title}`,
    room: { levels: { ...OPEN, ...before } },
    event: state('m.room.power_levels', by, { ...OPEN, ...before, ...after }),
    ...rest,
  };
}

const ABOVE = "above the sender's";

const fields: AuthCase[] = LEVEL_FIELDS.flatMap((field) => [
  change({ title: `${field} added, up to the sender's`, after: { [field]: 50 } }),
  change({ title: `${field} added, above`, after: { [field]: 51 }, denied: ABOVE }),
  change({
    title: `${field} above is lowered`,
    before: { [field]: 51 },
    after: { [field]: 0 },
    denied: field === 'state_default' ? 'too low' : ABOVE,
  }),
]);

const users = (entries: JsonObject): JsonObject => ({ users: { ...(OPEN.users as JsonObject), ...entries } });
const without = (...names: string[]): JsonObject => ({
  users: Object.fromEntries(
    Object.entries(OPEN.users as JsonObject).filter(([name]) => !names.includes(name)),
  ),
});

const userChanges: Change[] = [
  { title: 'nothing changes', after: {} },
  { title: 'a user gets up to the sender', after: users({ [USER]: 50 }) },
  { title: 'a user gets above the sender', after: users({ [USER]: 51 }), denied: ABOVE },
  { title: 'a user below is removed', before: users({ [USER]: 49 }), after: users({}) },
  { title: 'a user below is lowered', before: users({ [USER]: 49 }), after: users({ [USER]: 1 }) },
  { title: 'an equal is lowered', after: users({ '@mod2:home': 0 }), denied: 'or above is changed' },
  { title: 'an equal is removed', after: without('@mod2:home'), denied: 'or above is changed' },
  { title: 'an equal is raised', after: users({ '@mod2:home': 51 }), denied: ABOVE },
  { title: 'an admin is lowered', after: users({ [ADMIN]: 0 }), denied: 'or above is changed' },
  { title: 'an admin is removed', after: without(ADMIN), denied: 'or above is changed' },
  { title: 'the sender lowers themselves', after: users({ [MOD]: 1 }) },
  { title: 'the sender removes themselves', after: without(MOD) },
  { title: 'the sender raises themselves', after: users({ [MOD]: 51 }), denied: ABOVE },
  { title: 'a user adds themselves', by: USER, after: users({ [USER]: 0 }) },
  { title: 'a user raises themselves', by: USER, after: users({ [USER]: 1 }), denied: ABOVE },
  { title: 'an admin lowers a moderator', by: ADMIN, after: users({ [MOD]: 0 }) },
  { title: 'an admin makes an admin', by: ADMIN, after: users({ [USER]: 100 }) },
  { title: 'an admin makes more than an admin', by: ADMIN, after: users({ [USER]: 101 }), denied: ABOVE },
  { title: 'users go altogether', by: MOD, after: { users: {} }, denied: 'or above is changed' },
  {
    title: 'who made the room does what levels allow nobody',
    versions: [12, 12],
    by: ALICE,
    after: users({ [ADMIN]: Number.MAX_SAFE_INTEGER, [MOD]: 0 }),
  },
  {
    title: 'who made the room has no more than their level',
    versions: [1, 11],
    by: ALICE,
    after: users({ [USER]: 1 }),
    denied: ABOVE,
  },
];

const entries: Change[] = ['events', 'notifications'].flatMap((family): Change[] => [
  { title: `${family}: an entry up to the sender's is added`, after: { [family]: { 'm.x': 50 } } },
  {
    title: `${family}: an entry below is changed`,
    before: { [family]: { 'm.x': 49 } },
    after: { [family]: { 'm.x': 50 } },
  },
  {
    title: `${family}: an entry as high is changed`,
    before: { [family]: { 'm.x': 50 } },
    after: { [family]: { 'm.x': 0 } },
  },
  { title: `${family}: an entry above stays`, before: { [family]: { 'm.x': 51 } }, after: { ban: 50 } },
  {
    title: `${family}: __proto__ up to the sender's is added`,
    after: { [family]: JSON.parse('{"__proto__":50}') },
  },
]);

const deniedEntries = [
  { title: 'an entry above is added', after: { events: { 'm.x': 51 } } },
  { title: '__proto__ above is added', after: { events: JSON.parse('{"__proto__":51}') } },
  { title: 'an entry above is lowered', before: { events: { 'm.x': 51 } }, after: { events: { 'm.x': 0 } } },
  { title: 'an entry above is removed', before: { events: { 'm.x': 51 } }, after: { events: {} } },
  { title: 'an entry is raised above', before: { events: { 'm.x': 0 } }, after: { events: { 'm.x': 51 } } },
].map((each): Change & { denied: string } => ({ ...each, denied: ABOVE }));

/** The same of `notifications`, which are checked from version 6 on. */
const notifications: Change[] = deniedEntries.flatMap(({ title, before, after, denied }): Change[] => {
  const moved = {
    ...(before === undefined ? {} : { before: { notifications: before.events as Json } }),
    after: { notifications: after.events as Json },
  };
  return [
    { title: `notifications: ${title}`, ...moved, versions: [6, 12], denied },
    { title: `notifications before they are checked: ${title}`, ...moved, versions: [1, 5] },
  ];
});

const creators: AuthCase[] = [
  {
    title: 'v12: users names who made the room',
    event: state('m.room.power_levels', ADMIN, { users: { [ADMIN]: 100, [MOD]: 50, [ALICE]: 0 } }),
    denied: 'a creator',
  },
  {
    title: 'v12: users names who made the room, as the first power levels',
    room: { levels: null },
    event: state('m.room.power_levels', ALICE, { users: { [ALICE]: 100 } }),
    denied: 'a creator',
  },
  {
    title: 'v12: users names an additional creator',
    room: { create: { additional_creators: [USER] } },
    event: state('m.room.power_levels', ALICE, { users: { [USER]: 100 } }),
    denied: 'a creator',
  },
  {
    title: 'v12: the first power levels name others',
    room: { levels: null },
    event: state('m.room.power_levels', ALICE, { users: { [USER]: 1_000_000 } }),
  },
].map((each) => ({ ...each, versions: [12, 12] as const }));

const texts: Change[] = [
  {
    title: 'a text for the same number is no change',
    before: users({ [USER]: 50 }),
    after: users({ [USER]: '50' }),
  },
  {
    title: 'another text for an equal is a change',
    after: users({ '@mod2:home': '49' }),
    denied: 'or above is changed',
  },
  { title: 'a text above', after: { ban: '51' }, denied: ABOVE },
  { title: 'a text that is no number', after: { ban: 'x' }, denied: ABOVE },
  { title: 'null', after: { ban: null }, denied: ABOVE },
  { title: 'events becomes a number', after: { events: 7 }, denied: 'events is no object', by: ADMIN },
  {
    title: 'events becomes an empty array',
    after: { events: [] },
    denied: 'events is no object',
    by: ADMIN,
    synapseDiffers: 'it finds no entries in it, and then lets nobody send anything',
  },
].map((each): Change => ({ ...each, versions: [1, 9] }));

export const powerLevelCases: AuthCase[] = [
  ...fields,
  ...[...userChanges, ...entries, ...deniedEntries, ...notifications, ...texts].map(change),
  change({
    title: 'a float cut to the same number is no change',
    before: users({ [USER]: 50.5 }),
    after: users({ [USER]: 50.1 }),
    versions: [1, 5],
  }),
  ...creators,
  {
    title: 'power levels without the level of their type',
    event: state('m.room.power_levels', USER, {}),
    denied: 'too low',
  },
];
