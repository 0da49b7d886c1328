import { isDeepStrictEqual } from 'node:util';
import { readTransaction } from '../../../src/federation-api/transaction.ts';
import { authStateOf } from '../../../src/matrix/auth-rules/auth-state.ts';
import { authorise } from '../../../src/matrix/auth-rules/authorise.ts';
import { eventIdOf, isEventId } from '../../../src/matrix/event-id.ts';
import { isObject, type Json, type JsonObject } from '../../../src/matrix/json.ts';
import { checkPdu, type Pdu, PduError, roomIdOf, stripUnsigned } from '../../../src/matrix/pdu.ts';
import { redact } from '../../../src/matrix/redaction.ts';
import { SUPPORTED_ROOM_VERSIONS } from '../../../src/matrix/room-versions.ts';
import { EventRejected, verifyEvent } from '../../../src/rooms/verify-event.ts';
import { RoomBuilder, TestKeyRing } from '../../support/room-builder.ts';
import { type Maker, made, NAMES } from '../made.ts';
import { asyncProperty, orError, property, same } from '../property.ts';

/** A room of each version with an event of each kind that rules look at. */
const ROOMS = SUPPORTED_ROOM_VERSIONS.map((version) => {
  const room = new RoomBuilder(version, 'there.test');
  room.member('@b:third.test', 'join');
  room.member('@c:third.test', 'invite', {
    third_party_invite: { signed: { mxid: '@c:third.test', token: 't' } },
  });
  room.state('m.room.third_party_invite', 't', { public_key: 'x', public_keys: [] });
  room.state('m.room.aliases', 'there.test', { aliases: ['#a:there.test'] });
  room.redaction(room.message('hello', '@b:third.test').eventId);
  return room;
});
const keys = new TestKeyRing();

/** An event of a real room, with up to three things in it changed; or anything at all. */
function event(maker: Maker) {
  const room = maker.of(ROOMS);
  const original = maker.of(room.events).pdu;
  if (maker.percent(10)) return { room, json: frozen(maker.json()), original };
  let json: Json = original;
  for (let changes = maker.below(4); changes > 0; changes--) json = changed(maker, json, 4);
  return { room, json: frozen(json), original };
}

for (const { events } of ROOMS) for (const { pdu } of events) frozen(pdu);

function changed(maker: Maker, value: Json, depth: number): Json {
  if (depth === 0 || maker.percent(15)) return odd(maker);
  if (Array.isArray(value)) {
    const at = maker.below(value.length + 1);
    return value.toSpliced(at, 1, ...maker.list(2, () => changed(maker, value[at] ?? null, depth - 1)));
  }
  if (!isObject(value)) return odd(maker);
  const names = Object.keys(value);
  const name = names.length > 0 && maker.percent(85) ? maker.of(names) : maker.of(NAMES);
  if (maker.percent(15)) return Object.fromEntries(Object.entries(value).filter(([other]) => other !== name));
  const inner = Object.hasOwn(value, name) ? (value[name] as Json) : null;
  return { ...value, [name]: changed(maker, inner, depth - 1) };
}

const ODD: readonly Json[] = [
  ...[0, -1, -0, 1.5, 2 ** 53, 2 ** 63, 1e308, Number.POSITIVE_INFINITY, Number.NaN],
  ...[
    '',
    '@',
    '!',
    '@a:b',
    '@b:third.test',
    '\ud800',
    'x'.repeat(256),
    'ä'.repeat(128),
    'm.room.member',
    'join',
    'ban',
  ],
];

function odd(maker: Maker): Json {
  const dice = maker.below(20);
  if (dice < 10) return maker.of(ODD);
  if (dice < 18) return maker.json(2);
  if (dice === 18) return Array.from({ length: maker.below(40) }, () => maker.of(ODD));
  let deep: Json = 1;
  for (let i = maker.below(200); i > 0; i--) deep = maker.percent(50) ? [deep] : { a: deep };
  return deep;
}

/** In strict mode, and all of this is, changing what is frozen throws. What is frozen already is not gone through again. */
function frozen<T extends Json>(value: T): T {
  if (typeof value !== 'object' || value === null || Object.isFrozen(value)) return value;
  Object.freeze(value);
  for (const inner of Object.values(value)) frozen(inner);
  return value;
}

export const properties = [
  property(
    'any PDU of any room version: checked, or PduError; what passes has an ID and can be redacted',
    made(event),
    ({ room, json }) => {
      const { rules } = room;
      const pdu = orError(() => checkPdu(json, rules), PduError);
      if (pdu instanceof Error) return;
      const eventId = eventIdOf(pdu, rules);
      same(isEventId(eventId, rules), true, 'the form of the ID');
      const redacted = redact(pdu, rules);
      same(eventIdOf(redacted, rules), eventId, 'the ID of the redacted event');
      same(isDeepStrictEqual(redact(redacted, rules), redacted), true, 'redacted twice');
      roomIdOf(pdu, rules);
      checkPdu(redacted, rules);
    },
  ),
  asyncProperty(
    'verifying any PDU gives the event or EventRejected',
    made(event),
    async ({ room, json, original }) => {
      const { roomId, rules } = room;
      try {
        const verified = await verifyEvent(json, { roomId, rules }, keys);
        const whole = isDeepStrictEqual(stripUnsigned(json as JsonObject), original);
        if (!whole && !verified.redacted) {
          same(verified.eventId, eventIdOf(json as JsonObject, rules), 'the ID of a changed event');
          // Signatures of others and what no hash covers may be added.
          const { signatures: _a, hashes: _b, ...rest } = verified.pdu;
          const { signatures: _c, hashes: _d, ...first } = original;
          same(isDeepStrictEqual(rest, first), true, 'the event that its hash covers');
        }
      } catch (error) {
        if (!(error instanceof EventRejected)) throw error;
      }
    },
  ),
  property(
    'authorising any PDU by any state gives a verdict',
    made((maker) => {
      const { room, json } = event(maker);
      return { room, json, state: maker.list(6, () => changedState(maker, room)) };
    }),
    ({ room, json, state }) => {
      const pdu = orError(() => checkPdu(json, room.rules), PduError);
      if (pdu instanceof Error) return;
      const events = state.filter(
        (each) => !(orError(() => checkPdu(each, room.rules), PduError) instanceof Error),
      );
      const verdict = authorise(pdu, eventIdOf(pdu, room.rules), authStateOf(events as Pdu[]), room.rules);
      same(typeof verdict.allowed, 'boolean', 'the verdict');
    },
  ),
  property(
    'any transaction is read or left to the homeserver',
    made((maker) => {
      const pdus = maker.percent(85)
        ? Array.from({ length: maker.below(52) }, () => pdu(maker))
        : maker.json();
      const edus = maker.percent(20) ? maker.list(3, () => maker.json(1)) : [];
      const expired = maker.list(3, () => ({ room_id: maker.json(0), peek_id: maker.json(0) }));
      return {
        ...maker.object(1),
        pdus,
        edus,
        expired_peeks: maker.percent(90) ? expired : maker.json(),
      } as Json;
    }),
    (body) => {
      const read = readTransaction(body);
      if (read === null) return;
      const count = [...read.rooms.values()].reduce((sum, list) => sum + list.length, 0);
      const { pdus } = body as { pdus: Json[] | null };
      same(
        count,
        (pdus ?? []).filter((each) => isObject(each) && typeof each.room_id === 'string').length,
        'the PDUs read',
      );
      same(count <= 50, true, 'not more than a transaction may hold');
    },
  ),
];

function changedState(maker: Maker, room: RoomBuilder): Json {
  const { pdu } = maker.of(room.currentState);
  return maker.percent(40) ? pdu : frozen(changed(maker, pdu, 4));
}

function pdu(maker: Maker): Json {
  if (maker.percent(15)) return maker.json(1);
  return {
    room_id: maker.percent(90) ? maker.of(['!a:b', '__proto__', '!c:d']) : maker.json(0),
    type: maker.name(),
  };
}
