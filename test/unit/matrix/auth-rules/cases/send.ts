import { ADMIN, ALICE, type AuthCase, GUEST, MOD, message, state, USER } from '../sketch.ts';

const topic = (sender: string) => state('m.room.topic', sender, {});

const sending: AuthCase[] = [
  { title: 'a message of a member', event: message(USER) },
  { title: 'a message from outside', event: message(GUEST), denied: 'not in the room' },
  ...['invite', 'leave', 'ban', 'knock'].map(
    (membership): AuthCase => ({
      title: `a message of whose membership is ${membership}`,
      room: { members: { [USER]: membership } },
      event: message(USER),
      denied: 'not in the room',
    }),
  ),
  { title: 'a message where there are no power levels', room: { levels: null }, event: message(USER) },
  { title: 'state without the level', event: topic(USER), denied: 'too low' },
  { title: 'state with the level', event: topic(MOD) },
  {
    title: 'state where there are no power levels, by the creator',
    room: { levels: null },
    event: topic(ALICE),
  },
  {
    title: 'state where there are no power levels, by another',
    room: { levels: null },
    event: topic(ADMIN),
    denied: 'too low',
  },
  {
    title: 'state, by the creator without a level',
    versions: [1, 11],
    event: topic(ALICE),
    denied: 'too low',
  },
  {
    title: 'state, by a creator whatever it needs',
    versions: [12, 12],
    room: { levels: { state_default: Number.MAX_SAFE_INTEGER } },
    event: topic(ALICE),
  },
  {
    title: 'state, by an additional creator',
    versions: [12, 12],
    room: { create: { additional_creators: [USER] } },
    event: topic(USER),
  },
  {
    title: 'additional_creators with others than texts count for those that are',
    versions: [12, 12],
    room: { create: { additional_creators: [7, USER] } },
    event: topic(USER),
  },
  { title: 'state_default 0', room: { levels: { state_default: 0 } }, event: topic(USER) },
  {
    title: 'state_default above',
    room: { levels: { state_default: 51, users: { [MOD]: 50 } } },
    event: topic(MOD),
    denied: 'too low',
  },
  {
    title: 'events_default above',
    room: { levels: { events_default: 1 } },
    event: message(USER),
    denied: 'too low',
  },
  {
    title: 'events_default does not count for state',
    room: { levels: { events_default: 0 } },
    event: topic(USER),
    denied: 'too low',
  },
  { title: 'users_default counts', room: { levels: { users_default: 50 } }, event: topic(USER) },
  {
    title: 'an own level below users_default counts',
    room: { levels: { users_default: 50, users: { [USER]: 0 } } },
    event: topic(USER),
    denied: 'too low',
  },
  {
    title: 'a negative level',
    room: { levels: { users: { [USER]: -1 } } },
    event: message(USER),
    denied: 'too low',
  },
  {
    title: 'a level of its own for the type, lower',
    room: { levels: { events: { 'm.room.topic': 0 } } },
    event: topic(USER),
  },
  {
    title: 'a level of its own for the type, higher',
    room: { levels: { events: { 'm.room.message': 1 } } },
    event: message(USER),
    denied: 'too low',
  },
  {
    title: 'a level of its own for another type',
    room: { levels: { events: { 'm.room.name': 0 } } },
    event: topic(USER),
    denied: 'too low',
  },
  { title: 'a type named __proto__', event: message(USER, {}, '__proto__') },
  { title: 'a type named like what every object has', event: message(USER, {}, 'constructor') },
  {
    title: 'a level of its own for a type named __proto__',
    room: { levels: JSON.parse('{"events":{"__proto__":1}}') },
    event: message(USER, {}, '__proto__'),
    denied: 'too low',
  },
  {
    title: "state named by another's user ID",
    event: state('m.x', ADMIN, {}, USER),
    denied: 'of another user',
  },
  { title: "state named by the sender's user ID", event: state('m.x', MOD, {}, MOD) },
  {
    title: 'state named by something with @ first',
    event: state('m.x', ADMIN, {}, '@'),
    denied: 'of another user',
  },
  { title: 'state named by something with @ inside', event: state('m.x', ADMIN, {}, 'a@b') },
  {
    title: 'a level that is a text',
    versions: [1, 9],
    room: { levels: { events: { 'm.room.topic': ' +0050 ' }, users: { [USER]: '50' } } },
    event: topic(USER),
  },
  {
    title: 'a level that is null is as if absent',
    versions: [1, 9],
    room: { levels: { state_default: null } },
    event: topic(USER),
    denied: 'too low',
  },
  {
    title: 'a level that is a float, cut',
    versions: [1, 5],
    room: { levels: { state_default: 50.9, users: { [MOD]: 50.1 } } },
    event: topic(MOD),
  },
  {
    title: 'a needed level that is none lets nobody send',
    versions: [1, 9],
    room: { levels: { events_default: 'none', users: { [ADMIN]: 100 } } },
    event: message(ADMIN),
    denied: 'too low',
  },
  {
    title: "a sender's level that is none",
    versions: [1, 9],
    room: { levels: { users_default: {} } },
    event: message(USER),
    denied: 'too low',
  },
  {
    title: 'events that is no object lets nobody send',
    versions: [1, 9],
    room: { levels: { events: [], users: { [ADMIN]: 100 } } },
    event: message(ADMIN),
    denied: 'too low',
  },
];

export const sendCases: AuthCase[] = sending;
