import { ALICE, type AuthCase, type EventSketch, state, USER } from '../sketch.ts';

function create(content: EventSketch['content'], rest: Partial<EventSketch> = {}): EventSketch {
  return { ...state('m.room.create', ALICE, content), ...rest };
}

const BY_ALICE = { creator: ALICE };

export const createCases: AuthCase[] = [
  { title: 'a create event with a creator', event: create(BY_ALICE) },
  { title: 'a create event without a creator', versions: [11, 12], event: create({}) },
  {
    title: 'a create event without a creator where one is needed',
    versions: [1, 10],
    event: create({}),
    denied: 'names its creator',
  },
  {
    title: 'a creator that is no user ID is still a creator',
    versions: [1, 10],
    event: create({ creator: 5 }),
  },
  {
    title: 'a creator that only a prototype has',
    versions: [1, 10],
    event: create(JSON.parse('{"__proto__":{"creator":"@alice:home"}}')),
    denied: 'names its creator',
  },
  {
    title: 'a create event that follows another event',
    event: create(BY_ALICE, { prev: 'create' }),
    denied: 'no prev_events',
  },
  {
    title: 'a create event whose prev_events are no array',
    event: create(BY_ALICE, { more: { prev_events: 'none' } }),
    denied: 'no prev_events',
  },
  {
    title: "a create event for a room ID of another server than the sender's",
    versions: [1, 11],
    event: create(BY_ALICE, { sender: USER }),
    denied: "not of the sender's server",
  },
  {
    title: 'a create event for a room ID of the same host at another port',
    versions: [1, 11],
    event: create(BY_ALICE, { more: { room_id: '!room:home:8448' } }),
    denied: "not of the sender's server",
  },
  {
    title: 'a create event for a room ID without a server',
    versions: [1, 11],
    event: create(BY_ALICE, { more: { room_id: '!room' } }),
    denied: "not of the sender's server",
  },
  {
    title: 'a create event without a room ID where one is needed',
    versions: [1, 11],
    event: create(BY_ALICE, { more: { room_id: undefined } }),
    denied: "not of the sender's server",
  },
  {
    title: 'v12 create with a room_id',
    versions: [12, 12],
    event: create({}, { more: { room_id: '!room:home' } }),
    denied: 'has no room_id',
  },
  { title: 'a known room version', event: create({ ...BY_ALICE, room_version: '9' }) },
  {
    title: 'a room version nobody knows',
    event: create({ ...BY_ALICE, room_version: '99' }),
    denied: 'not known',
  },
  {
    title: 'a room version named like what every object has',
    event: create({ ...BY_ALICE, room_version: 'constructor' }),
    denied: 'not known',
  },
  {
    title: 'a room version that is a number',
    event: create({ ...BY_ALICE, room_version: 1 }),
    denied: 'not known',
  },
  {
    title: 'a room version that is null',
    event: create({ ...BY_ALICE, room_version: null }),
    denied: 'not known',
  },
  {
    title: 'more creators',
    event: create({ ...BY_ALICE, additional_creators: [USER, '@b:[::1]:80'] }),
  },
  { title: 'an empty list of more creators', event: create({ ...BY_ALICE, additional_creators: [] }) },
  {
    title: 'more creators before they mean anything',
    versions: [1, 11],
    event: create({ ...BY_ALICE, additional_creators: 'anybody' }),
  },
  ...(
    [
      ['a text', USER],
      ['null', null],
      ['an object', { 0: USER }],
      ['a list with a number', [USER, 1]],
      ['a list with no user ID', ['user']],
      ['a list with a room alias', ['#user:away']],
      ['a list with a user ID of 256 bytes', [`@${'a'.repeat(250)}:away`]],
      ['a list in a list', [[USER]]],
    ] as const
  ).map(
    ([title, additional]): AuthCase => ({
      title: `additional_creators is ${title}`,
      versions: [12, 12],
      event: create({ additional_creators: additional as never }),
      denied: 'no array of user IDs',
    }),
  ),
];
