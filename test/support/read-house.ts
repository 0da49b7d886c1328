import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { onTestFinished } from 'vitest';
import { PeekedReads } from '../../src/client-api/peeked-reads.ts';
import { Peekers, type RoomViewers } from '../../src/client-api/peekers.ts';
import { PeekersReceipts } from '../../src/client-api/peekers-receipts.ts';
import { ReadLimits } from '../../src/client-api/read-limits.ts';
import type { RawForwarder } from '../../src/forward/raw-forwarder.ts';
import { TrustedProxies } from '../../src/forward/trusted-proxies.ts';
import type { AnswerRead } from '../../src/room-reads/room-read.ts';
import { ALICE, type HouseOptions, PeekingHouse } from './peeking-house.ts';
import { RoomBuilder } from './room-builder.ts';

/** What the homeserver answers in a test: that the request was passed on to it. */
export const PASSED = { errcode: 'M_FORBIDDEN', error: 'by the homeserver' };

export interface ReadAnswer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  /** Null where it is no JSON. */
  readonly body: unknown;
}

export interface ReadHouseOptions extends HouseOptions {
  readonly viewers?: readonly RoomViewers[];
  readonly limits?: Pick<ReadLimits, 'spend'>;
}

/** Reads of peeked rooms, and receipts, over real sockets; what is not answered is answered 403 as by the homeserver. */
export class ReadHouse {
  readonly house: PeekingHouse;
  readonly reads: PeekedReads;
  readonly receipts: PeekersReceipts;
  readonly peekers: Peekers;
  /** The targets that were passed on to the homeserver. */
  readonly passed: string[] = [];
  #origin = '';

  static async open(
    answers: (house: PeekingHouse) => ReadonlyMap<string, AnswerRead>,
    options: ReadHouseOptions = {},
  ): Promise<ReadHouse> {
    return ReadHouse.on(await PeekingHouse.open(options), answers, options);
  }

  /** In a house that is there already: as another process on the same store. */
  static async on(
    house: PeekingHouse,
    answers: (house: PeekingHouse) => ReadonlyMap<string, AnswerRead>,
    options: ReadHouseOptions = {},
  ): Promise<ReadHouse> {
    house.homeserver.identities.set('Bearer alice', ALICE);
    const read = new ReadHouse(house, answers(house), options);
    const server = createServer((req, res) => {
      const pass = () => {
        read.passed.push(`${req.method} ${req.url}`);
        req.resume();
        res.writeHead(403, { 'content-type': 'application/json' });
        res.end(JSON.stringify(PASSED));
      };
      if (!read.reads.take(req, res, pass) && !read.receipts.take(req, res, pass)) pass();
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    onTestFinished(() => {
      server.closeAllConnections();
      server.close();
    });
    read.#origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    return read;
  }

  private constructor(
    house: PeekingHouse,
    answers: ReadonlyMap<string, AnswerRead>,
    { viewers = [], limits = new ReadLimits() }: ReadHouseOptions,
  ) {
    this.house = house;
    this.peekers = new Peekers({ ...house, trusted: new TrustedProxies(), viewers });
    const { peekers } = this;
    // What has been read of a body is forwarded with it.
    const forward: RawForwarder['forward'] = (req, res, { body, begun } = {}) => {
      this.passed.push(`${req.method} ${req.url} ${Buffer.from(body ?? begun ?? []).toString()}`);
      req.resume();
      res.writeHead(400);
      res.end(JSON.stringify(PASSED));
      return Promise.resolve({ kind: 'answered', status: 400 });
    };
    this.receipts = new PeekersReceipts({ ...house, peekers, forwarder: { forward } });
    this.reads = new PeekedReads({ ...house, peekers, answers, limits });
  }

  /** A room of another server that Alice's device peeks into. */
  async peeked(builder = new RoomBuilder()): Promise<RoomBuilder> {
    this.house.remoteRoom(builder);
    await this.house.peek(builder.roomId);
    return builder;
  }

  /** `path` is what follows `/_matrix/client/v3/rooms/{roomId}/`. */
  get(room: RoomBuilder, path: string, token = 'alice'): Promise<ReadAnswer> {
    return this.request('GET', pathIn(room, path), token);
  }

  /** The whole URL, for who sends a request otherwise. */
  target(room: RoomBuilder, path: string): string {
    return `${this.#origin}${pathIn(room, path)}`;
  }

  async request(method: string, target: string, token = 'alice', body?: string): Promise<ReadAnswer> {
    const response = await fetch(`${this.#origin}${target}`, {
      method,
      headers: { authorization: `Bearer ${token}` },
      ...(body === undefined ? {} : { body }),
    });
    const text = await response.text();
    return { status: response.status, headers: response.headers, text, body: parsed(text) };
  }
}

function pathIn(room: RoomBuilder, path: string): string {
  return `/_matrix/client/v3/rooms/${encodeURIComponent(room.roomId)}/${path}`;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
