import { readFileSync } from 'node:fs';
import { Pool } from 'undici';
import { canonicalJson } from '../../../src/matrix/canonical-json.ts';
import { signingKeyFromSeed } from '../../../src/matrix/signing-key.ts';
import { signRequest } from '../../../src/matrix/x-matrix.ts';
import { systemRandom } from '../../../src/platform/random.ts';
import { testCertificates } from '../../support/certificates.ts';
import { serveParent } from '../child.ts';
import { cpuSince, message, pause, type RelayRun } from '../relay-room.ts';

/** The least that sends events to servers: sign, `PUT`, read the answer; nothing is kept or checked. */
const ca = readFileSync((await testCertificates()).ca, 'utf8');
const key = signingKeyFromSeed('ed25519:bench', systemRandom.bytes(32));
const pools = new Map<number, Pool>();
let transactions = 0;

async function put(port: number, n: number): Promise<void> {
  let pool = pools.get(port);
  if (pool === undefined) {
    pool = new Pool(`https://localhost:${port}`, { connections: 1, connect: { ca } });
    pools.set(port, pool);
  }
  const path = `/_matrix/federation/v1/send/bare-${transactions++}`;
  const content = { origin: 'bench.test', origin_server_ts: Date.now(), pdus: [message(n)] };
  const authorization = signRequest(
    { method: 'PUT', uri: path, origin: 'bench.test', destination: `localhost:${port}`, content },
    key,
  );
  const headers = { authorization, 'content-type': 'application/json' };
  const body = canonicalJson(content, { allowFloats: true });
  const answer = await pool.request({ method: 'PUT', path, headers, body });
  if (answer.statusCode !== 200) throw new Error(`PUT answered ${answer.statusCode}`);
  await answer.body.json();
}

serveParent(0, async (question) => {
  const { events, ports } = question as RelayRun;
  const before = process.cpuUsage();
  for (let n = 0; n < events; n++) {
    await Promise.all(ports.map((port) => put(port, n)));
    await pause();
  }
  return cpuSince(before);
});
