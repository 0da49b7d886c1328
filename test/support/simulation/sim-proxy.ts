import { pino } from 'pino';
import type { Dispatcher } from 'undici';
import { type Context, createContext } from '../../../src/app/context.ts';
import { beginWork } from '../../../src/app/work.ts';
import { loadConfig } from '../../../src/config/config.ts';
import { createListener } from '../../../src/forward/listener.ts';
import type { HttpsRequest } from '../../../src/platform/guarded-agent.ts';
import { createMetrics } from '../../../src/platform/metrics.ts';
import { federationDomains } from '../../../src/remote-servers/federation-domains.ts';
import { SignedClient } from '../../../src/remote-servers/signed-client.ts';
import type { Store } from '../../../src/store/store.ts';
import { keyOf, TestKeyRing } from '../room-builder.ts';
import { Lifetime } from './lifetime.ts';
import type { MemoryNet } from './memory-net.ts';
import type { SimHomeserver } from './sim-homeserver.ts';
import type { SimStore } from './sim-store.ts';
import type { Stage } from './stage.ts';

const FIRST_LOOK_MS = 2_000;

export interface SimProxyOptions {
  readonly stage: Stage;
  readonly net: MemoryNet;
  readonly homeserver: SimHomeserver;
  readonly store: SimStore;
  /** Called when it was killed. */
  readonly killed: () => void;
  readonly logLevel: string;
  /** How often it sweeps. */
  readonly sweepMs: number;
}

/** A proxy before one homeserver, with all its objects, as often as it is started. */
export class SimProxy {
  readonly name: string;
  readonly #options: SimProxyOptions;
  #life: Lifetime | null = null;
  #context: Context | null = null;
  #store: Store | null = null;

  constructor(options: SimProxyOptions) {
    this.#options = options;
    this.name = options.homeserver.serverName;
  }

  get isUp(): boolean {
    return this.#life?.alive === true;
  }

  /** Its store, while it is up, past the steps that are counted. */
  get store(): Store {
    if (this.#store === null) throw new Error(`${this.name} has never been started`);
    return this.#store;
  }

  /** What its store has not answered yet. */
  get storeOwes(): number {
    return this.isUp ? (this.#life?.storeOwes ?? 0) : 0;
  }

  dieIn(steps: number): void {
    this.#life?.dieIn(steps);
  }

  /** Starts as the command does, and listens. May be killed meanwhile. */
  async start(): Promise<void> {
    const { stage, homeserver, net, killed, logLevel } = this.#options;
    const life = new Lifetime(stage);
    const store = await this.#options.store.open(life.clock);
    const logger = pino({ level: logLevel, base: { proxy: this.name } });
    const { clock } = life;
    const { random } = stage.chance();
    const metrics = createMetrics();
    const config = loadConfig({
      PEEK_HOMESERVER_URL: 'http://homeserver.invalid',
      PEEK_SERVER_NAME: this.name,
      PEEK_SIGNING_KEY_PATH: '/nowhere',
      PEEK_RATE_LIMIT: '1000000/s',
      PEEK_LISTEN: `127.0.0.1:${this.name.length}`,
    });
    const servers = {
      request: (server: string, request: HttpsRequest) =>
        life.ask(() => net.exchange(this.name, server, { ...request, headers: request.headers ?? {} })),
    };
    const domains = federationDomains(this.name);
    const remote = new SignedClient({
      serverName: this.name,
      signingKey: keyOf(this.name),
      domains,
      servers,
      clock,
      random,
      metrics,
    });
    const context = createContext(
      config,
      { store: life.bound(store, true), clock, random, logger, metrics },
      {
        homeserver: life.bound(homeserver),
        upstream: homeserver.upstream(() => life.alive) as Dispatcher,
        remote,
        keys: new TestKeyRing(),
        domains,
        close: async () => {},
      },
    );
    const server = createListener(context.handle);
    this.#life = life;
    this.#context = context;
    this.#store = store;
    life.atDeath(() => {
      net.gone(this.name, server);
      killed();
    });
    const work = beginWork(context, clock, logger);
    await Promise.race([context.watch.firstLook, clock.sleep(FIRST_LOOK_MS)]);
    if (!life.alive) return;
    net.listen(this.name, server);
    work.opened();
    void this.#sweep(life, context);
  }

  async #sweep(life: Lifetime, context: Context): Promise<void> {
    while (life.alive) {
      await life.clock.sleep(this.#options.sweepMs);
      await context.sweeps.run().catch(() => {});
    }
  }

  /** An orderly end. */
  async stop(): Promise<void> {
    if (!this.isUp) return;
    const closed = this.#context?.close();
    await this.#options.stage.clock.advance(0);
    this.#life?.die();
    void closed;
  }
}
