import type { IncomingMessage, ServerResponse } from 'node:http';
import type { RequestHandler } from 'express';
import { RateLimiterMemory, RateLimiterRes } from 'rate-limiter-flexible';
import type { InboundPeeks } from '../inbound-peeks/inbound-peeks.ts';
import { isRoomId } from '../matrix/ids.ts';
import type { Clock } from '../platform/clock.ts';
import type { Logger } from '../platform/log.ts';
import { limitExceeded, MatrixError } from '../platform/matrix-error.ts';
import { noteRequest } from '../platform/request-notes.ts';
import { sendChunks, sendJson } from './answers.ts';
import { refuse } from './errors.ts';
import { type PeekPath, parsePeekPath } from './peek-path.ts';
import { type Authenticate, rawTarget, readSigned } from './signed-request.ts';

/** The bodies are `{}`; what else is in them is ignored. */
const MOST_BODY_BYTES = 65_536;
/**
 * Renewals and ends of one server, for each time that it may ask for a room: they cost the homeserver little, and a
 * server that peeks a thousand rooms renews them all.
 */
const SMALL_PER_ROOM = 100;

export interface PeekRoutesDeps {
  readonly inboundPeeks: Pick<InboundPeeks, 'put' | 'renew' | 'remove' | 'snapshotOnly'>;
  readonly authenticate: Authenticate;
  /** How many times one server may ask for a whole room (`PUT`, `GET`), and in what time. */
  readonly rate: { readonly count: number; readonly perMs: number };
  readonly clock: Clock;
  readonly logger: Logger;
}

/**
 * The endpoints of MSC2444: `PUT`, `DELETE`, `GET` on `/peek/{roomId}[/{peekId}]` and `POST …/renew`. Other
 * methods and paths go on to the next handler.
 */
export function peekRoutes(deps: PeekRoutesDeps): RequestHandler {
  const duration = deps.rate.perMs / 1000;
  const limiter = new RateLimiterMemory({ points: deps.rate.count, duration });
  const small = new RateLimiterMemory({ points: deps.rate.count * SMALL_PER_ROOM, duration });
  const serve = async (req: IncomingMessage, res: ServerResponse, action: Action, path: PeekPath) => {
    try {
      const request = await readSigned(req, MOST_BODY_BYTES, deps.clock);
      if (request.content === undefined && action === 'put') {
        throw new MatrixError(400, 'M_NOT_JSON', 'The body is empty');
      }
      const server = await deps.authenticate(request);
      noteRequest(res, { server });
      if (!isRoomId(path.roomId)) throw new MatrixError(404, 'M_NOT_FOUND', 'This is not a room ID');
      noteRequest(res, { room: path.roomId });
      await consume(action === 'put' || action === 'snapshot' ? limiter : small, server);
      await answer(res, deps, action, server, path);
    } catch (error) {
      refuse(req, res, error, { action, room: path.roomId }, deps.logger);
    }
  };
  return (req, res, next) => {
    const path = parsePeekPath(rawTarget(req));
    const action = path === null ? null : actionOf(req.method, path);
    if (path === null || action === null) return next();
    return serve(req, res, action, path);
  };
}

type Action = 'put' | 'remove' | 'renew' | 'snapshot';

function actionOf(method: string, path: PeekPath): Action | null {
  if (path.renew) return method === 'POST' ? 'renew' : null;
  if (method === 'GET') return 'snapshot';
  if (path.peekId === null) return null;
  return method === 'PUT' ? 'put' : method === 'DELETE' ? 'remove' : null;
}

async function answer(
  res: ServerResponse,
  { inboundPeeks, clock }: PeekRoutesDeps,
  action: Action,
  server: string,
  { roomId, peekId, versions }: PeekPath,
): Promise<void> {
  if (peekId !== null && (action === 'renew' || action === 'remove')) {
    const body = await inboundPeeks[action](server, roomId, peekId);
    return sendJson(res, Buffer.from(JSON.stringify(body)));
  }
  const room =
    action === 'put' && peekId !== null
      ? await inboundPeeks.put(server, roomId, peekId, versions)
      : await inboundPeeks.snapshotOnly(server, roomId, versions);
  try {
    await sendChunks(res, room, clock);
  } finally {
    room.release();
  }
}

async function consume(limiter: RateLimiterMemory, server: string): Promise<void> {
  try {
    await limiter.consume(server);
  } catch (error) {
    if (!(error instanceof RateLimiterRes)) throw error;
    throw limitExceeded('Your server asks too often', Math.max(1, error.msBeforeNext));
  }
}
