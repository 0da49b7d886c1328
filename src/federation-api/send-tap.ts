import type { IncomingMessage, ServerResponse } from 'node:http';
import type { RemoteFeed } from '../feeds/remote-feed.ts';
import { RoomQueues } from '../feeds/room-queues.ts';
import type { RawForwarder } from '../forward/raw-forwarder.ts';
import type { Json } from '../matrix/json.ts';
import { parseXMatrix } from '../matrix/x-matrix.ts';
import type { OutboundPeeks } from '../outbound-peeks/outbound-peeks.ts';
import type { Residency } from '../peeking/residency.ts';
import type { Clock } from '../platform/clock.ts';
import { DeadlineError, withDeadline } from '../platform/deadline.ts';
import type { Logger } from '../platform/log.ts';
import { MatrixError } from '../platform/matrix-error.ts';
import type { Metrics } from '../platform/metrics.ts';
import type { Store } from '../store/store.ts';
import { sendJson } from './answers.ts';
import { BodyBudget } from './body-budget.ts';
import { sendError } from './errors.ts';
import { type Authenticate, authorizationHeaders, readBody, toSigned } from './signed-request.ts';
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

/** Synapse takes bodies up to 200 times the size of an event; nothing larger gets past it. */
const MOST_BODY_BYTES = 200 * 65_536;
/** Bodies of all transactions that are being read or forwarded: a claimed name costs no more memory than this. */
const MOST_BYTES_AT_ONCE = 64 * 1024 * 1024;
const BODY_MS = 60_000;
/**
 * Far more than 50 PDUs and 100 EDUs have. The signature covers what is parsed, so the body of whoever claims to
 * be a server that we peek through is parsed before it is known whose it is.
 */
const MOST_VALUES = 300_000;

/**
 * `PUT /_matrix/federation/v1/send/{txnId}`. A transaction that is nothing but the relay of rooms we peek into
 * is answered here, without the homeserver, which takes one transaction of a server at a time. Every other one
 * goes to the homeserver byte for byte; what it holds of peeked rooms is read on the side. One that does not
 * say its length, or is larger than the homeserver takes, goes on unread: the homeserver judges it.
 */
export class SendTap {
  readonly #deps: SendTapDeps;
  /** Forwarded transactions of one server go one after the other, as the homeserver wants them. */
  readonly #origins = new RoomQueues();
  readonly #budget = new BodyBudget(MOST_BODY_BYTES, MOST_BYTES_AT_ONCE);

  constructor(deps: SendTapDeps) {
    this.#deps = deps;
  }

  async handle(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const { forwarder, outbound } = this.#deps;
    const claimed = claimedOrigin(req);
    if (claimed === null || !outbound.anyThrough(claimed)) {
      await forwarder.forward(req, res);
      return;
    }
    const announced = Number(req.headers['content-length'] ?? Number.NaN);
    const release = this.#budget.take(announced);
    if (release === null) {
      await forwarder.forward(req, res);
      return;
    }
    try {
      await this.#take(req, res);
    } finally {
      release();
    }
  }

  async #take(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const { forwarder, logger, metrics, clock } = this.#deps;
    let body: Buffer;
    try {
      body = await withDeadline(clock, BODY_MS, undefined, () => readBody(req, MOST_BODY_BYTES));
    } catch (error) {
      res.shouldKeepAlive = false;
      return sendError(res, error instanceof DeadlineError ? tooSlow() : error, logger);
    }
    const read = await this.#read(req, body);
    if (read === null) {
      await forwarder.forward(req, res, { body });
      return;
    }
    if (await this.#isOurs(read.origin, read.transaction)) {
      metrics.receivedTransactions.inc({ outcome: 'answered' });
      return this.#answer(res, read.origin, read.transaction);
    }
    metrics.receivedTransactions.inc({ outcome: 'forwarded' });
    await this.#origins.run(read.origin, () => forwarder.forward(req, res, { body }));
    await this.#onTheSide(read.origin, read.transaction);
  }

  /** The transaction and who really sent it; null when the homeserver has to judge it. */
  async #read(
    req: IncomingMessage,
    body: Buffer,
  ): Promise<{ origin: string; transaction: Transaction } | null> {
    try {
      const signed = toSigned(req, body, { maxValues: MOST_VALUES });
      const transaction = readTransaction(signed.content as Json | undefined);
      if (transaction === null) return null;
      return { origin: await this.#deps.authenticate(signed), transaction };
    } catch {
      return null;
    }
  }

  /** Whether the homeserver has no part in this transaction: every condition must certainly hold. */
  async #isOurs(origin: string, transaction: Transaction): Promise<boolean> {
    const { outbound, residency, serverName } = this.#deps;
    if (transaction.hasEdus) return false;
    if (transaction.rooms.size === 0 && transaction.expiredPeeks.length === 0) return false;
    if (concernsUsersOf(transaction, serverName)) return false;
    try {
      for (const roomId of transaction.rooms.keys()) {
        if (!outbound.peeksThrough(roomId, origin) || !(await residency.isAbsent(roomId))) return false;
      }
    } catch {
      return false;
    }
    return true;
  }

  /** Stored first, answered then. What cannot be stored now is asked for again by the sender. */
  async #answer(res: ServerResponse, origin: string, transaction: Transaction): Promise<void> {
    try {
      const results: Record<string, { error?: string }> = Object.create(null);
      for (const { eventId, error } of await this.#ingest(origin, transaction)) {
        results[eventId] = error === null ? {} : { error };
      }
      sendJson(res, Buffer.from(JSON.stringify({ pdus: results })));
    } catch (error) {
      sendError(res, error, this.#deps.logger);
    }
  }

  async #onTheSide(origin: string, transaction: Transaction): Promise<void> {
    const { store, outbound, logger } = this.#deps;
    const peeked = new Map(
      [...transaction.rooms].filter(([roomId]) => outbound.peeksThrough(roomId, origin)),
    );
    try {
      await this.#ingest(origin, { ...transaction, rooms: peeked });
    } catch (error) {
      logger.warn(
        { server: origin, reason: String(error) },
        'peeked events of a forwarded transaction could not be stored; their rooms will catch up',
      );
      for (const roomId of peeked.keys()) {
        await store.logs.setFeed(roomId, { needsCatchUp: true }).catch(() => undefined);
      }
    }
  }

  async #ingest(origin: string, transaction: Transaction) {
    const { feed, outbound } = this.#deps;
    const results = [];
    for (const [roomId, pdus] of transaction.rooms) {
      results.push(...(await feed.ingest(roomId, origin, pdus)));
      await outbound.heard(roomId);
    }
    void outbound.expired(origin, transaction.expiredPeeks);
    return results;
  }
}

/** Who the request says it is from; not to be believed before it is authenticated. */
function claimedOrigin(req: IncomingMessage): string | null {
  for (const header of authorizationHeaders(req)) {
    try {
      const parsed = parseXMatrix(header);
      if (parsed !== null) return parsed.origin;
    } catch {
      return null;
    }
  }
  return null;
}

function tooSlow(): MatrixError {
  return new MatrixError(408, 'M_UNKNOWN', 'The body did not come in time');
}
