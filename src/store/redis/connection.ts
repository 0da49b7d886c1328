import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from '../../platform/log.ts';
import { StoreDownError } from '../store.ts';
import { createClient, type RedisClient } from './client.ts';
import { SCHEMA_KEY } from './keys.ts';
import type { RedisTarget } from './redis-url.ts';
import type { Script } from './scripts.ts';

/** Raised with every change of what the keys hold. */
export const SCHEMA_VERSION = 1;

type Argument = string | number;

/** The keys were written by a newer release of the proxy. Kept as `StoreDownError`, as it may turn up late. */
export class SchemaTooNewError extends StoreDownError {}

/** Commands and scripts to Redis; every failure is a `StoreDownError`. */
export class RedisConnection {
  readonly #client: RedisClient;
  readonly #logger: Logger;
  #schemaChecked = false;
  #schemaCheck: Promise<void> | null = null;
  #failing = false;

  constructor(target: RedisTarget, logger: Logger) {
    this.#logger = logger;
    this.#client = createClient(target, 'commands');
    this.#client.on('error', (error: Error) => this.#failed(error));
    this.#client.on('ready', () => this.#recovered());
  }

  /** Waits until Redis answers, at most `ms`. Rejects with `StoreDownError`; the client goes on trying. */
  async ready(ms: number): Promise<void> {
    const stop = new AbortController();
    const arrived = new Promise<true>((done) => {
      if (this.#client.status === 'ready') done(true);
      else this.#client.once('ready', () => done(true));
    });
    const late = sleep(ms, false, { signal: stop.signal }).catch(() => false);
    const answered = await Promise.race([arrived, late]);
    stop.abort();
    if (!answered) throw new StoreDownError(`Redis did not answer within ${ms} ms`);
    await this.call('PING');
  }

  /** The reply as it came: strings, integers, null and arrays of them (a hash is a flat array). */
  async call(command: string, ...values: Argument[]): Promise<unknown> {
    await this.#checkSchema();
    return this.#send(command, values);
  }

  /** Runs a script, sending its text only when Redis does not have it. */
  async run(script: Script, keys: readonly string[], values: readonly Argument[]): Promise<unknown> {
    await this.#checkSchema();
    const operands = [keys.length, ...keys, ...values];
    try {
      return await this.#send('EVALSHA', [script.sha1, ...operands]);
    } catch (error) {
      if (!(error instanceof StoreDownError && error.message.includes('NOSCRIPT'))) throw error;
      return this.#send('EVAL', [script.lua, ...operands]);
    }
  }

  /** `INFO <section>` of every node that takes writes. */
  async info(section: string): Promise<string[]> {
    const nodes = 'nodes' in this.#client ? this.#client.nodes('master') : [this.#client];
    return Promise.all(nodes.map((node) => node.info(section)));
  }

  async close(): Promise<void> {
    this.#client.disconnect();
  }

  async #send(command: string, values: readonly Argument[]): Promise<unknown> {
    try {
      return await this.#client.call(command, ...values);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw new StoreDownError(`Redis: ${reason}`, { cause: error });
    }
  }

  async #checkSchema(): Promise<void> {
    if (this.#schemaChecked) return;
    this.#schemaCheck ??= this.#readSchema().finally(() => {
      this.#schemaCheck = null;
    });
    await this.#schemaCheck;
  }

  async #readSchema(): Promise<void> {
    await this.#send('SET', [SCHEMA_KEY, SCHEMA_VERSION, 'NX']);
    const found = Number(await this.#send('GET', [SCHEMA_KEY]));
    if (found > SCHEMA_VERSION) {
      throw new SchemaTooNewError(
        `The store in Redis has schema version ${found}; this release knows versions up to ${SCHEMA_VERSION}`,
      );
    }
    this.#schemaChecked = true;
  }

  /** Once for each outage: a client that reconnects says the same at each attempt. */
  #failed(error: Error): void {
    if (this.#failing) return;
    this.#failing = true;
    this.#logger.error({ reason: error.message }, 'Redis is away');
  }

  #recovered(): void {
    if (this.#failing) this.#logger.info('Redis is back');
    this.#failing = false;
  }
}
