import { createServer } from 'node:http';
import { serve } from './serve.ts';

/**
 * A homeserver with rooms of 28 000 state events, as much of it as is asked when a server or a device peeks one of
 * them. Every room ID names one; its newest event is `$latest` of that room. The bytes are made once, at the start.
 */
const MEMBERS = 27_900;
const OTHERS = 100;
/** Earlier memberships, power levels and the like. */
const AUTH_CHAIN = 20_000;

const hash = (n: number, prefix: string) => prefix + n.toString(36).padStart(43, 'A');

function event(n: number, type: string, stateKey: string | null, content: object): string {
  return JSON.stringify({
    auth_events: [hash(1, '$'), hash(2, '$'), hash(3, '$')],
    content,
    depth: 100 + n,
    hashes: { sha256: hash(n, '') },
    origin_server_ts: 1_700_000_000_000 + n,
    prev_events: [hash(n + 5, '$')],
    room_id: '!room:bench.test',
    sender: stateKey?.startsWith('@') ? stateKey : '@alice:bench.test',
    signatures: { [`server${n % 500}.example.org`]: { 'ed25519:a_key': 'S'.repeat(86) } },
    ...(stateKey !== null && { state_key: stateKey }),
    type,
    unsigned: { age_ts: 1_700_000_000_000 + n },
  });
}

function member(n: number): string {
  const content = {
    avatar_url: `mxc://server${n % 500}.example.org/${'a'.repeat(24)}`,
    displayname: `Member number ${n} ✨`,
    membership: 'join',
  };
  return event(n, 'm.room.member', `@user${n}:server${n % 500}.example.org`, content);
}

const create = event(1, 'm.room.create', '', { room_version: '11' });
const visibility = event(2, 'm.room.history_visibility', '', { history_visibility: 'world_readable' });
const local = event(3, 'm.room.member', '@alice:bench.test', { membership: 'join' });
const others = Array.from({ length: OTHERS - 3 }, (_, n) => event(4 + n, 'm.widget', `w${n}`, { url: 'x' }));
const members = Array.from({ length: MEMBERS }, (_, n) => member(1000 + n));
const chain = Array.from({ length: AUTH_CHAIN }, (_, n) => member(100_000 + n));
const state = Buffer.from(
  `{"auth_chain":[${[create, ...chain].join(',')}],"pdus":[${[create, visibility, local, ...others, ...members].join(',')}]}`,
);
const latest = event(500_000, 'm.room.message', null, { body: 'newest', msgtype: 'm.text' });
const single = Buffer.from(`{"pdus":[${latest}]}`);
/** The same as clients get it. */
const shown = (json: string) => {
  const { auth_events, prev_events, hashes, signatures, depth, ...rest } = JSON.parse(json);
  return JSON.stringify({ ...rest, event_id: hash(depth, '$') });
};
const clientState = Buffer.from(
  `[${[create, visibility, local, ...others, ...members].map(shown).join(',')}]`,
);
const around = `{"event":${shown(latest)},"events_before":[],"events_after":[],"start":"s1","end":"s2"}`;
const stranger = Buffer.from('{"errcode":"M_NOT_FOUND","error":"Event not found."}');

const answers: readonly (readonly [RegExp, Buffer])[] = [
  [/\/account\/whoami/, Buffer.from('{"user_id":"@reader:bench.test"}')],
  [/\/joined_rooms/, Buffer.from('{"joined_rooms":[]}')],
  [/\/sync\?/, Buffer.from('{"next_batch":"s44_17_4_3_2_1_1_3_0_1_1_1_1_1"}')],
  [/\/events\?/, Buffer.from('{"chunk":[],"start":"s1","end":"s1"}')],
  [/\/context\//, Buffer.from(around)],
  [/\/client\/v3\/rooms\/[^/]+\/state$/, clientState],
  [/\/state\/m\.room\.history_visibility\//, Buffer.from(visibility)],
  [/\/state\/m\.room\.create\//, Buffer.from(create)],
  [/\/members\?/, Buffer.from(`{"chunk":[${local}]}`)],
  [/\/make_leave\//, Buffer.from(`{"room_version":"11","event":{"prev_events":["${hash(9, '$')}"]}}`)],
  [/\/federation\/v1\/event\//, single],
  [/\/federation\/v1\/state\//, state],
  [/\/rooms\/[^/]+\/event\//, Buffer.from(latest)],
  [/\/messages\?/, Buffer.from(`{"chunk":[${latest}],"start":"a","end":"b"}`)],
];

serve(
  createServer((req, res) => {
    const url = req.url ?? '';
    // A poll that waits is not answered: nothing happens in these rooms.
    if (/\/events\?.*timeout=[1-9]/.test(url)) return undefined;
    if (url.includes('/account/whoami') && req.headers.authorization !== 'Bearer reader') {
      return res.end(`{"user_id":"@who:bench.test","device_id":"${req.headers.authorization?.slice(7)}"}`);
    }
    const body = answers.find(([path]) => path.test(url))?.[1];
    if (body === undefined) return res.writeHead(404).end(stranger);
    return res.writeHead(200, { 'Content-Length': body.length }).end(body);
  }),
);
