import { encodeBase64, encodeBase64Url } from '../../../../../src/matrix/base64.ts';
import type { Json, JsonObject } from '../../../../../src/matrix/json.ts';
import { signJson } from '../../../../../src/matrix/signed-json.ts';
import { parseSigningKeys, type SigningKey } from '../../../../../src/matrix/signing-key.ts';
import {
  ADMIN,
  ALICE,
  type AuthCase,
  type EventSketch,
  GUEST,
  MOD,
  member,
  type RoomSketch,
  state,
  USER,
} from '../sketch.ts';

const invite = member(USER, GUEST, 'invite');
const withTarget = (membership: string): RoomSketch => ({ members: { [GUEST]: membership } });
const NEEDS_50: JsonObject = { invite: 50, users: { [MOD]: 50, '@negative:home': -1 } };

const invites: AuthCase[] = [
  { title: 'a member invites', event: invite },
  { title: 'a member invites where there are no power levels', room: { levels: null }, event: invite },
  { title: 'who is outside invites', event: member('@x:away', GUEST, 'invite'), denied: 'not in the room' },
  {
    title: 'who is only invited invites',
    room: { members: { '@x:away': 'invite' } },
    event: member('@x:away', GUEST, 'invite'),
    denied: 'not in the room',
  },
  { title: 'who is joined is invited', room: withTarget('join'), event: invite, denied: 'joined or banned' },
  { title: 'who is banned is invited', room: withTarget('ban'), event: invite, denied: 'joined or banned' },
  { title: 'who is invited is invited again', room: withTarget('invite'), event: invite },
  { title: 'who left is invited', room: withTarget('leave'), event: invite },
  { title: 'who knocked is invited', versions: [7, 12], room: withTarget('knock'), event: invite },
  { title: 'inviting needs more', room: { levels: NEEDS_50 }, event: invite, denied: 'may not invite' },
  {
    title: 'inviting needs as much as one has',
    room: { levels: NEEDS_50 },
    event: member(MOD, GUEST, 'invite'),
  },
  {
    title: 'inviting needs nothing, and the sender has less',
    room: { levels: { users: { [USER]: -1 } } },
    event: invite,
    denied: 'may not invite',
  },
  {
    title: 'a creator invites whatever it needs',
    versions: [12, 12],
    room: { levels: { invite: 1000 } },
    event: member(ALICE, GUEST, 'invite'),
  },
  {
    title: 'a creator without a level invites where more is needed',
    versions: [1, 11],
    room: { levels: { invite: 1 } },
    event: member(ALICE, GUEST, 'invite'),
    denied: 'may not invite',
  },
  { title: 'inviting oneself', event: member(USER, USER, 'invite'), denied: 'joined or banned' },
];

const TOKEN = 'token';
/** Its public half has a + and a /, which the URL-safe alphabet writes otherwise. */
const SIGNING_KEY = parseSigningKeys(
  `ed25519 1 ${encodeBase64(new Uint8Array(32).fill(2))}\n`,
)[0] as SigningKey;
const KEY = encodeBase64(SIGNING_KEY.publicKey);
const OTHER_KEY = encodeBase64(new Uint8Array(32).fill(9));
const SIGNED = signJson({ mxid: GUEST, token: TOKEN }, 'id.example', SIGNING_KEY);

function thirdParty(signed: Json | undefined, sender = USER): EventSketch {
  return member(sender, GUEST, 'invite', {
    third_party_invite: { display_name: 'g…@example', ...(signed === undefined ? {} : { signed }) },
  });
}

function promised(content: JsonObject, room: RoomSketch = {}, sender = USER, token = TOKEN): RoomSketch {
  return { ...room, state: [state('m.room.third_party_invite', sender, content, token)] };
}

const room = promised({ public_key: KEY });

const thirdPartyInvites: AuthCase[] = [
  { title: 'signed by public_key', room, event: thirdParty(SIGNED) },
  {
    title: 'signed by one of public_keys',
    room: promised({ public_keys: [{ public_key: KEY }] }),
    event: thirdParty(SIGNED),
  },
  {
    title: 'signed by one of public_keys, after others',
    room: promised({ public_key: OTHER_KEY, public_keys: [{ public_key: OTHER_KEY }, { public_key: KEY }] }),
    event: thirdParty(SIGNED),
  },
  {
    title: 'the key is in the URL-safe alphabet',
    room: promised({ public_key: encodeBase64Url(SIGNING_KEY.publicKey) }),
    event: thirdParty(SIGNED),
  },
  {
    title: 'signed by another key',
    room: promised({ public_key: OTHER_KEY }),
    event: thirdParty(SIGNED),
    denied: 'no key',
  },
  { title: 'no keys', room: promised({}), event: thirdParty(SIGNED), denied: 'no key' },
  {
    title: 'keys of odd shapes',
    room: promised({ public_key: 7, public_keys: [null, 'x', {}, { public_key: '!' }, { public_key: [] }] }),
    event: thirdParty(SIGNED),
    denied: 'no key',
  },
  {
    title: 'public_keys no array',
    room: promised({ public_keys: { 0: { public_key: KEY } } }),
    event: thirdParty(SIGNED),
    denied: 'no key',
  },
  { title: 'not signed', room, event: thirdParty(undefined), denied: 'not signed' },
  { title: 'signed null', room, event: thirdParty(null), denied: 'not signed' },
  {
    title: 'third_party_invite null',
    room,
    event: member(USER, GUEST, 'invite', { third_party_invite: null }),
    denied: 'not signed',
  },
  {
    title: 'no mxid',
    room,
    event: thirdParty(signJson({ token: TOKEN }, 'id.example', SIGNING_KEY)),
    denied: 'no user or no token',
  },
  {
    title: 'no token',
    room,
    event: thirdParty(signJson({ mxid: GUEST }, 'id.example', SIGNING_KEY)),
    denied: 'no user or no token',
  },
  {
    title: 'a token that is a number',
    room,
    event: thirdParty(signJson({ mxid: GUEST, token: 5 }, 'id.example', SIGNING_KEY)),
    denied: 'no user or no token',
  },
  {
    title: 'for another user',
    room,
    event: thirdParty(signJson({ mxid: MOD, token: TOKEN }, 'id.example', SIGNING_KEY)),
    denied: 'another user',
  },
  { title: 'no signatures', room, event: thirdParty({ mxid: GUEST, token: TOKEN }), denied: 'no key' },
  {
    title: 'signatures no object',
    room,
    event: thirdParty({ mxid: GUEST, token: TOKEN, signatures: [] }),
    denied: 'no key',
  },
  {
    title: 'changed after it was signed',
    room: promised({ public_key: KEY }),
    event: thirdParty({ ...SIGNED, more: 1 }),
    denied: 'no key',
  },
  {
    title: 'another token',
    room: promised({ public_key: KEY }, {}, USER, 'else'),
    event: thirdParty(SIGNED),
    denied: 'has this token',
  },
  {
    title: 'sent by another than the promise',
    room: promised({ public_key: KEY }, {}, MOD),
    event: thirdParty(SIGNED),
    denied: 'sent by another user',
  },
  {
    title: 'for who is banned',
    room: promised({ public_key: KEY }, withTarget('ban')),
    event: thirdParty(SIGNED),
    denied: 'banned',
  },
  {
    title: 'for who is joined',
    room: promised({ public_key: KEY }, withTarget('join')),
    event: thirdParty(SIGNED),
  },
  {
    title: 'its sender has left since',
    room: promised({ public_key: KEY }, { members: { [USER]: 'leave' } }),
    event: thirdParty(SIGNED),
  },
  {
    title: 'its sender may not invite any more',
    room: promised({ public_key: KEY }, { levels: NEEDS_50 }),
    event: thirdParty(SIGNED),
  },
];

const promises: AuthCase[] = [
  {
    title: 'm.room.third_party_invite of a member',
    event: state('m.room.third_party_invite', USER, {}, TOKEN),
  },
  {
    title: 'm.room.third_party_invite does not need the level of state',
    room: { levels: { state_default: 100, users: {} } },
    event: state('m.room.third_party_invite', USER, {}, TOKEN),
  },
  {
    title: 'm.room.third_party_invite needs the invite level',
    room: { levels: NEEDS_50 },
    event: state('m.room.third_party_invite', USER, {}, TOKEN),
    denied: 'may not invite',
  },
  {
    title: 'm.room.third_party_invite with the invite level',
    room: { levels: NEEDS_50 },
    event: state('m.room.third_party_invite', MOD, {}, TOKEN),
  },
  {
    title: 'm.room.third_party_invite with a user ID for a token',
    event: state('m.room.third_party_invite', USER, {}, ADMIN),
  },
  {
    title: 'm.room.third_party_invite from outside',
    event: state('m.room.third_party_invite', GUEST, {}, TOKEN),
    denied: 'not in the room',
  },
];

export const inviteCases: AuthCase[] = [
  ...invites,
  ...thirdPartyInvites.map((each) => ({ ...each, title: `third-party invite: ${each.title}` })),
  ...promises,
];
