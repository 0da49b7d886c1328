import type { IncomingMessage, ServerResponse } from 'node:http';
import { sendMatrixError } from '../forward/matrix-answer.ts';
import { HomeserverDown } from '../homeserver/homeserver.ts';
import { MAX_ID_BYTES } from '../matrix/ids.ts';
import { JsonError } from '../matrix/json.ts';
import type { Logger } from '../platform/log.ts';
import { MatrixError, storeUnavailable } from '../platform/matrix-error.ts';
import { StoreDownError } from '../store/store.ts';
import { claimedOrigin } from './signed-request.ts';

const RETRY_HOMESERVER_MS = 10_000;

/** Answers with what went wrong; what nobody foresaw is logged and becomes a bare 500. */
export function sendError(res: ServerResponse, error: unknown, logger: Logger): void {
  sendMatrixError(res, toMatrixError(error, logger));
}

/** What another server has asked for, as far as that is known. Of remote strings no more than an ID is long. */
export interface Asked {
  readonly action: string;
  readonly room: string | null;
  readonly event?: string | null;
}

/**
 * The same to another server, with one line in the log that says who was refused what, where, and why. Before the
 * request is authenticated the server is the one that it names.
 */
export function refuse(
  req: IncomingMessage,
  res: ServerResponse,
  error: unknown,
  asked: Asked,
  logger: Logger,
): void {
  const refusal = toMatrixError(error, logger);
  const { status, errcode, message: reason } = refusal;
  const server = claimedOrigin(req);
  const named = { action: asked.action, server, room: cut(asked.room) };
  const event = asked.event === undefined ? {} : { event: cut(asked.event) };
  logger.info({ ...named, ...event, status, errcode, reason }, "another server's request was refused");
  // What is left of a body that is too large, or does not come, is not waited for.
  if (!req.complete) res.shouldKeepAlive = false;
  sendMatrixError(res, refusal);
}

function cut(id: string | null): string | null {
  return id === null ? null : id.slice(0, MAX_ID_BYTES);
}

function toMatrixError(error: unknown, logger: Logger): MatrixError {
  if (error instanceof MatrixError) return error;
  if (error instanceof StoreDownError) return storeUnavailable();
  if (error instanceof HomeserverDown) {
    const fields = { retry_after_ms: RETRY_HOMESERVER_MS };
    return new MatrixError(503, 'M_UNKNOWN', 'The homeserver does not answer', fields);
  }
  if (error instanceof JsonError) {
    if (error.kind === 'too-large') return new MatrixError(413, 'M_TOO_LARGE', error.message);
    return new MatrixError(400, error.kind === 'not-json' ? 'M_NOT_JSON' : 'M_BAD_JSON', error.message);
  }
  logger.error({ err: error }, 'a federation request failed');
  return new MatrixError(500, 'M_UNKNOWN', 'Something went wrong here');
}
