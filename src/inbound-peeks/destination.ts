import type { Clock } from '../platform/clock.ts';
import type { Logger } from '../platform/log.ts';
import type { Metrics } from '../platform/metrics.ts';
import type { Random } from '../platform/random.ts';
import { RemoteRefusal, type RemoteServers } from '../remote-servers/remote-servers.ts';
import type { Store } from '../store/store.ts';
import { BackOff } from './back-off.ts';
import { Outbox } from './outbox.ts';
import type { RelayChecks } from './relay-check.ts';
import type { RoomPages } from './room-pages.ts';
import {
  type Contents,
  isEmpty,
  type Transaction,
  type TransactionIds,
  toTransaction,
} from './transaction.ts';

const REQUEST_TIMEOUT_MS = 60_000;
/** The answer lists an error per PDU; nothing of it is used. */
const MOST_ANSWER_BYTES = 1024 * 1024;
/** Longer than a request may take; prolonged before each one and while waiting. */
const LEASE_MS = 120_000;
const LEASE_PROLONG_MS = 30_000;

export interface DestinationDeps {
  readonly store: Pick<Store, 'inboundPeeks' | 'logs' | 'leases'>;
  readonly remote: RemoteServers;
  readonly checks: RelayChecks;
  readonly pages: RoomPages;
  readonly clock: Clock;
  readonly random: Random;
  readonly transactionIds: TransactionIds;
  readonly logger: Logger;
  readonly metrics: Pick<Metrics, 'sendTransactions'>;
  readonly serverName: string;
  /** Names this process to the others. */
  readonly owner: string;
  /** A cursor has reached its end and is gone. */
  readonly finished: (roomId: string) => void;
}

/**
 * Sends one server what it is owed, one transaction at a time, until nothing is left. It exists only while
 * there is work.
 *
 * Any answer but 2xx is tried again with back-off, 4xx too: a server that misunderstands today may be updated
 * tomorrow, and one that has lost interest stops renewing, which ends its peeks and with them the attempts.
 */
export class Destination {
  readonly #server: string;
  readonly #deps: DestinationDeps;
  readonly #outbox: Outbox;
  readonly #backOff: BackOff;
  readonly #stopped = new AbortController();
  #pause = new AbortController();
  #woken = true;
  #pending: Transaction | null = null;

  constructor(server: string, deps: DestinationDeps) {
    this.#server = server;
    this.#deps = deps;
    this.#outbox = new Outbox(server, deps);
    this.#backOff = new BackOff(deps.random);
  }

  /** There may be more to send, in one room or in any (null). */
  wake(roomId: string | null): void {
    this.#woken = true;
    if (roomId === null) this.#outbox.addAll();
    else this.#outbox.add(roomId);
  }

  /** Woken again after its last look, when it had already ended. */
  get unfinished(): boolean {
    return this.#woken && !this.#stopped.signal.aborted;
  }

  /** The server has called us: it is up, so a running back-off ends. */
  heard(): void {
    this.#backOff.reset();
    this.#pause.abort();
  }

  stop(): void {
    this.#stopped.abort();
    this.#pause.abort();
  }

  /** Runs until all is sent or `stop()`. Never rejects. */
  async run(): Promise<void> {
    while (this.#woken && !this.#stopped.signal.aborted) {
      this.#woken = false;
      let wait: number;
      try {
        wait = await this.#sendAll();
      } catch (error) {
        wait = this.#failed(error);
      }
      if (wait > 0) {
        this.#woken = true;
        await this.#sleep(wait);
      }
    }
    await this.#deps.store.leases.release(this.#lease, this.#deps.owner).catch(() => undefined);
  }

  /** Returns 0 when nothing is left, or the time to wait (ms) while another process sends. */
  async #sendAll(): Promise<number> {
    for (;;) {
      if (this.#stopped.signal.aborted) return 0;
      if (!(await this.#holdLease())) {
        // What the other process leaves undone when it dies is found anew.
        this.#pending = null;
        this.#outbox.addAll();
        return LEASE_PROLONG_MS;
      }
      const next = await this.#nextTransaction();
      if (next === null) return 0;
      if (!isEmpty(next)) await this.#send(next).catch((error: unknown) => this.#notSent(error));
      this.#pending = null;
      await this.#arrived(next);
    }
  }

  async #nextTransaction(): Promise<Transaction | null> {
    let contents: Contents | null;
    if (this.#pending === null) {
      contents = await this.#outbox.next();
      if (contents === null) return null;
    } else {
      contents = await this.#outbox.still(this.#pending);
      if (contents === this.#pending) return this.#pending;
    }
    const { transactionIds, clock, serverName: origin } = this.#deps;
    const transactionId = transactionIds.next();
    this.#pending = toTransaction(contents, { origin, now: clock.now(), transactionId });
    return this.#pending;
  }

  async #send(transaction: Transaction): Promise<void> {
    await this.#deps.remote.request(this.#server, {
      method: 'PUT',
      path: transaction.path,
      canonicalBody: transaction.body,
      timeoutMs: REQUEST_TIMEOUT_MS,
      maxBytes: MOST_ANSWER_BYTES,
      signal: this.#stopped.signal,
      ignoreBackOff: true,
    });
    this.#backOff.reset();
    this.#deps.metrics.sendTransactions.inc({ outcome: 'delivered' });
  }

  async #arrived(contents: Contents): Promise<void> {
    const { inboundPeeks } = this.#deps.store;
    try {
      if (contents.expired.length > 0) await inboundPeeks.announced(this.#server, contents.expired);
      await Promise.all(
        [...contents.reached].map(async ([roomId, position]) => {
          if (await inboundPeeks.advance(this.#server, roomId, position)) this.#deps.finished(roomId);
        }),
      );
    } catch (error) {
      this.#outbox.addAll();
      throw error;
    }
  }

  #notSent(error: unknown): never {
    const outcome = error instanceof RemoteRefusal ? 'refused' : 'failed';
    if (!this.#stopped.signal.aborted) this.#deps.metrics.sendTransactions.inc({ outcome });
    throw error;
  }

  #failed(error: unknown): number {
    if (this.#stopped.signal.aborted) return 0;
    const asked = error instanceof RemoteRefusal ? error.body.retry_after_ms : undefined;
    const wait = this.#backOff.failed(typeof asked === 'number' && asked > 0 ? asked : 0);
    const reason = error instanceof Error ? error.message : String(error);
    this.#deps.logger.info({ server: this.#server, wait, reason }, 'a peeking server could not be sent to');
    return wait;
  }

  /** Waits, keeping the lease; ends early when the server is heard from, or on `stop()`. */
  async #sleep(ms: number): Promise<void> {
    this.#pause = new AbortController();
    if (this.#stopped.signal.aborted) return;
    const { clock } = this.#deps;
    const end = clock.now() + ms;
    while (!this.#pause.signal.aborted && clock.now() < end) {
      await clock.sleep(Math.min(LEASE_PROLONG_MS, end - clock.now()), this.#pause.signal);
      if (clock.now() < end && !this.#pause.signal.aborted) await this.#holdLease().catch(() => false);
    }
  }

  #holdLease(): Promise<boolean> {
    return this.#deps.store.leases.acquire(this.#lease, this.#deps.owner, LEASE_MS);
  }

  get #lease(): string {
    return `sender:${this.#server}`;
  }
}
