import type { ServerResponse } from 'node:http';
import {
  CORS_HEADERS,
  homeserverUnreachable,
  NOT_CACHED,
  sendMatrixError,
} from '../forward/matrix-answer.ts';
import { HomeserverDown, HomeserverRefusal, NotReadable } from '../homeserver/homeserver.ts';
import type { Logger } from '../platform/log.ts';
import { MatrixError, storeUnavailable } from '../platform/matrix-error.ts';
import { StoreDownError } from '../store/store.ts';

/** Answers a client with what went wrong. The homeserver's own refusals go out as they came. */
export function sendFailure(res: ServerResponse, error: unknown, logger: Logger): void {
  if (error instanceof HomeserverRefusal) {
    if (res.headersSent) return;
    res.writeHead(error.status, [...CORS_HEADERS, ...NOT_CACHED, 'Content-Type', 'application/json']);
    res.end(error.body);
    return;
  }
  sendMatrixError(res, asMatrixError(error, logger));
}

function asMatrixError(error: unknown, logger: Logger): MatrixError {
  if (error instanceof MatrixError) return error;
  if (error instanceof StoreDownError) return storeUnavailable();
  if (error instanceof HomeserverDown) return homeserverUnreachable();
  if (error instanceof NotReadable) {
    return new MatrixError(403, 'M_FORBIDDEN', 'The history of this room is not world-readable');
  }
  logger.error({ err: error }, 'a client request failed in a way that was not foreseen');
  return new MatrixError(500, 'M_UNKNOWN', 'Something went wrong');
}
