import type { Ingested, RemoteFeed } from '../feeds/remote/remote-feed.ts';
import type { Json } from '../matrix/json.ts';
import type { OutboundPeeks } from '../outbound-peeks/outbound-peeks.ts';
import type { Clock } from '../platform/clock.ts';
import type { Logger } from '../platform/log.ts';
import { type Store, StoreDownError } from '../store/store.ts';
import { CatchUpMarks } from './catch-up-marks.ts';
import type { Transaction } from './transaction.ts';

export interface PeekedEventsDeps {
  readonly outbound: Pick<OutboundPeeks, 'peeksThrough' | 'heard' | 'expired'>;
  readonly feed: Pick<RemoteFeed, 'ingest'>;
  readonly store: Pick<Store, 'logs'>;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Takes what a transaction holds of rooms that are peeked through its sender. */
export class PeekedEvents {
  readonly #deps: PeekedEventsDeps;
  readonly #marks: CatchUpMarks;

  constructor(deps: PeekedEventsDeps) {
    this.#deps = deps;
    this.#marks = new CatchUpMarks(deps.store, deps.clock);
  }

  /** All its rooms are peeked through `origin`. What this resolves with is stored. Rejects with `StoreDownError`. */
  async takeAll(origin: string, transaction: Transaction): Promise<Ingested[]> {
    const results: Ingested[] = [];
    for (const [roomId, pdus] of transaction.rooms) {
      results.push(...(await this.#ingest(origin, roomId, pdus)));
    }
    void this.#deps.outbound.expired(origin, transaction.expiredPeeks);
    return results;
  }

  /** The peeked rooms among others. Never rejects: a room whose events cannot be stored will catch up. */
  async takePeeked(origin: string, transaction: Transaction): Promise<void> {
    for (const [roomId, pdus] of transaction.rooms) {
      if (!this.#deps.outbound.peeksThrough(roomId, origin)) continue;
      try {
        await this.#ingest(origin, roomId, pdus);
      } catch (error) {
        await this.#miss(origin, [roomId], error);
      }
    }
    void this.#deps.outbound.expired(origin, transaction.expiredPeeks);
  }

  /** A transaction that somebody else answers is not read: its peeked rooms will catch up. Never rejects. */
  missed(origin: string, transaction: Transaction, why: unknown): Promise<void> {
    const rooms = [...transaction.rooms.keys()];
    return this.#miss(
      origin,
      rooms.filter((roomId) => this.#deps.outbound.peeksThrough(roomId, origin)),
      why,
    );
  }

  /** Rejects with `StoreDownError`. Any other failure is a fault of ours: sent again, it would come again. */
  async #ingest(origin: string, roomId: string, pdus: readonly Json[]): Promise<Ingested[]> {
    const { feed, outbound, logger } = this.#deps;
    try {
      const results = await feed.ingest(roomId, origin, pdus);
      await outbound.heard(roomId, origin);
      return results;
    } catch (error) {
      if (error instanceof StoreDownError) throw error;
      logger.error(
        { server: origin, room: roomId, err: error },
        'events of a peeked room could not be taken; the room will catch up',
      );
      await this.#marks.mark([roomId]);
      return [];
    }
  }

  async #miss(server: string, rooms: readonly string[], error: unknown): Promise<void> {
    if (rooms.length === 0) return;
    this.#deps.logger.warn(
      { server, rooms, reason: String(error) },
      'peeked events of a forwarded transaction could not be stored; their rooms will catch up',
    );
    await this.#marks.mark(rooms);
  }
}
