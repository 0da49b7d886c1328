import type { JsonObject } from '../../../../../src/matrix/json.ts';
import { ADMIN, ALICE, type AuthCase, type EventSketch, GUEST, MOD, member, state, USER } from '../sketch.ts';

const join: EventSketch = member(GUEST, GUEST, 'join');
const firstJoin: EventSketch = { ...member(ALICE, ALICE, 'join'), prev: 'create' };
const NOBODY = { [ALICE]: 'leave', [ADMIN]: 'leave', [MOD]: 'leave', [USER]: 'leave' };
const EMPTY = { members: NOBODY, levels: null, joinRule: null };

function byRule(joinRule: string | JsonObject | null, membership?: string) {
  return { joinRule, ...(membership === undefined ? {} : { members: { [GUEST]: membership } }) };
}

function restricted(authoriser: unknown, room: JsonObject = {}, rule = 'restricted') {
  return {
    room: { joinRule: { join_rule: rule, allow: [] }, ...room },
    event: member(GUEST, GUEST, 'join', { join_authorised_via_users_server: authoriser as never }),
  };
}

const firstJoins: AuthCase[] = [
  { title: "the creator's first join", room: EMPTY, event: firstJoin },
  {
    title: 'the first join of somebody else',
    room: EMPTY,
    event: { ...join, prev: 'create' },
    denied: 'not invited',
  },
  {
    title: "the creator's join after more than the create event",
    room: EMPTY,
    event: { ...firstJoin, prev: 'create and more' },
    denied: 'not invited',
  },
  {
    title: "the creator's join after something else",
    room: EMPTY,
    event: member(ALICE, ALICE, 'join'),
    denied: 'not invited',
  },
  {
    title: "the creator's join after nothing",
    room: EMPTY,
    event: { ...firstJoin, prev: 'nothing' },
    denied: 'not invited',
  },
  {
    title: 'before 11 the creator is who content names',
    versions: [1, 10],
    room: { ...EMPTY, create: { creator: MOD } },
    event: { ...member(MOD, MOD, 'join'), prev: 'create' },
  },
  {
    title: 'before 11 the sender of the create event is not the creator if content names another',
    versions: [1, 10],
    room: { ...EMPTY, create: { creator: MOD } },
    event: firstJoin,
    denied: 'not invited',
  },
  {
    title: 'from 11 on the creator is the sender, whoever content names',
    versions: [11, 12],
    room: { ...EMPTY, create: { creator: MOD } },
    event: firstJoin,
  },
  {
    title: 'from 11 on who content names is not the creator',
    versions: [11, 12],
    room: { ...EMPTY, create: { creator: MOD } },
    event: { ...member(MOD, MOD, 'join'), prev: 'create' },
    denied: 'not invited',
  },
  {
    title: 'an additional creator has no first join of their own',
    versions: [12, 12],
    room: { ...EMPTY, create: { additional_creators: [MOD] } },
    event: { ...member(MOD, MOD, 'join'), prev: 'create' },
    denied: 'not invited',
  },
];

const byJoinRule: AuthCase[] = [
  { title: 'a join to a public room', room: byRule('public'), event: join },
  { title: 'a join to a public room after leaving it', room: byRule('public', 'leave'), event: join },
  {
    title: 'who is banned joins a public room',
    room: byRule('public', 'ban'),
    event: join,
    denied: 'banned',
  },
  {
    title: 'who is banned joins a restricted room',
    room: byRule('restricted', 'ban'),
    event: join,
    denied: 'banned',
  },
  {
    title: 'a join for somebody else',
    room: byRule('public'),
    event: member(USER, GUEST, 'join'),
    denied: 'for somebody else',
  },
  {
    title: 'an admin makes somebody join',
    room: byRule('public'),
    event: member(ADMIN, GUEST, 'join'),
    denied: 'for somebody else',
  },
  { title: 'a join without an invite', room: byRule('invite'), event: join, denied: 'not invited' },
  { title: 'a join after leaving', room: byRule('invite', 'leave'), event: join, denied: 'not invited' },
  { title: 'a join with an invite', room: byRule('invite', 'invite'), event: join },
  { title: 'a join again, to change the profile', room: byRule('invite', 'join'), event: join },
  { title: 'no join rules are invite: not invited', room: byRule(null), event: join, denied: 'not invited' },
  { title: 'no join rules are invite: invited', room: byRule(null, 'invite'), event: join },
  { title: 'join rules without a rule are invite: invited', room: byRule({}, 'invite'), event: join },
  {
    title: 'join rules without a rule are invite: not invited',
    room: byRule({}),
    event: join,
    denied: 'not invited',
  },
  { title: 'join rule private', room: byRule('private', 'invite'), event: join, denied: 'nobody in' },
  { title: 'an unknown join rule', room: byRule('__proto__', 'invite'), event: join, denied: 'nobody in' },
  {
    title: 'a join rule that is no text',
    room: byRule({ join_rule: ['public'] }, 'invite'),
    event: join,
    denied: 'nobody in',
  },
  {
    title: 'join rule knock with an invite',
    versions: [7, 12],
    room: byRule('knock', 'invite'),
    event: join,
  },
  { title: 'join rule knock, joined', versions: [7, 12], room: byRule('knock', 'join'), event: join },
  {
    title: 'join rule knock having only knocked',
    versions: [7, 12],
    room: byRule('knock', 'knock'),
    event: join,
    denied: 'not invited',
  },
  {
    title: 'join rule knock where it is not known',
    versions: [1, 6],
    room: byRule('knock', 'invite'),
    event: join,
    denied: 'nobody in',
  },
  {
    title: 'join rule restricted where it is not known',
    versions: [1, 7],
    room: byRule('restricted', 'invite'),
    event: join,
    denied: 'nobody in',
  },
  {
    title: 'join rule knock_restricted where it is not known',
    versions: [1, 9],
    room: byRule('knock_restricted', 'invite'),
    event: join,
    denied: 'nobody in',
  },
];

const RESTRICTED = [
  ['restricted', [8, 12]],
  ['knock_restricted', [10, 12]],
] as const;

const restrictedJoins: AuthCase[] = RESTRICTED.flatMap(([rule, versions]): AuthCase[] => {
  const cases: AuthCase[] = [
    { title: 'invited', room: byRule(rule, 'invite'), event: join },
    { title: 'joined already', room: byRule(rule, 'join'), event: join },
    { title: 'nobody authorised', room: byRule(rule), event: join, denied: 'nobody authorised' },
    {
      title: 'knocked, nobody authorised',
      room: byRule(rule, 'knock'),
      event: join,
      denied: 'nobody authorised',
    },
    { title: 'authorised by a member', ...restricted(USER, {}, rule) },
    {
      title: 'authorised by who is not a member',
      ...restricted('@x:home', {}, rule),
      denied: 'not in the room',
    },
    {
      title: 'authorised by who is only invited',
      ...restricted('@x:home', { members: { '@x:home': 'invite' } }, rule),
      denied: 'not in the room',
    },
    { title: 'authorised by themselves', ...restricted(GUEST, {}, rule), denied: 'not in the room' },
    { title: 'authorised by a number', ...restricted(7, {}, rule), denied: 'nobody authorised' },
    { title: 'authorised by __proto__', ...restricted('__proto__', {}, rule), denied: 'not in the room' },
    {
      title: 'authorised by who may not invite',
      ...restricted(USER, { levels: { invite: 50, users: { [MOD]: 50 } } }, rule),
      denied: 'may not invite',
    },
    {
      title: 'authorised by who may just invite',
      ...restricted(MOD, { levels: { invite: 50, users: { [MOD]: 50 } } }, rule),
    },
  ];
  return cases.map((each) => ({ ...each, title: `${rule} join: ${each.title}`, versions }));
});

export const joinCases: AuthCase[] = [
  ...firstJoins,
  ...byJoinRule,
  ...restrictedJoins,
  {
    title: 'restricted join authorised by a creator, whom no level stops',
    versions: [12, 12],
    ...restricted(ALICE, { levels: { invite: 100 } }),
  },
  {
    title: 'a member event that is no state',
    event: { ...join, stateKey: null },
    denied: 'no state',
  },
  {
    title: 'a member event without a membership',
    event: state('m.room.member', USER, {}, USER),
    denied: 'missing',
  },
  { title: 'an unknown membership', event: member(USER, USER, 'lurk'), denied: 'unknown' },
  {
    title: 'a membership that is no text',
    event: state('m.room.member', USER, { membership: ['join'] }, USER),
    denied: 'unknown',
  },
];
