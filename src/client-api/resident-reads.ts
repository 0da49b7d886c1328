import type { IncomingMessage, ServerResponse } from 'node:http';
import { rawQuery } from '../client-view/client-request.ts';
import { type IgnoredUsers, NOBODY_IGNORED } from '../client-view/ignored-users.ts';
import { initialSyncFor, joinedMembersOf, messagesFor } from '../client-view/reader-answers.ts';
import type { UpstreamResponse } from '../forward/fetched-exchange.ts';
import { CORS_HEADERS } from '../forward/matrix-answer.ts';
import { type RawForwarder, readWhole } from '../forward/raw-forwarder.ts';
import type { Homeserver } from '../homeserver/homeserver.ts';
import { isObject } from '../matrix/json.ts';
import type { Peeker } from '../peeking/peeking.ts';
import { Gate, GateFullError } from '../platform/gate.ts';
import type { Logger } from '../platform/log.ts';
import { limitExceeded, MatrixError } from '../platform/matrix-error.ts';
import type { Store } from '../store/store.ts';
import { sendFailure } from './errors.ts';
import type { Peekers } from './peekers.ts';
import type { ReadLimits } from './read-limits.ts';
import { type RoomPath, roomPathOf } from './room-path.ts';
import { withHomeserverTokens } from './token-targets.ts';

export interface ResidentReadsDeps {
  readonly store: Pick<Store, 'logs'>;
  readonly homeserver: Pick<Homeserver, 'asReader' | 'stateEvent'>;
  readonly forwarder: Pick<RawForwarder, 'fetch' | 'pipe'>;
  readonly peekers: Pick<Peekers, 'mayBeOne' | 'of'>;
  readonly ignoredUsers: Pick<IgnoredUsers, 'of'>;
  readonly limits: Pick<ReadLimits, 'spend'>;
  readonly logger: Logger;
}

/** What becomes of the homeserver's answer: nothing, or this. */
type Reading = 'as it is' | 'messages' | 'initialSync' | 'joined_members';

/** Twenty-eight thousand members take 12 MB; a thousand events of a page seldom more than one. */
const MOST_BYTES = 32 * 1024 * 1024;
/** Answers held whole at once, of all and of one user; so many more wait. */
const HELD_AT_ONCE = 8;
const HELD_OF_ONE = 2;
const WAITING_OF_ONE = 20;
const WAITING = 1_000;
/** Some tens of milliseconds each. */
const RETRY_AFTER_MS = 1_000;

/**
 * Reads of a room of our own homeserver by somebody who has left it and peeks into it now. The homeserver would show
 * the room as of their leave; so the reader asks in their place, who sees it as it is. Whoever was never in the room is
 * shown it as it is anyhow, and whoever is in it, invited or banned is not our business: their requests pass.
 *
 * Only those reads that the homeserver bounds by the leave: state, members, `/messages` backwards, `/initialSync`.
 * By what it answers to the others (`/event`, `/context`, `/relations`, `/threads`, `/messages` forwards …) those who
 * have left lose nothing, and see what was said in private while they were there.
 */
export class ResidentReads {
  readonly #deps: ResidentReadsDeps;
  readonly #held = new Gate(HELD_AT_ONCE, WAITING, { running: HELD_OF_ONE, waiting: WAITING_OF_ONE });

  constructor(deps: ResidentReadsDeps) {
    this.#deps = deps;
  }

  /**
   * False, at once and without a look at anything but memory, when the request is none of ours. True: it is answered
   * here, or `pass` is called.
   */
  take(req: IncomingMessage, res: ServerResponse, pass: () => void): boolean {
    if (req.method !== 'GET') return false;
    const path = roomPathOf(req.url ?? '');
    const reading = path === null ? null : readingOf(path, req.url ?? '');
    if (path === null || reading === null) return false;
    if (!this.#deps.peekers.mayBeOne(req, path.roomId)) return false;
    void this.#handle(req, res, path, reading).then((answered) => {
      if (!answered && !res.destroyed) pass();
    });
    return true;
  }

  /** Whether it was answered. Never rejects. */
  async #handle(
    req: IncomingMessage,
    res: ServerResponse,
    path: RoomPath,
    reading: Reading,
  ): Promise<boolean> {
    const { limits, logger } = this.#deps;
    const gone = new AbortController();
    const left = () => gone.abort();
    res.once('close', left);
    try {
      const who = await this.#departedPeeker(req, path.roomId);
      if (who === null || (who.isGuest && reading === 'joined_members')) return false;
      await limits.spend(who.userId);
      if (reading === 'as it is') {
        const answer = await this.#ask(req, reading, path.roomId, gone.signal);
        if (answer === null) return false;
        await this.#deps.forwarder.pipe(answer, res);
        return true;
      }
      const work = () => this.#rewritten(req, who, reading, path.roomId, gone.signal);
      const body = await this.#held.run(work, gone.signal, who.userId);
      if (body === null) return false;
      const head = ['Content-Type', 'application/json', 'Content-Length', String(body.byteLength)];
      if (!res.destroyed) res.writeHead(200, [...CORS_HEADERS, ...head]).end(body);
      return true;
    } catch (error) {
      const refusal = error instanceof GateFullError ? tooMuch() : error;
      if (refusal instanceof MatrixError || res.headersSent) {
        sendFailure(res, refusal, logger);
        return true;
      }
      if (!gone.signal.aborted) {
        const about = { room: path.roomId, read: path.parts[0], reason: String(error) };
        logger.info(about, 'a read as the reader failed; the homeserver answers it as of the leave');
      }
      return false;
    } finally {
      res.off('close', left);
    }
  }

  /** Who is asking, where that is somebody who has left this room of the homeserver and peeks into it; else null. */
  async #departedPeeker(req: IncomingMessage, roomId: string): Promise<Peeker | null> {
    const { peekers, store, homeserver } = this.#deps;
    const peeker = await peekers.of(req, roomId);
    if (peeker === null || peeker.peek === null) return null;
    const log = await store.logs.get(roomId);
    if (log === null || log.feed !== 'resident' || log.closed !== null) return null;
    const member = await homeserver.stateEvent(roomId, 'm.room.member', peeker.who.userId);
    const membership = isObject(member?.content) ? member.content.membership : null;
    return membership === 'leave' ? peeker.who : null;
  }

  /** The homeserver's 200 to the reader; null for any other answer, or without a reader. */
  async #ask(
    req: IncomingMessage,
    reading: Reading,
    roomId: string,
    signal: AbortSignal,
  ): Promise<UpstreamResponse | null> {
    const own = withHomeserverTokens(req.url ?? '');
    const signed = this.#deps.homeserver.asReader(reading === 'joined_members' ? joinedTarget(roomId) : own);
    if (signed === null) return null;
    const headers = ['Accept', 'application/json', 'Authorization', signed.authorization];
    const coding = req.headers['accept-encoding'];
    if (reading === 'as it is' && typeof coding === 'string') headers.push('Accept-Encoding', coding);
    const answer = await this.#deps.forwarder.fetch(req, { path: signed.target, headers, signal });
    if (answer.status === 200) return answer;
    answer.body.destroy();
    return null;
  }

  async #rewritten(
    req: IncomingMessage,
    who: Peeker,
    reading: Exclude<Reading, 'as it is'>,
    roomId: string,
    signal: AbortSignal,
  ): Promise<Buffer | null> {
    const asked = this.#ask(req, reading, roomId, signal);
    const ignored = reading === 'joined_members' ? NOBODY_IGNORED : this.#deps.ignoredUsers.of(who);
    const answer = await asked;
    if (answer === null) return null;
    const body = await readWhole(answer, MOST_BYTES);
    if (reading === 'joined_members') return joinedMembersOf(body);
    return (reading === 'messages' ? messagesFor : initialSyncFor)(body, await ignored);
  }
}

/** Null for what the homeserver answers to those who have left as it does to everybody. */
function readingOf({ parts }: RoomPath, url: string): Reading | null {
  const [kind, ...more] = parts;
  if (kind === 'state') return more.length <= 2 ? 'as it is' : null;
  if (more.length > 0) return null;
  if (kind === 'initialSync' || kind === 'joined_members') return kind;
  if (kind !== 'messages' && kind !== 'members') return null;
  const query = new URLSearchParams(rawQuery(url));
  if (kind === 'members') return query.has('at') ? null : 'as it is';
  return query.get('dir') === 'b' ? 'messages' : null;
}

/** Synapse refuses `/joined_members` to appservices that have nobody in the room. */
function joinedTarget(roomId: string): string {
  return `/_matrix/client/v3/rooms/${encodeURIComponent(roomId)}/members?membership=join`;
}

function tooMuch(): MatrixError {
  return limitExceeded('Too many reads at once', RETRY_AFTER_MS);
}
