import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Writable } from 'node:stream';
import { pino } from 'pino';
import { expect, onTestFinished, vi } from 'vitest';
import { type Context, createContext } from '../../../src/app/context.ts';
import { createRemoteServers } from '../../../src/app/remote-servers.ts';
import { beginWork } from '../../../src/app/work.ts';
import { type Config, loadConfig } from '../../../src/config/config.ts';
import { createListener } from '../../../src/forward/listener.ts';
import { createUpstream } from '../../../src/forward/upstream.ts';
import type { Json, JsonObject } from '../../../src/matrix/json.ts';
import { createMetrics } from '../../../src/platform/metrics.ts';
import { systemRandom } from '../../../src/platform/random.ts';
import { openStore } from '../../../src/store/open-store.ts';
import type { Store } from '../../../src/store/store.ts';
import { testCertificates } from '../../support/certificates.ts';
import { MatrixClient } from '../../support/client.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { type BuiltEvent, keyOf, RoomBuilder } from '../../support/room-builder.ts';
import { ScriptedServer, type SignedAnswer, type SignedRequest } from '../../support/scripted-server.ts';
import { asHomeserver, OwnHomeserver } from './own-homeserver.ts';

const OURS = 'here.test';
/** Shortly after the events of a `RoomBuilder`, for which the keys have to be valid. */
const NOW = 1_790_100_000_000;

type Parts = Pick<
  House,
  'clock' | 'homeserver' | 'store' | 'context' | 'logs' | 'url' | 'forwarded' | 'good'
>;

/** Takes what is to be done when the test is over, or all of them. */
export type Ends = (end: () => Promise<void> | void) => void;

/** What is started for all tests of a file, and ends with the last one. */
export function endings(): { readonly ends: Ends; readonly endAll: () => Promise<void> } {
  const all: Parameters<Ends>[0][] = [];
  return {
    ends: (end) => void all.unshift(end),
    async endAll() {
      for (const end of all) await end();
    },
  };
}

/** A line of the proxy's log. */
export interface LogLine {
  readonly level: number;
  readonly msg: string;
  readonly server?: string;
  readonly room?: string;
  readonly reason?: string;
  /** Of the line that each request has. */
  readonly path?: string;
}

/**
 * The proxy, all of it, in this process: real sockets to its clients, to other servers (over verified TLS) and
 * to its homeserver; time stands still until a test moves it.
 *
 * Beside what a test does there is a neighbour: a well-behaved server `good` with a room that `alice` peeks, and
 * that peeks a room of ours itself. `neighbourGoesOn` says whether they fare as ever.
 */
export class House {
  readonly clock: ManualClock;
  readonly homeserver: OwnHomeserver;
  readonly store: Store;
  readonly context: Context;
  readonly logs: LogLine[];
  readonly url: string;
  /** What other servers sent that our homeserver got to see. */
  readonly forwarded: string[];
  readonly good: ScriptedServer;
  readonly alice: MatrixClient;
  /** A room of `good` that alice peeks. */
  readonly goodRoom: RoomBuilder;
  /** A room of ours that `good` peeks. */
  readonly open: RoomBuilder;
  #since: string | undefined;
  #said = 0;

  /** Ends with the test, or with what `ends` says. */
  static async start(
    env: Readonly<Record<string, string>> = {},
    ends: Ends = onTestFinished,
  ): Promise<House> {
    const clock = new ManualClock(NOW);
    const logs: LogLine[] = [];
    const logger = pino({ level: 'info' }, lines(logs));
    const store = await openStore({ redisUrl: null, dataDir: ':memory:', clock, logger });
    const forwarded: string[] = [];
    const homeserverUrl = await listen(
      createServer((req, res) => void asHomeserver(req, res, forwarded)),
      ends,
    );
    const config = loadConfig({
      PEEK_HOMESERVER_URL: homeserverUrl,
      PEEK_SERVER_NAME: OURS,
      PEEK_SIGNING_KEY_PATH: '/dev/null',
      PEEK_READER_TOKEN: 'reader',
      PEEK_FEDERATION_CA_PATH: (await testCertificates()).ca,
      PEEK_FEDERATION_ALLOW: '127.0.0.1/32,::1/128',
      PEEK_RATE_LIMIT: '100000/m',
      PEEK_MAX_PER_DEVICE: '1000',
      ...env,
    });
    const homeserver = new OwnHomeserver();
    const context = build(config, { clock, logger, store, homeserver });
    const work = beginWork(context, clock, logger);
    work.opened();
    await context.watch.firstLook;
    const url = await listen(createListener(context.handle), ends);
    const good = await scriptedServer(ends);
    ends(async () => {
      await context.close();
      await work.stop();
      await store.close();
    });
    const house = new House({ clock, homeserver, logs, good, store, context, url, forwarded });
    await house.#settleIn();
    return house;
  }

  private constructor(parts: Parts) {
    this.clock = parts.clock;
    this.homeserver = parts.homeserver;
    this.store = parts.store;
    this.context = parts.context;
    this.logs = parts.logs;
    this.url = parts.url;
    this.forwarded = parts.forwarded;
    this.good = parts.good;
    const { good } = parts;
    this.alice = this.device('alice');
    this.goodRoom = good.lend(new RoomBuilder('10', good.serverName, 'good'));
    this.open = new RoomBuilder('10', OURS, 'open');
    parts.homeserver.add(this.open);
  }

  async #settleIn(): Promise<void> {
    const { good, goodRoom, alice } = this;
    const answer = await alice.peek(goodRoom.roomId, [good.serverName]);
    expect([answer.status, answer.text]).toEqual([200, expect.any(String)]);
    const { status } = await this.as(good, {
      method: 'PUT',
      target: peekTarget(this.open.roomId, 'neighbour'),
      content: {},
    });
    expect(status).toBe(200);
    this.#since = (await alice.sync()).next_batch;
  }

  /** A device of a user of ours. */
  device(name: string): MatrixClient {
    const token = `token of ${name}`;
    const userId = `@${name}:${OURS}`;
    this.homeserver.identities.set(`Bearer ${token}`, { userId, deviceId: 'PHONE', isGuest: false });
    return new MatrixClient(this.url, { userId, deviceId: 'PHONE', token });
  }

  /** A request of another server to us, signed. */
  as(server: ScriptedServer, request: SignedRequest): Promise<SignedAnswer> {
    return server.request(this.url, OURS, request);
  }

  /** A transaction of another server to us. */
  relay(
    server: ScriptedServer,
    events: readonly (BuiltEvent | Json)[],
    more: JsonObject = {},
  ): Promise<SignedAnswer> {
    return server.relay(this.url, OURS, events, more);
  }

  sign(server: ScriptedServer, request: SignedRequest): string {
    return server.sign(OURS, request);
  }

  /** Events of our homeserver's rooms reach those who follow them. */
  wake(): void {
    this.homeserver.wake();
  }

  /** An event of `good` reaches alice, one of ours reaches `good`, and both at once. */
  async neighbourGoesOn(): Promise<void> {
    const body = `still here ${++this.#said}`;
    const { good, goodRoom, open } = this;
    const ours = open.message(body);
    this.wake();
    expect(await this.relay(good, [goodRoom.message(body)])).toMatchObject({ status: 200 });
    const answer = await this.alice.sync({ ...(this.#since !== undefined && { since: this.#since }) });
    this.#since = answer.next_batch;
    const events = answer.rooms.peek[goodRoom.roomId]?.timeline?.events ?? [];
    expect(events.map(({ content }) => content.body)).toContain(body);
    await vi.waitFor(
      () => expect(good.received.map(({ content }) => content)).toContainEqual(ours.pdu.content),
      WAIT,
    );
  }

  /** The lines that name this server. */
  said(server: ScriptedServer): LogLine[] {
    return this.logs.filter((line) => line.server === server.serverName);
  }

  /** A room of `server` that alice peeks. */
  async peekedRoom(server: ScriptedServer, name: string): Promise<RoomBuilder> {
    const room = server.lend(new RoomBuilder('10', server.serverName, name));
    expect(await this.alice.peek(room.roomId, [server.serverName])).toMatchObject({ status: 200 });
    return room;
  }

  /** The messages of a room's log, oldest first. */
  async messages(room: RoomBuilder): Promise<unknown[]> {
    return (await this.log(room.roomId)).filter((body) => !String(body).startsWith('m.room.'));
  }

  /** What a room's log shows, oldest first: bodies of messages, types of others. */
  async log(roomId: string): Promise<unknown[]> {
    const held = await this.store.logs.readLast(roomId, Number.MAX_SAFE_INTEGER, 10_000);
    return held.map(
      ({ json, type }) => (JSON.parse(json) as { content: { body?: unknown } }).content.body ?? type,
    );
  }
}

/** Long, since the machine may be busy; what is waited for takes milliseconds. */
export const WAIT = { timeout: 10_000, interval: 5 };

/** Ten times what a task of ours may take, since this process plays the other servers too. */
export const LONGEST_TASK_MS = 500;

const ALL_VERSIONS = Array.from({ length: 12 }, (_, i) => `ver=${i + 1}`).join('&');

export function peekTarget(roomId: string, peekId: string): string {
  return `/_matrix/federation/v1/peek/${encodeURIComponent(roomId)}/${encodeURIComponent(peekId)}?${ALL_VERSIONS}`;
}

/** A server that ends with the test. */
export async function scriptedServer(ends: Ends = onTestFinished): Promise<ScriptedServer> {
  const server = await ScriptedServer.start();
  ends(() => server.close());
  return server;
}

function build(
  config: Config,
  around: {
    readonly clock: ManualClock;
    readonly logger: pino.Logger;
    readonly store: Store;
    readonly homeserver: OwnHomeserver;
  },
): Context {
  const { homeserver, clock, logger } = around;
  const metrics = createMetrics();
  const signingKey = keyOf(OURS);
  const shared = { clock, random: systemRandom, logger, metrics, homeserver, signingKey };
  const { close, ...servers } = createRemoteServers(config, shared);
  const upstream = createUpstream(config.homeserverUrl);
  return createContext(
    config,
    { ...around, random: systemRandom, metrics },
    {
      homeserver,
      upstream,
      ...servers,
      close: async () => void (await Promise.all([upstream.destroy(), close()])),
    },
  );
}

async function listen(server: ReturnType<typeof createServer>, ends: Ends): Promise<string> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  ends(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

function lines(into: LogLine[]): Writable {
  return new Writable({
    write(chunk, _encoding, done) {
      for (const line of String(chunk).split('\n')) if (line !== '') into.push(JSON.parse(line) as LogLine);
      done();
    },
  });
}
