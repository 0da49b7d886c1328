import { ADMIN, type AuthCase, type EventSketch, GUEST, MOD, member, message, USER } from '../sketch.ts';

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

export const specialCases: AuthCase[] = [...federating, ...aliasing, ...redacting];
