import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { onTestFinished } from 'vitest';
import { SendTap } from '../../../src/federation-api/send-tap.ts';
import { RawForwarder } from '../../../src/forward/raw-forwarder.ts';
import { TrustedProxies } from '../../../src/forward/trusted-proxies.ts';
import { createUpstream } from '../../../src/forward/upstream.ts';
import { encodeBase64 } from '../../../src/matrix/base64.ts';
import type { Json, JsonObject } from '../../../src/matrix/json.ts';
import type { SigningKey } from '../../../src/matrix/signing-key.ts';
import { requestAsSent, signRequest } from '../../../src/matrix/x-matrix.ts';
import { federationDomains } from '../../../src/remote-servers/federation-domains.ts';
import { RequestAuthenticator } from '../../../src/remote-servers/request-authenticator.ts';
import { PEER, PeekingHouse } from '../../support/peeking-house.ts';
import { keyOf, RoomBuilder } from '../../support/room-builder.ts';

/** Long, since the machine may be busy; what is waited for takes milliseconds. */
export const WAIT = { timeout: 8_000, interval: 5 };

export interface Forwarded {
  readonly url: string;
  readonly body: string;
  readonly rawHeaders: string[];
}

export interface Answer {
  readonly status: number;
  readonly body: JsonObject;
}

export interface SendOptions {
  readonly signedAs?: string;
  /** The body's bytes, where they are not the content's JSON. */
  readonly text?: string;
  /** Bytes that are sent and signed as they are. */
  readonly asSent?: string;
  readonly txnId?: string;
  readonly signal?: AbortSignal;
}

/** A room peeked through `PEER`, and the tap before a homeserver that answers `{"pdus":{"by":"homeserver"}}`. */
export class TapHouse {
  readonly house: PeekingHouse;
  readonly room: RoomBuilder;
  readonly forwarded: Forwarded[] = [];
  /** What the homeserver does before it answers; it may answer itself. */
  homeserver: (forwarded: Forwarded, res: ServerResponse) => Promise<void> = async () => {};
  origin = '';
  #transactions = 0;

  static async open(): Promise<TapHouse> {
    const house = await PeekingHouse.open();
    const room = house.remoteRoom(new RoomBuilder());
    await house.peek(room.roomId);
    const tap = new TapHouse(house, room);
    await tap.#listen();
    return tap;
  }

  private constructor(house: PeekingHouse, room: RoomBuilder) {
    this.house = house;
    this.room = room;
  }

  async #listen(): Promise<void> {
    const { house } = this;
    const upstream = createUpstream(await listen((req, res) => this.#asHomeserver(req, res)));
    onTestFinished(() => upstream.destroy());
    const authenticator = new RequestAuthenticator({
      serverName: 'here.test',
      domains: federationDomains('here.test'),
      keyRing: house.keys,
      clock: house.clock,
    });
    const tap = new SendTap({
      ...house,
      forwarder: new RawForwarder(upstream, new TrustedProxies()),
      authenticate: (request, signal) => authenticator.authenticate(request, signal),
      feed: house.remoteFeed,
      serverName: 'here.test',
    });
    this.origin = await listen((req, res) => tap.handle(req, res));
  }

  async #asHomeserver(req: IncomingMessage, res: ServerResponse): Promise<void> {
    let body = '';
    for await (const chunk of req) body += String(chunk);
    const got = { url: req.url ?? '', body, rawHeaders: req.rawHeaders };
    this.forwarded.push(got);
    await this.homeserver(got, res);
    if (res.writableEnded) return;
    res.setHeader('content-type', 'application/json');
    res.end('{"pdus":{"by":"homeserver"}}');
  }

  /** Sends a transaction, signed as `server` does. */
  async send(content: JsonObject, server = PEER, options: SendOptions = {}): Promise<Answer> {
    const target = `/_matrix/federation/v1/send/${options.txnId ?? `txn${this.#transactions++}`}`;
    const signed = { method: 'PUT', uri: target, origin: server, destination: 'here.test' };
    const key = keyOf(options.signedAs ?? server);
    const { asSent } = options;
    const authorization =
      asSent === undefined
        ? signRequest({ ...signed, content }, key)
        : signBytes(requestAsSent(signed, Buffer.from(asSent)), server, key);
    const response = await fetch(this.origin + target, {
      method: 'PUT',
      headers: { authorization },
      body: asSent ?? options.text ?? JSON.stringify(content),
      ...(options.signal && { signal: options.signal }),
    });
    return { status: response.status, body: (await response.json()) as JsonObject };
  }

  /** What the room's log shows, oldest first: bodies of messages, types of others. */
  async log(): Promise<unknown[]> {
    const held = await this.house.store.logs.readLast(this.room.roomId, Number.MAX_SAFE_INTEGER, 1000);
    return held.map(({ json, type }) => {
      const { content } = JSON.parse(json) as { content: { body?: unknown } };
      return content.body ?? type;
    });
  }
}

function signBytes(bytes: Uint8Array, server: string, key: SigningKey): string {
  const sig = encodeBase64(key.sign(bytes));
  return `X-Matrix origin="${server}",destination="here.test",key="${key.keyId}",sig="${sig}"`;
}

async function listen(handle: (req: IncomingMessage, res: ServerResponse) => Promise<void>): Promise<string> {
  const server = createServer((req, res) => void handle(req, res)).listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** The body of a transaction. */
export function transaction(pdus: readonly unknown[], more: JsonObject = {}): JsonObject {
  return { origin: PEER, origin_server_ts: 1, pdus: pdus as Json[], ...more };
}

/** A transaction that the homeserver has a part in. */
export function withEdus(pdus: readonly unknown[]): JsonObject {
  return transaction(pdus, { edus: [{ edu_type: 'm.typing', content: {} }] });
}
