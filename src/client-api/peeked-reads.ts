import type { IncomingMessage, ServerResponse } from 'node:http';
import { rawQuery } from '../client-view/client-request.ts';
import { HomeserverRefusal } from '../homeserver/homeserver.ts';
import { isObject } from '../matrix/json.ts';
import type { OutboundPeeks } from '../outbound-peeks/outbound-peeks.ts';
import type { Residency } from '../peeking/residency.ts';
import type { Clock } from '../platform/clock.ts';
import type { Logger } from '../platform/log.ts';
import { MatrixError } from '../platform/matrix-error.ts';
import type { Metrics } from '../platform/metrics.ts';
import type { AnswerRead, RoomRead } from '../room-reads/room-read.ts';
import { pduOf } from '../rooms/log-entries.ts';
import { type RoomLog, type Store, StoreDownError } from '../store/store.ts';
import { sendFailure } from './errors.ts';
import { sendJson } from './json-answer.ts';
import { type Peekers, positionOf } from './peekers.ts';
import type { ReadLimits } from './read-limits.ts';
import { type RoomPath, roomPathOf } from './room-path.ts';

export interface PeekedReadsDeps {
  readonly store: Store;
  readonly outbound: Pick<OutboundPeeks, 'isPeeked'>;
  readonly residency: Pick<Residency, 'isAbsent'>;
  readonly peekers: Pick<Peekers, 'mayBeOne' | 'of'>;
  /** By the first part of the path behind the room ID: `messages`, `state`. What is not in it is the homeserver's. */
  readonly answers: ReadonlyMap<string, AnswerRead>;
  readonly limits: Pick<ReadLimits, 'spend'>;
  readonly clock: Clock;
  readonly metrics: Pick<Metrics, 'roomReads'>;
  readonly logger: Logger;
}

/**
 * `GET /rooms/{roomId}/…` of a room that the homeserver is not in, asked by somebody who peeks into it here. All
 * others, and whatever goes wrong before a read is answered, get the homeserver's own answer.
 */
export class PeekedReads {
  readonly #deps: PeekedReadsDeps;

  constructor(deps: PeekedReadsDeps) {
    this.#deps = deps;
  }

  /**
   * False, at once and without a look at anything but memory, when the request is none of ours. True: it is
   * answered here, or `pass` is called.
   */
  take(req: IncomingMessage, res: ServerResponse, pass: () => void): boolean {
    if (req.method !== 'GET') return false;
    const path = roomPathOf(req.url ?? '');
    if (path === null) return false;
    const answer = this.#deps.answers.get(path.parts[0] ?? '');
    if (answer === undefined || !this.#deps.outbound.isPeeked(path.roomId)) return false;
    if (!this.#deps.peekers.mayBeOne(req, path.roomId)) return false;
    void this.#handle(req, res, path, answer).then((outcome) => {
      this.#deps.metrics.roomReads.inc({ outcome });
      if (outcome === 'homeserver' && !res.destroyed) pass();
    });
    return true;
  }

  /** Never rejects. */
  async #handle(
    req: IncomingMessage,
    res: ServerResponse,
    path: RoomPath,
    answer: AnswerRead,
  ): Promise<'answered' | 'refused' | 'homeserver'> {
    const { limits, logger } = this.#deps;
    const gone = new AbortController();
    const left = () => gone.abort();
    res.once('close', left);
    try {
      const read = await this.#readOf(req, path, gone.signal);
      if (read === null) return 'homeserver';
      await limits.spend(read.who.userId);
      const body = await answer(read);
      // It may have closed while the answer was made.
      if ((await this.#readableLog(read.roomId, read.who.userId)) === null) return 'homeserver';
      await sendJson(res, body, this.#deps.clock);
      return 'answered';
    } catch (error) {
      if (error instanceof MatrixError || res.headersSent) {
        sendFailure(res, error, logger);
        return 'refused';
      }
      if (!(error instanceof HomeserverRefusal) && !gone.signal.aborted) {
        const reason = error instanceof StoreDownError ? 'the store is down' : String(error);
        logger.warn(
          { room: path.roomId, read: path.parts[0], reason },
          'a read of a peeked room failed; the homeserver answers it',
        );
      }
      return 'homeserver';
    } finally {
      res.off('close', left);
    }
  }

  /** Null where the homeserver's own answer is the right one. */
  async #readOf(req: IncomingMessage, path: RoomPath, signal: AbortSignal): Promise<RoomRead | null> {
    const { peekers, residency } = this.#deps;
    const peeker = await peekers.of(req, path.roomId);
    if (peeker === null) return null;
    const log = await this.#readableLog(path.roomId, peeker.who.userId);
    if (log === null || !(await residency.isAbsent(path.roomId))) return null;
    return {
      roomId: path.roomId,
      path: path.parts,
      query: new URLSearchParams(rawQuery(req.url ?? '')),
      who: peeker.who,
      log,
      positionOf: (token) => positionOf(token, peeker),
      signal,
    };
  }
  /** The log of a room that is another server's and open to this user; else null. */
  async #readableLog(roomId: string, userId: string): Promise<RoomLog | null> {
    const { store } = this.#deps;
    const log = await store.logs.get(roomId);
    if (log === null || log.closed !== null || log.feed !== 'remote') return null;
    const [member] = await store.replicas.stateOf(roomId, [['m.room.member', userId]]);
    const content = member === undefined ? null : pduOf(member).content;
    return isObject(content) && content.membership === 'ban' ? null : log;
  }
}
