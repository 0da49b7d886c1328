import { createServer } from 'node:http';
import { serve } from './serve.ts';

/** The size of the answer to a `/sync` with nothing much in it; a token as Synapse's are. */
const BODY = sync(2048);
/** What a client gets that was away for long, or has just begun. */
const LARGE = sync(5 * 1024 * 1024);
const BEARER = /^Bearer (.+)$/;

/**
 * A homeserver that costs as little as possible: a fixed body; none at all for a poll that waits, which is one with
 * `timeout=30000`; and whoever's token it is has its name.
 */
const server = createServer((req, res) => {
  const url = req.url ?? '';
  if (url.includes('timeout=30000')) return;
  const body = url.includes('/account/whoami') ? who(req.headers.authorization) : bodyOf(url);
  res.writeHead(200, { 'Content-Type': 'application/json', 'Content-Length': body.length });
  res.end(body);
});
server.keepAliveTimeout = 60_000;
serve(server);

function bodyOf(url: string): Buffer {
  return url.includes('large') ? LARGE : BODY;
}

function who(authorization = ''): Buffer {
  const name = BEARER.exec(authorization)?.[1] ?? 'nobody';
  return Buffer.from(JSON.stringify({ user_id: `@${name}:bench.test`, device_id: 'D' }));
}

/** An answer of so many bytes: rooms with messages, as many as it takes. */
function sync(bytes: number): Buffer {
  const start = '{"next_batch":"s44_17_4_3_2_1_1_3_0_1_1_1_1_1","rooms":{"join":{';
  const rooms: string[] = [];
  for (let length = start.length + 3; ; ) {
    const room = joined(rooms.length);
    if (length + room.length + 1 > bytes) break;
    rooms.push(room);
    length += room.length + 1;
  }
  const whole = `${start}${rooms.join(',')}}}}`;
  return Buffer.from(whole.padEnd(bytes));
}

function joined(n: number): string {
  const event = {
    type: 'm.room.message',
    sender: `@user${n}:bench.test`,
    content: { msgtype: 'm.text', body: `message ${n} `.repeat(10) },
    event_id: `$${'e'.repeat(43)}`,
    origin_server_ts: 1_700_000_000_000 + n,
    unsigned: { age: n },
  };
  const section = { timeline: { events: [event], limited: false, prev_batch: 's1' }, state: { events: [] } };
  return `${JSON.stringify(`!room${n}:bench.test`)}:${JSON.stringify(section)}`;
}
