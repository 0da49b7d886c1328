import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { encodeBase64 } from '../../src/matrix/base64.ts';
import { eventIdOf } from '../../src/matrix/event-id.ts';
import { contentHash } from '../../src/matrix/hashes.ts';
import type { Json, JsonObject } from '../../src/matrix/json.ts';
import { redact } from '../../src/matrix/redaction.ts';
import { type RoomVersionRules, roomVersion } from '../../src/matrix/room-versions.ts';
import { signJson } from '../../src/matrix/signed-json.ts';
import { signingKeyFromSeed } from '../../src/matrix/signing-key.ts';
import { signRequest } from '../../src/matrix/x-matrix.ts';
import { systemRandom } from '../../src/platform/random.ts';
import { testCertificates } from '../support/certificates.ts';
import { enc } from '../support/client.ts';
import { send } from '../support/http.ts';
import { serveParent } from './child.ts';

/** One scripted server under many ports, each a name of its own. It takes what it is sent, and can join rooms. */
export type ServersQuestion =
  | 'received'
  | { readonly join: string; readonly at: string; readonly as: string; readonly ports: readonly number[] };

const [count = '1'] = process.argv.slice(2);
const VERSION = '11';
const RULES = roomVersion(VERSION) as RoomVersionRules;
const certificates = await testCertificates();
const tls = { cert: readFileSync(certificates.certificate), key: readFileSync(certificates.key) };
const key = signingKeyFromSeed('ed25519:bench', systemRandom.bytes(32));
let received = 0;

const ports: number[] = [];
for (let i = 0; i < Number(count); i++) {
  const server = createServer(tls, (request, response) => {
    response.setHeader('content-type', 'application/json');
    const name = `localhost:${(server.address() as AddressInfo).port}`;
    if (request.url?.startsWith('/_matrix/key/v2/server')) {
      const keys = {
        server_name: name,
        valid_until_ts: Date.now() + 3_600_000,
        verify_keys: { [key.keyId]: { key: encodeBase64(key.publicKey) } },
        old_verify_keys: {},
      };
      response.end(JSON.stringify(signJson(keys, name, key)));
      return;
    }
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      if (request.url?.includes('/send/')) {
        const { pdus = [] } = JSON.parse(Buffer.concat(chunks).toString()) as { pdus?: JsonObject[] };
        received += pdus.filter((pdu) => pdu.type === 'm.room.message').length;
      }
      response.end('{"pdus":{}}');
    });
  });
  server.keepAliveTimeout = 60_000;
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  ports.push((server.address() as AddressInfo).port);
}

/** A user of the server at this port joins a room of a homeserver. */
async function join(question: Exclude<ServersQuestion, 'received'>, port: number): Promise<void> {
  const origin = `localhost:${port}`;
  const userId = `@bob:${origin}`;
  const federate = async (method: 'GET' | 'PUT', uri: string, content?: JsonObject): Promise<JsonObject> => {
    const request = { method, uri, origin, destination: question.as };
    const authorization = signRequest({ ...request, ...(content && { content }) }, key);
    const answer = await send(question.at, method, uri, {
      headers: { authorization },
      ...(content && { body: content }),
    });
    if (answer.status !== 200) throw new Error(`${method} ${uri} answered ${answer.status} ${answer.text}`);
    return answer.body as JsonObject;
  };
  const path = `${enc(question.join)}/${enc(userId)}?ver=${VERSION}`;
  const made = (await federate('GET', `/_matrix/federation/v1/make_join/${path}`)).event as JsonObject;
  const bare = { ...made, origin_server_ts: Date.now() };
  const hashed = { ...bare, hashes: { sha256: encodeBase64(contentHash(bare)) } };
  const { signatures } = signJson(redact(hashed, RULES), origin, key);
  const pdu: JsonObject = { ...hashed, signatures: signatures as Json };
  const to = `${enc(question.join)}/${enc(eventIdOf(pdu, RULES))}`;
  await federate('PUT', `/_matrix/federation/v2/send_join/${to}`, pdu);
}

serveParent(ports[0] ?? 0, async (question) => {
  if (question === 'ports') return ports;
  if (question === 'received') return received;
  const asked = question as Exclude<ServersQuestion, 'received'>;
  for (const port of asked.ports) await join(asked, port);
  return null;
});
