import { ADMIN, ALICE, type AuthCase, GUEST, MOD, member, type RoomSketch, USER } from '../sketch.ts';

const as = (user: string, membership: string): RoomSketch => ({ members: { [user]: membership } });
const leave = member(GUEST, GUEST, 'leave');
const MODS: RoomSketch = { levels: { users: { [ADMIN]: 100, [MOD]: 50, '@mod2:home': 50 } } };

const leaves: AuthCase[] = [
  { title: 'who is joined leaves', event: member(USER, USER, 'leave') },
  { title: 'who is invited refuses', room: as(GUEST, 'invite'), event: leave },
  { title: 'who has knocked takes it back', versions: [7, 12], room: as(GUEST, 'knock'), event: leave },
  {
    title: 'who has a membership knock where it means nothing leaves',
    versions: [1, 6],
    room: as(GUEST, 'knock'),
    event: leave,
    denied: 'not in the room',
  },
  { title: 'who was never there leaves', event: leave, denied: 'not in the room' },
  { title: 'who has left leaves', room: as(GUEST, 'leave'), event: leave, denied: 'not in the room' },
  { title: 'who is banned leaves', room: as(GUEST, 'ban'), event: leave, denied: 'not in the room' },
];

const kicks: AuthCase[] = [
  { title: 'a moderator kicks a user', event: member(MOD, USER, 'leave') },
  {
    title: 'a user kicks a user',
    room: as(GUEST, 'join'),
    event: member(USER, GUEST, 'leave'),
    denied: 'may not kick',
  },
  { title: 'a user kicks a moderator', event: member(USER, MOD, 'leave'), denied: 'may not kick' },
  {
    title: 'a moderator kicks an equal',
    room: MODS,
    event: member(MOD, '@mod2:home', 'leave'),
    denied: 'may not kick',
  },
  { title: 'a moderator kicks an admin', event: member(MOD, ADMIN, 'leave'), denied: 'may not kick' },
  {
    title: 'a moderator takes an invite back',
    room: as(GUEST, 'invite'),
    event: member(MOD, GUEST, 'leave'),
  },
  { title: 'a moderator kicks who never was there', event: member(MOD, GUEST, 'leave') },
  {
    title: 'a moderator who has left kicks',
    room: as(MOD, 'leave'),
    event: member(MOD, USER, 'leave'),
    denied: 'not in the room',
  },
  {
    title: 'a moderator who is only invited kicks',
    room: as(MOD, 'invite'),
    event: member(MOD, USER, 'leave'),
    denied: 'not in the room',
  },
  {
    title: 'kicking needs more',
    room: { levels: { kick: 51, users: { [MOD]: 50 } } },
    event: member(MOD, USER, 'leave'),
    denied: 'may not kick',
  },
  {
    title: 'kicking needs nothing, and the target has less',
    room: { levels: { kick: 0, users: { [MOD]: -5 } } },
    event: member(USER, MOD, 'leave'),
  },
  {
    title: 'the creator kicks where there are no power levels',
    room: { levels: null },
    event: member(ALICE, USER, 'leave'),
  },
  {
    title: 'somebody else kicks where there are no power levels',
    room: { levels: null },
    event: member(ADMIN, USER, 'leave'),
    denied: 'may not kick',
  },
  {
    title: 'the creator without a level kicks',
    versions: [1, 11],
    event: member(ALICE, USER, 'leave'),
    denied: 'may not kick',
  },
  { title: 'the creator kicks an admin', versions: [12, 12], event: member(ALICE, ADMIN, 'leave') },
  {
    title: 'an admin kicks the creator',
    versions: [12, 12],
    event: member(ADMIN, ALICE, 'leave'),
    denied: 'may not kick',
  },
  { title: 'an admin kicks who made the room', versions: [1, 11], event: member(ADMIN, ALICE, 'leave') },
  {
    title: 'a creator kicks another creator',
    versions: [12, 12],
    room: { create: { additional_creators: [USER] } },
    event: member(ALICE, USER, 'leave'),
    denied: 'may not kick',
  },
  {
    title: 'an additional creator kicks an admin',
    versions: [12, 12],
    room: { create: { additional_creators: [USER] } },
    event: member(USER, ADMIN, 'leave'),
  },
  {
    title: 'additional creators mean nothing',
    versions: [1, 11],
    room: { create: { additional_creators: [USER] } },
    event: member(USER, MOD, 'leave'),
    denied: 'may not kick',
  },
];

const banned = as(GUEST, 'ban');
const unbans: AuthCase[] = [
  { title: 'a moderator unbans', room: banned, event: member(MOD, GUEST, 'leave') },
  { title: 'a user unbans', room: banned, event: member(USER, GUEST, 'leave'), denied: 'may not unban' },
  {
    title: 'who may kick but not ban unbans',
    room: { ...banned, levels: { ban: 60, users: { [MOD]: 50 } } },
    event: member(MOD, GUEST, 'leave'),
    denied: 'may not unban',
  },
  {
    title: 'who may ban but not kick unbans',
    room: { ...banned, levels: { kick: 60, users: { [MOD]: 50 } } },
    event: member(MOD, GUEST, 'leave'),
    denied: 'may not kick',
  },
  {
    title: 'a moderator unbans an equal',
    room: { ...banned, levels: { users: { [MOD]: 50, [GUEST]: 50 } } },
    event: member(MOD, GUEST, 'leave'),
    denied: 'may not kick',
  },
];

const bans: AuthCase[] = [
  { title: 'a moderator bans a user', event: member(MOD, USER, 'ban') },
  { title: 'a moderator bans who never was there', event: member(MOD, GUEST, 'ban') },
  { title: 'a moderator bans who is banned', room: banned, event: member(MOD, GUEST, 'ban') },
  {
    title: 'a user bans a user',
    room: as(GUEST, 'join'),
    event: member(USER, GUEST, 'ban'),
    denied: 'may not ban',
  },
  {
    title: 'a moderator bans an equal',
    room: MODS,
    event: member(MOD, '@mod2:home', 'ban'),
    denied: 'may not ban',
  },
  { title: 'a moderator bans an admin', event: member(MOD, ADMIN, 'ban'), denied: 'may not ban' },
  { title: 'a moderator bans themselves', event: member(MOD, MOD, 'ban'), denied: 'may not ban' },
  {
    title: 'a moderator who has left bans',
    room: as(MOD, 'leave'),
    event: member(MOD, USER, 'ban'),
    denied: 'not in the room',
  },
  {
    title: 'banning needs more',
    room: { levels: { ban: 51, users: { [MOD]: 50 } } },
    event: member(MOD, USER, 'ban'),
    denied: 'may not ban',
  },
  {
    title: 'an admin bans the creator',
    versions: [12, 12],
    event: member(ADMIN, ALICE, 'ban'),
    denied: 'may not ban',
  },
  {
    title: 'banning __proto__',
    event: member(MOD, '__proto__', 'ban'),
    synapseDiffers: 'it wants a server in the target',
  },
];

const knock = member(GUEST, GUEST, 'knock');
const knocks: AuthCase[] = (
  [
    ['knock', [7, 12]],
    ['knock_restricted', [10, 12]],
  ] as const
).flatMap(([joinRule, versions]): AuthCase[] => {
  const cases: AuthCase[] = [
    { title: 'from outside', event: knock },
    { title: 'after leaving', room: as(GUEST, 'leave'), event: knock },
    { title: 'again', room: as(GUEST, 'knock'), event: knock },
    { title: 'who is banned', room: as(GUEST, 'ban'), event: knock, denied: 'cannot knock' },
    { title: 'who is invited', room: as(GUEST, 'invite'), event: knock, denied: 'cannot knock' },
    { title: 'who is joined', room: as(GUEST, 'join'), event: knock, denied: 'cannot knock' },
    { title: 'for somebody else', event: member(USER, GUEST, 'knock'), denied: 'for somebody else' },
  ];
  return cases.map((each) => ({
    ...each,
    title: `join rule ${joinRule}, knocking: ${each.title}`,
    versions,
    room: { ...each.room, joinRule },
  }));
});

const otherKnocks: AuthCase[] = [
  ...['public', 'invite', 'private', 'restricted'].map(
    (joinRule): AuthCase => ({
      title: `knocking where the join rule is ${joinRule}`,
      versions: [7, 12],
      room: { joinRule },
      event: knock,
      denied: 'anybody knock',
    }),
  ),
  {
    title: 'knocking without join rules',
    versions: [7, 12],
    room: { joinRule: null },
    event: knock,
    denied: 'anybody knock',
  },
  {
    title: 'knocking where knock_restricted is not known',
    versions: [7, 9],
    room: { joinRule: 'knock_restricted' },
    event: knock,
    denied: 'anybody knock',
  },
  {
    title: 'knocking where it is not known',
    versions: [1, 6],
    room: { joinRule: 'knock' },
    event: knock,
    denied: 'unknown',
  },
];

export const leaveCases: AuthCase[] = [...leaves, ...kicks, ...unbans, ...bans, ...knocks, ...otherKnocks];
