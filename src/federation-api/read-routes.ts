import type { IncomingMessage } from 'node:http';
import type { RequestHandler } from 'express';
import { unansweredAs } from '../forward/direct-exchange.ts';
import type { UpstreamResponse } from '../forward/fetched-exchange.ts';
import type { RawForwarder } from '../forward/raw-forwarder.ts';
import { announcesBody } from '../forward/request-hygiene.ts';
import type { InboundPeeks } from '../inbound-peeks/inbound-peeks.ts';
import type { PeerReads } from '../inbound-peeks/peer-reads.ts';
import { parseRead } from '../inbound-peeks/read-request.ts';
import type { RoomAnswer } from '../inbound-peeks/room-answer.ts';
import { parseXMatrix } from '../matrix/x-matrix.ts';
import type { Clock } from '../platform/clock.ts';
import type { Logger } from '../platform/log.ts';
import { MatrixError } from '../platform/matrix-error.ts';
import { sendChunks } from './answers.ts';
import { type Asked, refuse } from './errors.ts';
import {
  type Authenticate,
  authorizationHeaders,
  claimedOrigin,
  rawTarget,
  readBody,
  toSigned,
} from './signed-request.ts';

const READ =
  /^\/_matrix\/federation\/v1\/(event|state|state_ids|event_auth|backfill|get_missing_events|timestamp_to_event)\//;
/** Whose reason the server is told: it is to come again later, or there is nothing for it. */
const TOLD: ReadonlySet<number> = new Set([404, 429, 503]);
/** A question that names at most a few dozen events. Larger ones are for the homeserver alone. */
const MOST_BODY_BYTES = 65_536;
/** A server signs with one key or two. */
const MOST_HEADERS = 5;

export interface ReadRoutesDeps {
  readonly inboundPeeks: Pick<InboundPeeks, 'mayPeek'>;
  readonly peerReads: Pick<PeerReads, 'serve'>;
  readonly authenticate: Authenticate;
  readonly forwarder: Pick<RawForwarder, 'fetch' | 'pipe'>;
  readonly clock: Clock;
  readonly logger: Logger;
}

/**
 * Reads of rooms and events by other servers. The homeserver is asked first, with the request as it came, and
 * nearly always its answer goes out as it came; only where it refuses (403, 404) a server that peeks, the
 * answer may be ours. Requests of all other servers go on to the next handler.
 */
export function readRoutes(deps: ReadRoutesDeps): RequestHandler {
  return async (req, res, next) => {
    if (!READ.test(rawTarget(req)) || !concernsUs(req, deps)) return next();
    const gone = new AbortController();
    res.once('close', () => gone.abort());
    try {
      const body = await readBody(req, MOST_BODY_BYTES, deps.clock);
      const options = body.length > 0 ? { body, signal: gone.signal } : { signal: gone.signal };
      const refused = await deps.forwarder.fetch(req, options);
      const answer = isRefusal(refused) ? await ownAnswer(req, body, deps) : null;
      if (answer === null) {
        await deps.forwarder.pipe(refused, res);
      } else if (answer instanceof MatrixError) {
        refused.body.destroy();
        refuse(req, res, answer, askedFor(req), deps.logger);
      } else {
        refused.body.destroy();
        await sendChunks(res, answer, deps.clock).finally(answer.release);
      }
    } catch (error) {
      if (gone.signal.aborted) return;
      const known = error instanceof MatrixError ? error : unansweredAs(error as Error);
      refuse(req, res, known, askedFor(req), deps.logger);
    }
  };
}

/** Whether the request says that it is of a server that peeks; whether it is, is checked before we answer. */
function concernsUs(req: IncomingMessage, deps: ReadRoutesDeps): boolean {
  if (req.method === 'GET' ? announcesBody(req) : req.method !== 'POST' || !isSmall(req)) return false;
  try {
    const headers = authorizationHeaders(req).slice(0, MOST_HEADERS);
    const origins = new Set(headers.map((header) => parseXMatrix(header)?.origin));
    for (const origin of origins) {
      if (origin !== undefined && deps.inboundPeeks.mayPeek(origin)) return true;
    }
    return false;
  } catch {
    return false;
  }
}

function isSmall(req: IncomingMessage): boolean {
  const length = req.headers['content-length'];
  return length !== undefined && Number(length) <= MOST_BODY_BYTES;
}

function isRefusal(response: UpstreamResponse): boolean {
  return response.status === 403 || response.status === 404;
}

function askedFor(req: IncomingMessage): Asked {
  const target = rawTarget(req);
  const read = parseRead(req.method ?? '', target, {});
  const action = READ.exec(target)?.[1] ?? '';
  if (read === null) return { action, room: null };
  const event = 'eventId' in read ? read.eventId : null;
  return { action, room: read.kind === 'event' ? null : read.roomId, event };
}

/** null, whatever the other reason, leaves the homeserver's refusal as it is. */
async function ownAnswer(
  req: IncomingMessage,
  body: Buffer,
  deps: ReadRoutesDeps,
): Promise<RoomAnswer | MatrixError | null> {
  try {
    const request = toSigned(req, body);
    const origin = await deps.authenticate(request);
    return await deps.peerReads.serve(origin, request.method, request.rawUrl, request.content);
  } catch (error) {
    if (error instanceof MatrixError && TOLD.has(error.status)) return error;
    const reason = error instanceof Error ? error.message : String(error);
    deps.logger.debug(
      { server: claimedOrigin(req), ...askedFor(req), reason },
      "a peeking server's read was left to the homeserver",
    );
    return null;
  }
}
