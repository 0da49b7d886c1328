import {
  ADMIN,
  ALICE,
  type AuthCase,
  type EventSketch,
  GUEST,
  MOD,
  member,
  message,
  state,
  USER,
} from '../sketch.ts';

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

const LOCAL = { 'm.federate': false };
const federating: AuthCase[] = [
  { title: 'm.federate false, of the same server', room: { create: LOCAL }, event: message(ADMIN) },
  {
    title: 'm.federate false, of another server',
    room: { create: LOCAL },
    event: message(USER),
    denied: 'its own server',
  },
  {
    title: 'm.federate false, a join from another server',
    room: { create: LOCAL, joinRule: 'public' },
    event: member(GUEST, GUEST, 'join'),
    denied: 'its own server',
  },
  {
    title: 'm.federate false, the same host at another port',
    room: { create: LOCAL, joinRule: 'public' },
    event: member('@a:home:80', '@a:home:80', 'join'),
    denied: 'its own server',
  },
  { title: 'm.federate true', room: { create: { 'm.federate': true } }, event: message(USER) },
  {
    title: 'm.federate something else than false',
    room: { create: { 'm.federate': 'false' } },
    event: message(USER),
    synapseDiffers: 'to it whatever is not true is false',
  },
  {
    title: 'm.federate false, an invite for another server',
    room: { create: LOCAL },
    event: member(ADMIN, GUEST, 'invite'),
    synapseDiffers: 'it asks for the server of the target as well',
  },
];

const aliases = (sender: string, stateKey: string | null): EventSketch => ({
  type: 'm.room.aliases',
  sender,
  stateKey,
  content: { aliases: [] },
});
const aliasing: AuthCase[] = [
  { title: "the aliases of the sender's server", versions: [1, 5], event: aliases(USER, 'away') },
  {
    title: "the aliases of the sender's server, from outside",
    versions: [1, 5],
    event: aliases(GUEST, 'away'),
  },
  {
    title: 'the aliases of another server',
    versions: [1, 5],
    event: aliases(ADMIN, 'away'),
    denied: 'another server',
  },
  { title: 'aliases of no server', versions: [1, 5], event: aliases(ADMIN, ''), denied: 'another server' },
  { title: 'aliases that are no state', versions: [1, 5], event: aliases(USER, null), denied: 'no state' },
  {
    title: 'aliases where m.federate is false',
    versions: [1, 5],
    room: { create: LOCAL },
    event: aliases(USER, 'away'),
    denied: 'its own server',
  },
  {
    title: 'aliases are state like any: too low',
    versions: [6, 12],
    event: aliases(USER, 'away'),
    denied: 'too low',
  },
  {
    title: 'aliases are state like any: from outside',
    versions: [6, 12],
    event: aliases(GUEST, 'away'),
    denied: 'not in the room',
  },
  {
    title: 'aliases are state like any: of another server',
    versions: [6, 12],
    event: aliases(ADMIN, 'away'),
  },
];

const redaction = (sender: string, redacts: unknown): EventSketch => ({
  ...message(sender, {}, 'm.room.redaction'),
  more: { redacts: redacts as never },
});
const redacting: AuthCase[] = [
  { title: 'a redaction with the level', versions: [1, 2], event: redaction(MOD, '$a:elsewhere') },
  { title: "a redaction of the own server's event", versions: [1, 2], event: redaction(USER, '$a:away') },
  {
    title: "a redaction of another server's event",
    versions: [1, 2],
    event: redaction(USER, '$a:home'),
    denied: 'may not redact',
  },
  {
    title: 'a redaction of nothing',
    versions: [1, 2],
    event: redaction(USER, undefined),
    denied: 'may not redact',
    synapseDiffers: 'it lets through what names no event',
  },
  {
    title: 'a redaction of something without a server',
    versions: [1, 2],
    event: redaction(USER, '$a'),
    denied: 'may not redact',
  },
  {
    title: 'a redaction without the level of its type',
    versions: [1, 12],
    room: { levels: { events: { 'm.room.redaction': 60 }, users: { [MOD]: 50 } } },
    event: redaction(MOD, '$a:home'),
    denied: 'too low',
  },
  {
    title: 'a redaction without the redact level',
    versions: [1, 2],
    room: { levels: { redact: 51, users: { [MOD]: 50 } } },
    event: redaction(MOD, '$a:elsewhere'),
    denied: 'may not redact',
  },
  { title: 'a redaction like any event', versions: [3, 12], event: redaction(USER, '$a:home') },
];

export const sendCases: AuthCase[] = [...sending, ...federating, ...aliasing, ...redacting];
