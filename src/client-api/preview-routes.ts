import type { IncomingMessage, ServerResponse } from 'node:http';
import type { HeldSyncs } from '../client-sync/held-syncs.ts';
import { callerOf, forwardedFor, rawQuery, withoutParameter } from '../client-view/client-request.ts';
import { isRemoteHistoryToken, parseRemoteHistoryToken } from '../client-view/history-token.ts';
import { homeserverUnreachable, sendMatrixError } from '../forward/matrix-answer.ts';
import type { RawForwarder } from '../forward/raw-forwarder.ts';
import type { TrustedProxies } from '../forward/trusted-proxies.ts';
import type { Caller, Homeserver } from '../homeserver/homeserver.ts';
import { isRoomId } from '../matrix/ids.ts';
import type { JsonObject } from '../matrix/json.ts';
import type { Clock } from '../platform/clock.ts';
import type { Logger } from '../platform/log.ts';
import type { Previews } from '../previews/previews.ts';
import type { RoomEvents } from '../previews/room-events.ts';
import { sendFailure } from './errors.ts';
import { sendJson } from './json-answer.ts';
import { withHomeserverTokens } from './token-targets.ts';

const INITIAL_SYNC_PATH = /^\/_matrix\/client\/(?:api\/v1|r0|v3|unstable)\/rooms\/([^/]+)\/initialSync$/;
const EVENTS_PATH = /^\/_matrix\/client\/(?:api\/v1|r0|v3|unstable)\/events$/;

/** What a client gets that names no limit, and the most it gets: Synapse has 10 and no bound. */
const DEFAULT_LIMIT = 10;
const MOST_EVENTS = 100;
/** Client-server API, "GET /events": what Synapse waits for a client that does not say. */
const DEFAULT_TIMEOUT_MS = 30_000;

export interface PreviewRoutesDeps {
  readonly previews: Previews;
  readonly roomEvents: RoomEvents;
  readonly homeserver: Pick<Homeserver, 'whoami'>;
  readonly forwarder: RawForwarder;
  readonly held: HeldSyncs;
  readonly trusted: TrustedProxies;
  readonly clock: Clock;
  readonly logger: Logger;
}

/**
 * `GET /rooms/{roomId}/initialSync` and `GET /events?room_id=`, by which clients preview a room that know no peeks.
 * What is not ours to answer, or goes wrong here, has the homeserver's own answer.
 */
export class PreviewRoutes {
  readonly #deps: PreviewRoutesDeps;

  constructor(deps: PreviewRoutesDeps) {
    this.#deps = deps;
  }

  /** False when the request is none of these. True: it is answered, here or by the homeserver. */
  take(req: IncomingMessage, res: ServerResponse): boolean {
    if (req.method !== 'GET') return false;
    const path = (req.url ?? '').split('?', 1)[0] ?? '';
    const answer = INITIAL_SYNC_PATH.test(path)
      ? this.#initialSync(req, res)
      : EVENTS_PATH.test(path)
        ? this.#events(req, res)
        : null;
    answer?.catch((error: unknown) => sendFailure(res, error, this.#deps.logger));
    return answer !== null;
  }

  async #initialSync(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const { previews, forwarder } = this.#deps;
    const url = req.url ?? '';
    const path = withHomeserverTokens(url);
    const roomId = decoded(INITIAL_SYNC_PATH.exec(url.split('?', 1)[0] ?? '')?.[1] ?? '');
    const limit = wholeNumber(new URLSearchParams(rawQuery(url)).get('limit'), DEFAULT_LIMIT);
    const send = (shown: JsonObject) => sendJson(res, shown, this.#deps.clock);
    const show = (sending = send) =>
      previews.show(this.#caller(req), roomId, Math.min(limit ?? 0, MOST_EVENTS), sending);
    const isOurs = limit !== null && isRoomId(roomId);
    const isOpen = isOurs && previews.isOpen(roomId);
    if (isOpen && (await show())) return;
    if (isOpen || !isOurs) return void (await forwarder.forward(req, res, { path }));
    const gone = new AbortController();
    res.once('close', () => gone.abort());
    try {
      const upstream = await forwarder.fetch(req, { path, signal: gone.signal });
      const refused = upstream.status === 403 || upstream.status === 404;
      const sending = (shown: JsonObject) => {
        upstream.body.resume();
        return send(shown);
      };
      if (!refused || !(await show(sending))) await forwarder.pipe(upstream, res);
    } catch {
      if (!res.headersSent && !res.destroyed) sendMatrixError(res, homeserverUnreachable());
    }
  }

  async #events(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const { forwarder, held: polls } = this.#deps;
    const query = new URLSearchParams(rawQuery(req.url ?? ''));
    const roomId = query.get('room_id');
    const token = query.get('from');
    const isOurs = token !== null && isRemoteHistoryToken(token);
    const place = isOurs ? parseRemoteHistoryToken(token) : null;
    const from = place?.kind === 'log' ? place : null;
    const timeoutMs = wholeNumber(query.get('timeout'), DEFAULT_TIMEOUT_MS);
    if (roomId !== null && timeoutMs !== null && (from !== null || token === null)) {
      const held = polls.hold(res, null);
      const over = new AbortController();
      const end = () => over.abort();
      res.once('close', end);
      polls.ending.addEventListener('abort', end, { once: true });
      try {
        const poll = { from, timeoutMs, signal: over.signal };
        const answer = await this.#poll(this.#caller(req), roomId, poll);
        if (answer !== null) return await sendJson(res, answer, this.#deps.clock);
      } finally {
        polls.ending.removeEventListener('abort', end);
        polls.letGo(held);
      }
    }
    // The homeserver knows no place of ours.
    const url = isOurs ? withoutParameter(req.url ?? '', 'from') : (req.url ?? '');
    await forwarder.forward(req, res, { path: withHomeserverTokens(url) });
  }

  /** Null where it is the homeserver's to answer. */
  async #poll(
    caller: Caller,
    roomId: string,
    poll: Parameters<RoomEvents['poll']>[2],
  ): Promise<JsonObject | null> {
    const { previews, roomEvents, homeserver, logger } = this.#deps;
    try {
      // A client without a place to go on from has just seen the initial sync: then the room is open.
      if (poll.from === null && !previews.isOpen(roomId)) return null;
      const who = { ...(await homeserver.whoami(caller)), caller };
      const answer = await roomEvents.poll(who, roomId, poll);
      if (answer !== null || poll.from === null) return answer;
      return (await previews.resume(caller, roomId)) ? await roomEvents.poll(who, roomId, poll) : null;
    } catch (error) {
      logger.info(
        { room: roomId, reason: String(error) },
        'a preview could not be read on; the homeserver answers',
      );
      return null;
    }
  }

  #caller(req: IncomingMessage): Caller {
    return callerOf(req, forwardedFor(req, this.#deps.trusted));
  }
}

/** Null for what is no whole number: the homeserver says what is wrong with it. */
function wholeNumber(text: string | null, byDefault: number): number | null {
  if (text === null) return byDefault;
  return /^[0-9]{1,15}$/.test(text) ? Number(text) : null;
}

function decoded(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    return '';
  }
}
