import { readFile } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import { Agent, request } from 'undici';
import { encodeBase64 } from '../../src/matrix/base64.ts';
import type { Json, JsonObject } from '../../src/matrix/json.ts';
import { signJson } from '../../src/matrix/signed-json.ts';
import { signRequest } from '../../src/matrix/x-matrix.ts';
import { testCertificates } from './certificates.ts';
import { freePort } from './ports.ts';
import { type BuiltEvent, keyOf, type RoomBuilder } from './room-builder.ts';

/** A request that the server was sent. */
export interface ScriptedCall {
  readonly method: string;
  /** Decoded, without the query. */
  readonly path: string;
  /** As it came. */
  readonly target: string;
  readonly body: JsonObject;
  /** For a handler that answers in its own manner and gives nothing. */
  readonly res: ServerResponse;
}

/** An answer that is no 200. */
export class Reply {
  readonly status: number;
  readonly body: JsonObject;
  readonly headers: Readonly<Record<string, string>>;

  constructor(status: number, body: JsonObject, headers: Readonly<Record<string, string>> = {}) {
    this.status = status;
    this.body = body;
    this.headers = headers;
  }
}

type Said = JsonObject | Buffer | Reply | undefined;
/** JSON that is answered with 200, its bytes, another reply, or nothing where the handler answers itself. */
export type Script = Said | ((call: ScriptedCall) => Said | Promise<Said>);

export interface SignedRequest {
  readonly method: 'GET' | 'PUT' | 'POST' | 'DELETE';
  readonly target: string;
  readonly content?: JsonObject;
  /** Sent in place of the content's JSON. */
  readonly text?: string;
  /** Sent in place of a signature over this very request. */
  readonly authorization?: string;
  readonly signal?: AbortSignal;
}

export interface SignedAnswer {
  readonly status: number;
  readonly body: JsonObject;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
}

/**
 * Somebody else's federation server: HTTPS on loopback under a certificate that the proxy believes, its signing
 * key where the specification has it, and beyond that whatever a test scripts. It also calls the proxy, signed.
 */
export class ScriptedServer {
  /** `localhost:PORT`. */
  readonly serverName: string;
  readonly calls: ScriptedCall[] = [];
  /** Of `PUT /send`: the transactions' PDUs, in the order of their arrival. */
  readonly received: JsonObject[] = [];
  readonly #server: Server;
  readonly #agent = new Agent({ connections: 32, pipelining: 1 });
  readonly #scripts: { method: string; part: string; script: Script }[] = [];
  #transactions = 0;

  static async start(): Promise<ScriptedServer> {
    const certificates = await testCertificates();
    const [cert, key, port] = [
      await readFile(certificates.certificate),
      await readFile(certificates.key),
      await freePort(),
    ];
    const server = createServer({ cert, key });
    const scripted = new ScriptedServer(`localhost:${port}`, server);
    await new Promise<void>((listening) => server.listen(port, '127.0.0.1', listening));
    return scripted;
  }

  private constructor(serverName: string, server: Server) {
    this.serverName = serverName;
    this.#server = server;
    server.on('request', (req, res) => void this.#serve(req, res));
    server.on('tlsClientError', () => {});
    server.on('clientError', (_error, socket) => socket.destroy());
    this.on('GET', '/_matrix/key/v2/server', () => this.#keys());
    this.on('GET', '/_matrix/federation/v1/version', { server: { name: 'Scripted', version: '1' } });
    this.on('PUT', '/_matrix/federation/v1/send/', ({ body }) => {
      this.received.push(...(body.pdus as JsonObject[]));
      return { pdus: {} };
    });
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await Promise.all([new Promise((closed) => this.#server.close(closed)), this.#agent.destroy()]);
  }

  /** What is answered to this method on paths that contain `part`. The newest word counts; 404 where there is none. */
  on(method: string, part: string, script: Script): void {
    this.#scripts.unshift({ method, part, script });
  }

  /** Lets the room be peeked as an honest server does, with what the room has at that moment. */
  lend(room: RoomBuilder): RoomBuilder {
    this.on('PUT', `/peek/${room.roomId}/`, () => room.peekAnswer());
    this.on('DELETE', `/peek/${room.roomId}/`, {});
    this.on('POST', `/peek/${room.roomId}/`, { renewal_interval: 3_600_000 });
    return room;
  }

  /** The targets of the calls of one method whose path contains `part`. */
  asked(method: string, part: string): string[] {
    return this.calls
      .filter((call) => call.method === method && call.path.includes(part))
      .map(({ path }) => path);
  }

  /** A request to the proxy at `url`, signed for `destination`. */
  async request(url: string, destination: string, asked: SignedRequest): Promise<SignedAnswer> {
    const { method, target, content, text, signal } = asked;
    const response = await request(url + target, {
      dispatcher: this.#agent,
      method,
      headers: { authorization: asked.authorization ?? this.sign(destination, asked) },
      body: text ?? (content === undefined ? null : JSON.stringify(content)),
      ...(signal && { signal }),
    });
    const body = (await response.body.json()) as JsonObject;
    return { status: response.statusCode, body, headers: response.headers };
  }

  /** The `Authorization` of a request. */
  sign(destination: string, { method, target, content }: SignedRequest): string {
    const about = { method, uri: target, origin: this.serverName, destination };
    return signRequest(content === undefined ? about : { ...about, content }, keyOf(this.serverName));
  }

  /** Sends a transaction of these events (or of anything else) to the proxy. */
  relay(
    url: string,
    destination: string,
    events: readonly (BuiltEvent | Json)[],
    more: JsonObject = {},
  ): Promise<SignedAnswer> {
    const pdus = events.map((event) => (isBuilt(event) ? event.pdu : event));
    const content = { origin: this.serverName, origin_server_ts: 1, pdus, ...more };
    const target = `/_matrix/federation/v1/send/t${this.#transactions++}`;
    return this.request(url, destination, { method: 'PUT', target, content });
  }

  #keys(): JsonObject {
    const key = keyOf(this.serverName);
    const keys = {
      server_name: this.serverName,
      valid_until_ts: Date.UTC(2036, 0, 1),
      verify_keys: { [key.keyId]: { key: encodeBase64(key.publicKey) } },
      old_verify_keys: {},
    };
    return signJson(keys, this.serverName, key);
  }

  async #serve(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const target = req.url ?? '';
    const path = decodeURIComponent(target.split('?', 1)[0] ?? '');
    let text = '';
    try {
      for await (const chunk of req) text += String(chunk);
    } catch {
      return;
    }
    const call = { method: req.method ?? '', path, target, body: text === '' ? {} : JSON.parse(text), res };
    this.calls.push(call);
    const found = this.#scripts.find(({ method, part }) => method === call.method && path.includes(part));
    const unknown = new Reply(404, { errcode: 'M_UNRECOGNIZED' });
    const script = found === undefined ? unknown : found.script;
    const said = typeof script === 'function' ? await script(call) : script;
    if (said === undefined || res.destroyed) return;
    const [status, body] = said instanceof Reply ? [said.status, said.body] : [200, said];
    const headers = said instanceof Reply ? said.headers : {};
    res.writeHead(status, { 'content-type': 'application/json', ...headers });
    res.end(Buffer.isBuffer(body) ? body : JSON.stringify(body));
  }
}

function isBuilt(event: BuiltEvent | Json): event is BuiltEvent {
  return typeof event === 'object' && event !== null && 'pdu' in event && 'eventId' in event;
}
