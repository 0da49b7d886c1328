import type { IncomingMessage } from 'node:http';
import express, { type Request, type Response, Router } from 'express';
import { callerOf, forwardedFor, rawQuery } from '../client-view/client-request.ts';
import { CORS_HEADERS, NOT_CACHED } from '../forward/matrix-answer.ts';
import type { TrustedProxies } from '../forward/trusted-proxies.ts';
import type { Homeserver } from '../homeserver/homeserver.ts';
import { isRoomId, isServerName } from '../matrix/ids.ts';
import { isObject, JsonError, type JsonObject } from '../matrix/json.ts';
import { parseJson } from '../matrix/json-scan.ts';
import type { Peeker, Peeking } from '../peeking/peeking.ts';
import type { Logger } from '../platform/log.ts';
import { MatrixError } from '../platform/matrix-error.ts';
import { noteRequest } from '../platform/request-notes.ts';
import { Allowance } from './allowance.ts';
import { sendFailure } from './errors.ts';

export interface ClientRouterDeps {
  readonly homeserver: Homeserver;
  readonly peeking: Peeking;
  readonly trusted: TrustedProxies;
  readonly rate: { readonly count: number; readonly perMs: number };
  readonly logger: Logger;
}

/** What a `/peek` body may weigh: it holds a list of server names at most. */
const MOST_BODY_BYTES = 64 * 1024;
/** Ending is cheaper than starting, but for a room we do not know the homeserver has to be asked. */
const UNPEEKS_PER_PEEK = 10;
/** Servers that one request may name. */
const MOST_SERVERS = 50;

/** The paths of MSC2753, under the prefixes that clients use. */
export const PEEK_PATH = /^\/_matrix\/client\/(?:r0|v3|unstable\/org\.matrix\.msc2753)\/peek\/([^/]+)$/;
export const UNPEEK_PATH =
  /^\/_matrix\/client\/(?:r0|v3|unstable\/org\.matrix\.msc2753)\/rooms\/([^/]+)\/unpeek$/;

/** `POST /peek/{roomIdOrAlias}` and `POST /rooms/{roomId}/unpeek`. */
export function createClientRouter(deps: ClientRouterDeps): Router {
  const router = Router();
  const peeks = new Allowance(deps.rate.count, deps.rate.perMs);
  const unpeeks = new Allowance(deps.rate.count * UNPEEKS_PER_PEEK, deps.rate.perMs);
  const body = express.raw({ type: () => true, limit: MOST_BODY_BYTES });

  type Handle = (req: Request, who: Peeker, room: string, res: Response) => Promise<JsonObject>;
  const route = (path: RegExp, handle: Handle) => {
    return async (req: Request, res: Response): Promise<void> => {
      try {
        const caller = callerOf(req, forwardedFor(req, deps.trusted));
        // Rare and worth a question: a token that was logged out elsewhere starts and ends nothing.
        deps.homeserver.forget(caller);
        const who = await deps.homeserver.whoami(caller);
        noteRequest(res, { user: who.userId });
        const room = roomOf(req, path);
        if (isRoomId(room)) noteRequest(res, { room });
        const answer = await handle(req, { ...who, caller }, room, res);
        res.writeHead(200, [...CORS_HEADERS, ...NOT_CACHED, 'Content-Type', 'application/json']);
        res.end(JSON.stringify(answer));
      } catch (error) {
        sendFailure(res, error, deps.logger);
      }
    };
  };

  router.post(
    PEEK_PATH,
    body,
    route(PEEK_PATH, async (req, who, room, res) => {
      const servers = namedServers(req);
      await peeks.spend(who.userId);
      const { roomId, expiresAt } = await deps.peeking.peek(who, room, servers);
      noteRequest(res, { room: roomId });
      return { room_id: roomId, peek_expiry_ts: expiresAt };
    }),
  );
  router.post(
    UNPEEK_PATH,
    body,
    route(UNPEEK_PATH, async (req, who, room) => {
      readBody(req.body);
      await unpeeks.spend(who.userId);
      await deps.peeking.unpeek(who, room);
      return {};
    }),
  );
  router.use((error: unknown, _req: Request, res: Response, _next: unknown) => {
    sendFailure(res, refusedByExpress(error), deps.logger);
  });
  return router;
}

/** `server_name` and `via` of the query, then `servers` of the body; what is no server name is passed over. */
function namedServers(req: Request): string[] {
  const query = new URLSearchParams(rawQuery((req as IncomingMessage).url ?? ''));
  const body = readBody(req.body);
  const listed = Array.isArray(body.servers) ? body.servers : [];
  return [...query.getAll('server_name'), ...query.getAll('via'), ...listed]
    .filter((server) => typeof server === 'string' && isServerName(server))
    .slice(0, MOST_SERVERS) as string[];
}

function readBody(bytes: unknown): JsonObject {
  if (!Buffer.isBuffer(bytes) || bytes.byteLength === 0) return {};
  try {
    const body = parseJson(bytes);
    if (isObject(body)) return body;
  } catch (error) {
    if (!(error instanceof JsonError)) throw error;
    if (error.kind === 'not-json') throw new MatrixError(400, 'M_NOT_JSON', 'The body is not JSON');
  }
  throw new MatrixError(400, 'M_BAD_JSON', 'The body is not a JSON object as Matrix has them');
}

/** The room of the raw target, percent-decoded once; express would have decoded it already. */
function roomOf(req: IncomingMessage, path: RegExp): string {
  const segment = path.exec((req.url ?? '').split('?', 1)[0] ?? '')?.[1] ?? '';
  try {
    return decodeURIComponent(segment);
  } catch {
    throw new MatrixError(400, 'M_INVALID_PARAM', 'The path is not percent-encoded UTF-8');
  }
}

/** What express or its body reader throws before a route is reached. */
function refusedByExpress(error: unknown): unknown {
  if (!(error instanceof Error) || !('status' in error)) return error;
  if (error.status === 413)
    return new MatrixError(413, 'M_TOO_LARGE', `The body is larger than ${MOST_BODY_BYTES} bytes`);
  if (error.status === 400) return new MatrixError(400, 'M_INVALID_PARAM', 'The request is malformed');
  return error;
}
