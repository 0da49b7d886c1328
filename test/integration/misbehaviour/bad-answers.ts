import type { JsonObject } from '../../../src/matrix/json.ts';
import { RoomBuilder } from '../../support/room-builder.ts';
import { Reply, type Script, type ScriptedServer } from '../../support/scripted-server.ts';

/** What a peeked server may make of `PUT /peek`; it owns the room that is asked for. */
type Misbehaviour = (room: RoomBuilder, bad: ScriptedServer) => Script | Promise<Script>;

export const bytes = (text: string) => Buffer.from(text);
const text = (answer: JsonObject) => bytes(JSON.stringify(answer));

/** The room's answer with some members otherwise. */
const but =
  (more: JsonObject): Misbehaviour =>
  (room) => ({ ...room.peekAnswer(), ...more });

/** The answer in which one state event has been changed after it was signed. */
const forged =
  (type: string, change: JsonObject): Misbehaviour =>
  (room) => {
    const pdus = (events: readonly { readonly pdu: JsonObject }[]) =>
      events.map(({ pdu }) => (pdu.type === type ? { ...pdu, ...change } : pdu));
    return { ...room.peekAnswer(), state: pdus(room.currentState), auth_chain: pdus(room.authChain) };
  };

/** What is answered to `PUT /peek`, what our client is told of it, and what its words and the log's contain. */
export const REFUSED: readonly (readonly [what: string, Misbehaviour, status: number, why: string])[] = [
  ['truncated', (room) => text(room.peekAnswer()).subarray(0, -20), 502, 'no JSON object'],
  ['of a wrong type: HTML', () => bytes('<html>'), 502, 'no JSON object'],
  ['of a wrong type: an array', () => bytes('[]'), 502, 'no JSON object'],
  ['of a wrong type: null', () => bytes('null'), 502, 'no JSON object'],
  ['empty', () => bytes(''), 502, 'no JSON object'],
  ['of nothing', () => ({}), 502, 'create event'],
  ['nested 100 000 deep', () => bytes(`{"state":${'['.repeat(100_000)}`), 502, 'no JSON object'],
  [
    'nested 100 000 deep in an event',
    (room) =>
      bytes(JSON.stringify(room.peekAnswer()).replace('"state":[', `"state":[${'[{"a":'.repeat(50_000)}`)),
    502,
    'no JSON object',
  ],
  ['not in UTF-8', () => Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]), 502, 'no JSON object'],
  ['with a state that is no list', but({ state: { a: 1 } }), 403, 'not world-readable'],
  [
    'with lists of what are no events',
    but({ state: [1, null, 'x', []], auth_chain: [{}] }),
    502,
    'create event',
  ],
  ['with a room version that is no string', but({ room_version: 10 }), 502, 'room version|create event'],
  ['of an unknown room version', but({ room_version: '99' }), 502, 'unknown room version 99'],
  [
    'of a room version named after what every object has',
    but({ room_version: '__proto__' }),
    502,
    'unknown room version',
  ],
  [
    'of another room version than its create event',
    but({ room_version: '9' }),
    502,
    'room version|create event',
  ],
  [
    'of the wrong room',
    (_, bad) => new RoomBuilder('10', bad.serverName, 'other').peekAnswer(),
    502,
    'create event',
  ],
  [
    'with a create event of somebody else for the room ID',
    (room, bad) => foreignCreate(room, bad),
    502,
    'not created by the server|create event',
  ],
  [
    'with a create event changed after it was signed',
    forged('m.room.create', { content: { room_version: '10', x: 1 } }),
    502,
    'create event',
  ],
  [
    'with power levels that nobody signed',
    forged('m.room.power_levels', { signatures: {} }),
    502,
    'm.room.power_levels',
  ],
  [
    'with a visibility that nobody signed',
    forged('m.room.history_visibility', { signatures: {} }),
    502,
    'm.room.history_visibility',
  ],
  [
    'of more events than any room has',
    () => bytes(`{"room_version":"10","state":[${'{},'.repeat(200_000)}{}]}`),
    502,
    'too large',
  ],
  ['of a room that is not open', (room) => closed(room, 'shared'), 403, 'not world-readable'],
  [
    'of a room with a malformed visibility',
    (room) => closed(room, ['world_readable']),
    403,
    'not world-readable',
  ],
  [
    'of an encrypted room',
    (room) => {
      room.state('m.room.encryption', '', { algorithm: 'm.megolm.v1.aes-sha2' });
      return room.peekAnswer();
    },
    403,
    'encrypted',
  ],
  ['a refusal without a word', () => new Reply(500, {}), 502, '500'],
  ['a refusal that is a lie of types', () => new Reply(403, { errcode: 7, error: ['x'] }), 403, '403'],
  [
    '429 with a retry_after of three hundred years',
    () => new Reply(429, { errcode: 'M_LIMIT_EXCEEDED', retry_after_ms: 1e13 }),
    502,
    '429',
  ],
  [
    'a redirect into our own network',
    () => new Reply(307, {}, { location: 'http://127.0.0.1:1/' }),
    502,
    '307',
  ],
  [
    'cut off in the middle',
    (room) =>
      ({ res }) => {
        res.writeHead(200, { 'content-length': '1000000' });
        res.write(text(room.peekAnswer()).subarray(0, 500), () => res.destroy());
        return undefined;
      },
    502,
    '',
  ],
  [
    'nothing but a closed connection',
    () =>
      ({ res }) => {
        res.destroy();
        return undefined;
      },
    502,
    '',
  ],
];

function closed(room: RoomBuilder, visibility: string | string[]): JsonObject {
  room.state('m.room.history_visibility', '', { history_visibility: visibility });
  return room.peekAnswer();
}

/** Another server's user made this create event, with the ID of the room that is asked for. */
function foreignCreate(room: RoomBuilder, bad: ScriptedServer): JsonObject {
  const other = new RoomBuilder('10', bad.serverName.replace('localhost', '127.0.0.1'), 'x');
  const create = other.make({
    type: 'm.room.create',
    stateKey: '',
    content: { room_version: '10', creator: other.creator },
    more: { room_id: room.roomId, prev_events: [], auth_events: [] },
  });
  const rest = room.currentState.filter(({ pdu }) => pdu.type !== 'm.room.create');
  return { ...room.peekAnswer(), state: [create, ...rest].map(({ pdu }) => pdu), auth_chain: [] };
}
