import { readFileSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import { eventIdOf } from '../../../src/matrix/event-id.ts';
import { hasValidContentHash } from '../../../src/matrix/hashes.ts';
import { serverNameOf } from '../../../src/matrix/ids.ts';
import type { Pdu } from '../../../src/matrix/pdu.ts';
import { type RoomVersionRules, roomVersion } from '../../../src/matrix/room-versions.ts';
import { verifyPduSignature } from '../../../src/matrix/signed-json.ts';
import { keyOf } from '../../support/room-builder.ts';

const { file, of, nth } = workerData as { file: string; of: number; nth: number };
const answer = JSON.parse(readFileSync(file, 'utf8')) as {
  state: Pdu[];
  auth_chain: Pdu[];
  room_version: string;
};
const rules = roomVersion(answer.room_version) as RoomVersionRules;
const events = [...answer.auth_chain, ...answer.state].filter((_, place) => place % of === nth);
for (const { sender } of events) keyOf(serverNameOf(sender) ?? '');
parentPort?.once('message', () => {
  let bad = 0;
  for (const pdu of events) {
    const server = serverNameOf(pdu.sender) ?? '';
    const key = keyOf(server).publicKey;
    if (!hasValidContentHash(pdu) || eventIdOf(pdu, rules) === '') bad++;
    if (!verifyPduSignature(pdu, rules, server, 'ed25519:test', key)) bad++;
  }
  if (bad > 0) throw new Error(`${bad} events of worker ${nth} do not verify`);
  parentPort?.postMessage('done');
});
parentPort?.postMessage('ready');
