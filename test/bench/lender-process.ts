import { Client } from 'undici';
import { ScriptedServer } from '../support/scripted-server.ts';
import { bigRoom, MEMBER_SERVERS } from './big-room.ts';
import { serveParent } from './child.ts';
import { SERVER_NAME } from './peeking-side.ts';
import { verifyAlone } from './rivals/verify-alone.ts';

/** A server that lends a room and relays what is said there, 50 events a transaction, one transaction at a time. */
export interface Relay {
  readonly port: number;
  readonly transactions: number;
}

/** What both took for the same events, in ms. */
export interface Relayed {
  readonly events: number;
  readonly through: number;
  readonly alone: number;
  /** CPU time of hashing and verifying alone. */
  readonly aloneCpu: number;
}

const PDUS = 50;
const server = await ScriptedServer.start();
const room = bigRoom(server.serverName, 200);
server.lend(room);

async function relay({ port, transactions }: Relay): Promise<Relayed> {
  const events = Array.from({ length: transactions * PDUS }, (_, n) =>
    n % 10 === 0
      ? room.member(`@user${n % 50}:${MEMBER_SERVERS[n % 50]}`, 'join', { displayname: `Name ${n}` })
      : room.message(`message ${n}`, `@user${n % 50}:${MEMBER_SERVERS[n % 50]}`),
  );
  const requests = Array.from({ length: transactions }, (_, n) => {
    const pdus = events.slice(n * PDUS, (n + 1) * PDUS).map(({ pdu }) => pdu);
    const content = { origin: server.serverName, origin_server_ts: 1, pdus };
    const target = `/_matrix/federation/v1/send/${events[0]?.eventId.slice(1, 9)}${n}`;
    const authorization = server.sign(SERVER_NAME, { method: 'PUT', target, content });
    return {
      method: 'PUT' as const,
      path: target,
      headers: { authorization },
      body: JSON.stringify(content),
    };
  });
  const client = new Client(`http://127.0.0.1:${port}`);
  const began = performance.now();
  for (const request of requests) {
    const { statusCode, body } = await client.request(request);
    const text = await body.text();
    if (statusCode !== 200 || text.includes('"error"'))
      throw new Error(`${statusCode} ${text.slice(0, 300)}`);
  }
  const through = performance.now() - began;
  await client.close();
  const parsed = events.map(({ pdu }) => JSON.parse(JSON.stringify(pdu)));
  const [start, before] = [performance.now(), process.threadCpuUsage()];
  verifyAlone(parsed, room.rules);
  const alone = performance.now() - start;
  const { user, system } = process.threadCpuUsage(before);
  return { events: events.length, through, alone, aloneCpu: (user + system) / 1000 };
}

serveParent(Number(server.serverName.split(':')[1]), (question) =>
  question === 'room' ? room.roomId : relay(question as Relay),
);
