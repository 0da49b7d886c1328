import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import type { Logger } from '../../platform/log.ts';
import { Notices } from '../notices.ts';
import type { Notice } from '../store.ts';
import { createClient, type RedisClient } from './client.ts';
import type { RedisConnection } from './connection.ts';
import { NOTICES_CHANNEL } from './keys.ts';
import type { RedisTarget } from './redis-url.ts';

const Message = z.object({
  origin: z.string(),
  notice: z.discriminatedUnion('kind', [
    z.object({ kind: z.literal('log'), roomId: z.string() }),
    z.object({ kind: z.literal('device'), userId: z.string(), deviceId: z.string() }),
    z.object({ kind: z.literal('inbound'), server: z.string(), roomId: z.string() }),
    z.object({ kind: z.literal('outbound'), roomId: z.string() }),
  ]),
});

/** Notices of this process and, over publish/subscribe, of the others. Its own do not depend on Redis. */
export class RedisNotices {
  readonly #local: Notices;
  readonly #redis: RedisConnection;
  readonly #subscriber: RedisClient;
  /** Tells our own messages, which have been delivered, from those of other processes. */
  readonly #origin = randomUUID();

  constructor(redis: RedisConnection, target: RedisTarget, logger: Logger) {
    this.#local = new Notices(logger);
    this.#redis = redis;
    this.#subscriber = createClient(target, 'notices');
    // The other connection reports outages.
    this.#subscriber.on('error', () => {});
    this.#subscriber.on('message', (_channel: string, text: string) => this.#receive(text));
    this.#subscriber.on('ready', () => {
      this.#subscriber.subscribe(NOTICES_CHANNEL).catch(() => this.#subscriber.disconnect(true));
    });
  }

  subscribe(listener: (notice: Notice) => void): () => void {
    return this.#local.subscribe(listener);
  }

  emit(notice: Notice): void {
    this.#local.emit(notice);
    const text = JSON.stringify({ origin: this.#origin, notice });
    // A lost notice is allowed; what it speaks of is stored.
    this.#redis.call('PUBLISH', NOTICES_CHANNEL, text).catch(() => {});
  }

  close(): void {
    this.#local.clear();
    this.#subscriber.disconnect();
  }

  #receive(text: string): void {
    const message = Message.safeParse(parse(text));
    if (message.success && message.data.origin !== this.#origin) this.#local.emit(message.data.notice);
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
