import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { onTestFinished } from 'vitest';
import { HeldAnswers, type HeldLimits } from '../../src/client-sync/held-answers.ts';
import { HeldSyncs } from '../../src/client-sync/held-syncs.ts';
import { PeekingSync } from '../../src/client-sync/peeking-sync.ts';
import { SyncHandler } from '../../src/client-sync/sync-handler.ts';
import { SyncRace } from '../../src/client-sync/sync-race.ts';
import { UpstreamPolls } from '../../src/client-sync/upstream-polls.ts';
import { RawForwarder } from '../../src/forward/raw-forwarder.ts';
import { TrustedProxies } from '../../src/forward/trusted-proxies.ts';
import { createUpstream } from '../../src/forward/upstream.ts';
import { ALICE, type HouseOptions, PeekingHouse } from './peeking-house.ts';

/** A request to `/sync` as the homeserver got it, to be answered when a test likes. */
export interface Asked {
  readonly url: URL;
  readonly req: IncomingMessage;
  readonly res: ServerResponse;
  /** Answers 200 with JSON. */
  answer(body: unknown): void;
}

type Script = (asked: Asked) => void;

/** `/sync` over real sockets: a client, the handler under test, a homeserver whose answers the test writes. */
export class SyncHouse {
  readonly house: PeekingHouse;
  readonly held = new HeldSyncs();
  readonly polls: UpstreamPolls;
  readonly forwarder: RawForwarder;
  readonly asked: Asked[] = [];
  /** What the homeserver does with a request; by default nothing until the test answers it. */
  script: Script = () => {};
  tokenMode: 'ninth-field' | 'suffix' = 'ninth-field';
  readonly #handler: SyncHandler;
  #origin = '';
  #waiting: (() => void)[] = [];

  static async open(options: HouseOptions = {}, limits: Partial<HeldLimits> = {}): Promise<SyncHouse> {
    const house = await PeekingHouse.open(options);
    house.homeserver.identities.set('Bearer alice', ALICE);
    const homeserver = await listen((req, res) => sync.#asked(req, res));
    const upstream = createUpstream(homeserver.origin);
    onTestFinished(() => upstream.destroy());
    const sync: SyncHouse = new SyncHouse(house, new RawForwarder(upstream, new TrustedProxies()), limits);
    const proxy = await listen((req, res) => void sync.#handler.handle(req, res));
    sync.#origin = proxy.origin;
    onTestFinished(() => sync.polls.close());
    return sync;
  }

  private constructor(house: PeekingHouse, forwarder: RawForwarder, limits: Partial<HeldLimits>) {
    this.house = house;
    this.forwarder = forwarder;
    this.polls = new UpstreamPolls(house.clock);
    const { held, polls } = this;
    const answers = new HeldAnswers(limits);
    const race = new SyncRace({ ...house, held });
    const { joins } = house;
    const tokenMode = () => this.tokenMode;
    const parts = { forwarder, race, joins, polls, held, answers, tokenMode };
    const peekingSync = new PeekingSync({ ...house, ...parts });
    const trusted = new TrustedProxies();
    this.#handler = new SyncHandler({ ...house, forwarder, peekingSync, held, trusted });
  }

  /** One request of Alice's device (or with another token); the answer whole. */
  async sync(query: Record<string, string> = {}, token = 'alice', signal?: AbortSignal): Promise<SyncAnswer> {
    const response = await fetch(this.target(query), {
      headers: { authorization: `Bearer ${token}`, 'accept-encoding': 'gzip' },
      ...(signal === undefined ? {} : { signal }),
    });
    const text = await response.text();
    return { status: response.status, headers: response.headers, text, body: parsed(text) };
  }

  target(query: Record<string, string>): string {
    return `${this.#origin}/_matrix/client/v3/sync?${new URLSearchParams(query)}`;
  }

  /** The `n`th request that the homeserver got, when it is there. */
  async upstream(n: number): Promise<Asked> {
    for (;;) {
      const asked = this.asked[n];
      if (asked !== undefined) return asked;
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  #asked(req: IncomingMessage, res: ServerResponse): void {
    const asked: Asked = {
      url: new URL(req.url ?? '', 'http://homeserver'),
      req,
      res,
      answer(body) {
        res.setHeader('content-type', 'application/json');
        res.end(JSON.stringify(body));
      },
    };
    this.asked.push(asked);
    this.script(asked);
    for (const wake of this.#waiting.splice(0)) wake();
  }
}

export interface SyncAnswer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  readonly body: SyncBody;
}

interface SyncBody {
  readonly next_batch: string;
  readonly rooms?: Partial<Record<'join' | 'leave' | 'invite' | 'peek', Record<string, never>>>;
}

function parsed(text: string): SyncBody {
  try {
    return JSON.parse(text) as SyncBody;
  } catch {
    return { next_batch: '' };
  }
}

async function listen(
  handle: (req: IncomingMessage, res: ServerResponse) => void,
): Promise<{ server: Server; origin: string }> {
  const server = createServer(handle);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return { server, origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
}
