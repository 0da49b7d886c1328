import { domainOf } from '../matrix/ids.ts';
import type { Clock } from '../platform/clock.ts';
import { limitExceeded, type MatrixError } from '../platform/matrix-error.ts';
import type { InboundPeekStore } from '../store/store.ts';

/** One event of a room is a request to each of them. */
const MOST_SERVERS_PER_ROOM = 1_000;
/** Of a room's places and of all peeks, to servers of one domain: its owner has names without end. */
const SHARE_OF_DOMAIN = 1 / 2;
/** How old a count may be. Between two of them other processes' additions are not seen; quotas may be exceeded by those. */
const FRESH_MS = 10_000;
const RETRY_MS = 600_000;

/** How many peeks servers may have together: in all, in a room, and of these those of one domain. */
export class PeekQuota {
  readonly #peeks: InboundPeekStore;
  readonly #clock: Clock;
  readonly #maxTotal: number;
  #total = 0;
  #byDomain = new Map<string, number>();
  #countedAt = Number.NEGATIVE_INFINITY;

  constructor(peeks: InboundPeekStore, clock: Clock, maxTotal: number) {
    this.#peeks = peeks;
    this.#clock = clock;
    this.#maxTotal = maxTotal;
  }

  /** Rejects with `MatrixError` 429 where a further peek would be one too many; what is there may be renewed. */
  async check(server: string, roomId: string, peekId: string): Promise<void> {
    if ((await this.#peeks.get(server, roomId, peekId)) !== null) return;
    await this.#count();
    const domain = domainOf(server);
    if (this.#total >= this.#maxTotal) throw quotaExceeded('This server is peeked enough');
    if ((this.#byDomain.get(domain) ?? 0) >= this.#maxTotal * SHARE_OF_DOMAIN) {
      throw quotaExceeded('Servers of your domain hold as many peeks as they may together');
    }
    await this.#checkRoom(server, domain, roomId);
  }

  added(server: string): void {
    this.#add(server, 1);
  }

  async #checkRoom(server: string, domain: string, roomId: string): Promise<void> {
    const servers = new Set((await this.#peeks.ofRoom(roomId)).map((peek) => peek.server));
    if (servers.has(server)) return;
    if (servers.size >= MOST_SERVERS_PER_ROOM) {
      throw quotaExceeded('This room is peeked by as many servers as it may');
    }
    const most = MOST_SERVERS_PER_ROOM * SHARE_OF_DOMAIN;
    if (servers.size < most) return;
    const ofDomain = [...servers].filter((other) => domainOf(other) === domain).length;
    if (ofDomain >= most) {
      throw quotaExceeded('This room is peeked by as many servers of your domain as it may');
    }
  }

  /** Without a question to the store at each request. */
  async #count(): Promise<void> {
    const now = this.#clock.now();
    if (Math.abs(now - this.#countedAt) < FRESH_MS) return;
    const counts = await this.#peeks.countByServer();
    this.#countedAt = now;
    this.#total = 0;
    this.#byDomain = new Map();
    for (const [server, held] of counts) this.#add(server, held);
  }

  #add(server: string, held: number): void {
    const domain = domainOf(server);
    this.#total += held;
    this.#byDomain.set(domain, (this.#byDomain.get(domain) ?? 0) + held);
  }
}

export function quotaExceeded(message: string): MatrixError {
  return limitExceeded(message, RETRY_MS);
}
