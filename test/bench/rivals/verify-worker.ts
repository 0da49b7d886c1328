import { readFileSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import { serverNameOf } from '../../../src/matrix/ids.ts';
import type { Pdu } from '../../../src/matrix/pdu.ts';
import { type RoomVersionRules, roomVersion } from '../../../src/matrix/room-versions.ts';
import { keyOf } from '../../support/room-builder.ts';
import { verifyAlone } from './verify-alone.ts';

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
  verifyAlone(events, rules);
  parentPort?.postMessage('done');
});
parentPort?.postMessage('ready');
