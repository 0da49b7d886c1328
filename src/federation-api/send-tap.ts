import type { IncomingMessage, ServerResponse } from 'node:http';
import type { RemoteFeed } from '../feeds/remote/remote-feed.ts';
import type { RawForwarder } from '../forward/raw-forwarder.ts';
import type { Json } from '../matrix/json.ts';
import { HOLDS_EVENTS } from '../matrix/json-scan.ts';
import type { OutboundPeeks } from '../outbound-peeks/outbound-peeks.ts';
import type { Residency } from '../peeking/residency.ts';
import type { Clock } from '../platform/clock.ts';
import type { Logger } from '../platform/log.ts';
import { limitExceeded } from '../platform/matrix-error.ts';
import type { Metrics } from '../platform/metrics.ts';
import type { Store } from '../store/store.ts';
import { sendJson } from './answers.ts';
import { BodyBudget, type HeldBody } from './body-budget.ts';
import { sendError } from './errors.ts';
import { NoTurn, OriginLanes } from './origin-lanes.ts';
import { PeekedEvents } from './peeked-events.ts';
import { type Authenticate, BodyTooLong, claimedOrigin, readBody, toSigned } from './signed-request.ts';
import { concernsUsersOf, readTransaction, type Transaction } from './transaction.ts';

export interface SendTapDeps {
  readonly forwarder: RawForwarder;
  readonly authenticate: Authenticate;
  readonly outbound: OutboundPeeks;
  readonly feed: RemoteFeed;
  readonly residency: Residency;
  readonly store: Store;
  readonly clock: Clock;
  readonly metrics: Metrics;
  readonly logger: Logger;
  readonly serverName: string;
}

/**
 * Far more than 50 PDUs of 64 KiB weigh. A homeserver takes three times that, but what is read here is parsed
 * and written anew for its signature in one go, and that must not take long.
 */
const MOST_BODY_BYTES = 4 * 1024 * 1024;
/**
 * Names and values in a body; 50 PDUs and 100 EDUs have some 5 000. The signature covers what is parsed, so the
 * body of whoever claims to be a server that we peek through is parsed before it is known whose it is.
 */
const MOST_VALUES = 50_000;
/** Bodies that claim to be of one server, while they are read and forwarded; and those of all servers. */
const MOST_BYTES_OF_ONE = 16 * 1024 * 1024;
const MOST_BYTES_AT_ONCE = 64 * 1024 * 1024;
/** Of one server. It sends one transaction at a time, and its homeserver another; what is more are retries. */
const MOST_WAITING = 20;
const RETRY_FULL_MS = 5_000;
const WARN_PAUSE_MS = 60_000;

/** An authenticated transaction, and the request that brought it. */
interface Received {
  readonly req: IncomingMessage;
  readonly res: ServerResponse;
  readonly body: Buffer;
  /** Aborts when the answer is out or nobody waits for it any more. */
  readonly gone: AbortSignal;
  readonly origin: string;
  readonly transaction: Transaction;
}

/**
 * `PUT /_matrix/federation/v1/send/{txnId}`. A transaction that is nothing but the relay of rooms we peek into
 * is answered here, without the homeserver, which takes one transaction of a server at a time. Every other one
 * goes to the homeserver byte for byte; what it holds of peeked rooms is read beside that. One that is
 * larger than any that we are sent goes on unread: the homeserver judges it.
 *
 * The transactions of one server are read in the order in which they came, whoever answers them, and those
 * that go to the homeserver go one after the other. Nothing is remembered of transaction IDs: a server may send
 * more under the same one, and events are known by their own IDs.
 */
export class SendTap {
  readonly #deps: SendTapDeps;
  readonly #reading = new OriginLanes(MOST_WAITING);
  readonly #forwarding = new OriginLanes(MOST_WAITING);
  readonly #budget = new BodyBudget(MOST_BODY_BYTES, MOST_BYTES_OF_ONE, MOST_BYTES_AT_ONCE);
  readonly #events: PeekedEvents;
  #warnedAt = Number.NEGATIVE_INFINITY;

  constructor(deps: SendTapDeps) {
    this.#deps = deps;
    this.#events = new PeekedEvents(deps);
  }

  async handle(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const { forwarder, outbound } = this.#deps;
    const claimed = claimedOrigin(req);
    if (claimed === null || !outbound.anyThrough(claimed)) {
      await forwarder.forward(req, res);
      return;
    }
    const announced = announcedBytes(req);
    const pushedOut = new AbortController();
    const held = this.#budget.take(claimed, announced, () => pushedOut.abort());
    if (held === null) {
      this.#warnUnread(claimed, announced);
      await forwarder.forward(req, res);
      return;
    }
    try {
      await this.#take(req, res, held, pushedOut.signal);
    } finally {
      held.release();
    }
  }

  async #take(
    req: IncomingMessage,
    res: ServerResponse,
    held: HeldBody,
    pushedOut: AbortSignal,
  ): Promise<void> {
    const { forwarder, logger, clock } = this.#deps;
    const gone = new AbortController();
    res.once('close', () => gone.abort());
    const refuse = (error: unknown) => {
      const why = pushedOut.aborted
        ? limitExceeded('Too much is being read already', RETRY_FULL_MS)
        : (error as Error);
      this.#warn({ server: claimedOrigin(req), reason: why.message }, 'a transaction was refused unread');
      sendError(res, why, logger);
    };
    let body: Buffer;
    try {
      body = await readBody(req, MOST_BODY_BYTES, clock, pushedOut);
    } catch (error) {
      if (error instanceof BodyTooLong) {
        this.#warnUnread(claimedOrigin(req), error.begun.length);
        return void (await forwarder.forward(req, res, { begun: error.begun }));
      }
      res.shouldKeepAlive = false;
      return refuse(error);
    }
    const read = await this.#read(req, body, AbortSignal.any([gone.signal, pushedOut]));
    if (read === null && pushedOut.aborted) return refuse(null);
    held.whole();
    if (read === null) {
      if (!gone.signal.aborted) await forwarder.forward(req, res, { body });
      return;
    }
    const received = { req, res, body, gone: gone.signal, ...read };
    if (this.#mayBeOurs(received)) return this.#decide(received);
    await Promise.all([this.#forward(received), this.#readBeside(received)]);
  }

  /** The transaction and who really sent it; null when the homeserver has to judge it. */
  async #read(
    req: IncomingMessage,
    body: Buffer,
    signal: AbortSignal,
  ): Promise<Pick<Received, 'origin' | 'transaction'> | null> {
    try {
      const signed = toSigned(req, body, { ...HOLDS_EVENTS, maxValues: MOST_VALUES });
      const transaction = readTransaction(signed.content as Json | undefined);
      if (transaction === null) return null;
      return { origin: await this.#deps.authenticate(signed, signal), transaction };
    } catch (error) {
      this.#deps.logger.debug(
        { server: claimedOrigin(req), reason: String(error) },
        'a transaction was left to the homeserver',
      );
      return null;
    }
  }

  /** Whether the homeserver has no part in this transaction, unless it is in one of its rooms or joins it. */
  #mayBeOurs({ origin, transaction }: Received): boolean {
    const { outbound, serverName } = this.#deps;
    if (transaction.hasEdus || concernsUsersOf(transaction, serverName)) return false;
    if (transaction.rooms.size === 0 && transaction.expiredPeeks.length === 0) return false;
    return [...transaction.rooms.keys()].every((roomId) => outbound.peeksThrough(roomId, origin));
  }

  /** When its turn has come: answered here, if the homeserver is certainly in none of the rooms. */
  async #decide(received: Received): Promise<void> {
    const { metrics, logger } = this.#deps;
    const { origin, transaction, res, gone } = received;
    let forwarded: Promise<void> | null = null;
    const turn = async () => {
      // What a transaction before it has ended may be the homeserver's by now.
      if (this.#mayBeOurs(received) && (await this.#isAbsentFromAll(transaction))) {
        metrics.receivedTransactions.inc({ outcome: 'answered' });
        await this.#answer(received);
      } else {
        forwarded = this.#forward(received);
        await this.#events.takePeeked(origin, transaction);
      }
    };
    try {
      await this.#reading.run(origin, turn, gone);
    } catch (error) {
      if (!(error instanceof NoTurn)) throw error;
      if (error.kind === 'left') return;
      metrics.receivedTransactions.inc({ outcome: 'refused' });
      logger.warn({ server: origin, reason: error.message }, 'a transaction was refused');
      return sendError(res, limitExceeded(error.message, RETRY_FULL_MS), logger);
    }
    await forwarded;
  }

  async #isAbsentFromAll(transaction: Transaction): Promise<boolean> {
    try {
      for (const roomId of transaction.rooms.keys()) {
        if (!(await this.#deps.residency.isAbsent(roomId))) return false;
      }
      return true;
    } catch {
      return false;
    }
  }

  /** Stored first, answered then. What cannot be stored now is asked for again by the sender. */
  async #answer({ res, origin, transaction }: Received): Promise<void> {
    try {
      const results: Record<string, { error?: string }> = Object.create(null);
      for (const { eventId, error } of await this.#events.takeAll(origin, transaction)) {
        results[eventId] = error === null ? {} : { error };
      }
      sendJson(res, Buffer.from(JSON.stringify({ pdus: results })));
    } catch (error) {
      const { logger } = this.#deps;
      logger.warn(
        { server: origin, rooms: [...transaction.rooms.keys()], reason: String(error) },
        'a transaction could not be stored; its sender sends it again',
      );
      sendError(res, error, logger);
    }
  }

  /** One after the other, as the homeserver wants them; it says itself what it thinks of too many at once. */
  async #forward({ req, res, body, gone, origin }: Received): Promise<void> {
    const { forwarder, metrics } = this.#deps;
    metrics.receivedTransactions.inc({ outcome: 'forwarded' });
    const forward = () => forwarder.forward(req, res, { body });
    try {
      await this.#forwarding.run(origin, forward, gone);
    } catch (error) {
      if (!(error instanceof NoTurn)) throw error;
      if (error.kind === 'full') await forward();
    }
  }

  /** A forwarded transaction is read when those before it have been, whatever the homeserver makes of it. */
  async #readBeside({ origin, transaction }: Received): Promise<void> {
    try {
      await this.#reading.run(origin, () => this.#events.takePeeked(origin, transaction));
    } catch (error) {
      if (!(error instanceof NoTurn)) throw error;
      await this.#events.missed(origin, transaction, error);
    }
  }

  #warnUnread(server: string | null, bytes: number): void {
    this.#deps.metrics.receivedTransactions.inc({ outcome: 'unread' });
    this.#warn(
      { server, bytes: Number.isNaN(bytes) ? null : bytes },
      'a transaction went to the homeserver unread: it is too large, or too many are being read',
    );
  }

  /** At most once a minute: anybody can claim to be that server. */
  #warn(fields: object, message: string): void {
    const { clock, logger } = this.#deps;
    if (clock.now() < this.#warnedAt + WARN_PAUSE_MS) return;
    this.#warnedAt = clock.now();
    logger.warn(fields, message);
  }
}

/** A body in chunks, as some reverse proxies send it, may become as long as any. NaN: there is none. */
function announcedBytes(req: IncomingMessage): number {
  if (req.headers['transfer-encoding'] !== undefined) return MOST_BODY_BYTES;
  return Number(req.headers['content-length'] ?? Number.NaN);
}
