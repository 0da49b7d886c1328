import { readFile } from 'node:fs/promises';
import { createServer } from 'node:https';
import { encodeBase64 } from '../../../src/matrix/base64.ts';
import { eventIdOf } from '../../../src/matrix/event-id.ts';
import { contentHash } from '../../../src/matrix/hashes.ts';
import type { Json, JsonObject } from '../../../src/matrix/json.ts';
import { redact } from '../../../src/matrix/redaction.ts';
import { type RoomVersionRules, roomVersion } from '../../../src/matrix/room-versions.ts';
import { signJson } from '../../../src/matrix/signed-json.ts';
import { signingKeyFromSeed } from '../../../src/matrix/signing-key.ts';
import { signRequest } from '../../../src/matrix/x-matrix.ts';
import { systemRandom } from '../../../src/platform/random.ts';
import { testCertificates } from '../../support/certificates.ts';
import { enc } from '../../support/client.ts';
import { send } from '../../support/http.ts';
import { freePort } from '../../support/ports.ts';
import type { RunningSynapse } from '../../support/synapse.ts';

/** Another server, as far as a homeserver needs one: keys, a user who joins, and events as the test likes. */
export interface ScriptedServer {
  readonly serverName: string;
  readonly userId: string;
  readonly keyId: string;
  /** Joins the room; what it gives is the state before the join, with the join event. */
  join(roomId: string): Promise<{ joinId: string; authEvents: Json }>;
  /** Sends a message whose predecessors the test chooses; its ID. */
  message(roomId: string, body: string, fields: JsonObject): Promise<string>;
  /** Sends a state event likewise. */
  state(roomId: string, type: string, content: JsonObject, fields: JsonObject): Promise<string>;
  stop(): Promise<void>;
}

const VERSION = '12';
const RULES = roomVersion(VERSION) as RoomVersionRules;

export async function startScriptedServer(synapse: RunningSynapse): Promise<ScriptedServer> {
  const certificates = await testCertificates();
  const port = await freePort();
  const serverName = `localhost:${port}`;
  const key = signingKeyFromSeed('ed25519:scripted', systemRandom.bytes(32));
  const userId = `@bob:${serverName}`;
  let transactions = 0;

  const server = createServer(
    { cert: await readFile(certificates.certificate), key: await readFile(certificates.key) },
    (request, response) => {
      request.resume();
      const keys = {
        server_name: serverName,
        valid_until_ts: Date.now() + 3_600_000,
        verify_keys: { [key.keyId]: { key: encodeBase64(key.publicKey) } },
        old_verify_keys: {},
      };
      const isKeys = request.url?.startsWith('/_matrix/key/v2/server') === true;
      const answer = isKeys ? signJson(keys, serverName, key) : { pdus: {} };
      response.setHeader('content-type', 'application/json').end(JSON.stringify(answer));
    },
  );
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));

  async function federate(method: 'GET' | 'PUT', uri: string, content?: JsonObject): Promise<JsonObject> {
    const request = { method, uri, origin: serverName, destination: synapse.serverName };
    const authorization = signRequest({ ...request, ...(content && { content }) }, key);
    const answer = await send(synapse.url, method, uri, {
      headers: { authorization },
      ...(content && { body: content }),
    });
    if (answer.status !== 200) throw new Error(`${method} ${uri} answered ${answer.status} ${answer.text}`);
    return answer.body as JsonObject;
  }

  function finished(template: JsonObject): { pdu: JsonObject; id: string } {
    const { signatures: _, hashes: __, unsigned: ___, event_id: ____, ...bare } = template;
    const hashed = { ...bare, hashes: { sha256: encodeBase64(contentHash(bare)) } };
    const { signatures } = signJson(redact(hashed, RULES), serverName, key);
    const pdu: JsonObject = { ...hashed, signatures: signatures as Json };
    return { pdu, id: eventIdOf(pdu, RULES) };
  }

  async function relay(roomId: string, fields: JsonObject): Promise<string> {
    const event = { room_id: roomId, sender: userId, origin_server_ts: Date.now(), depth: 20, ...fields };
    const { pdu, id } = finished(event);
    const body = { origin: serverName, origin_server_ts: Date.now(), pdus: [pdu] };
    const { pdus } = await federate('PUT', `/_matrix/federation/v1/send/t${++transactions}`, body);
    if (JSON.stringify(pdus) !== JSON.stringify({ [id]: {} })) throw new Error(JSON.stringify(pdus));
    return id;
  }

  return {
    serverName,
    userId,
    keyId: key.keyId,
    async join(roomId) {
      const path = `${enc(roomId)}/${enc(userId)}?ver=${VERSION}`;
      const made = await federate('GET', `/_matrix/federation/v1/make_join/${path}`);
      const { pdu, id } = finished({ ...(made.event as JsonObject), origin_server_ts: Date.now() });
      await federate('PUT', `/_matrix/federation/v2/send_join/${enc(roomId)}/${enc(id)}`, pdu);
      return { joinId: id, authEvents: pdu.auth_events as Json };
    },
    message: (roomId, body, fields) =>
      relay(roomId, { type: 'm.room.message', content: { msgtype: 'm.text', body }, ...fields }),
    state: (roomId, type, content, fields) => relay(roomId, { type, state_key: '', content, ...fields }),
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
