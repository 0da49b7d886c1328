import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ScriptedServer } from '../support/scripted-server.ts';
import { bigRoom } from './big-room.ts';
import { serveParent } from './child.ts';

/** A federation server that lends a room of 28 000 state events, whose bytes are made once, at the start. */
const server = await ScriptedServer.start();
const room = bigRoom(server.serverName, Number(process.argv[2] ?? 27_900));
const answer = Buffer.from(JSON.stringify({ ...room.peekAnswer(50), auth_chain: authChain() }));
server.on('PUT', '/peek/', () => answer);
server.on('DELETE', '/peek/', {});

/** What real servers have there: not every member, but what authorises members. */
function authChain() {
  const others = room.authChain.filter(
    ({ pdu }) => pdu.type !== 'm.room.member' || pdu.sender === room.creator,
  );
  return others.map(({ pdu }) => pdu);
}

const file = join(mkdtempSync(join(tmpdir(), 'peek-bench-')), 'answer.json');
writeFileSync(file, answer);
serveParent(Number(server.serverName.split(':')[1]), () => ({
  bytes: answer.length,
  roomId: room.roomId,
  file,
}));
