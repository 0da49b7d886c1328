import type { ServerResponse } from 'node:http';
import { sendMatrixError } from '../forward/matrix-answer.ts';
import { HomeserverDown } from '../homeserver/homeserver.ts';
import { JsonError } from '../matrix/json.ts';
import type { Logger } from '../platform/log.ts';
import { MatrixError, storeUnavailable } from '../platform/matrix-error.ts';
import { StoreDownError } from '../store/store.ts';

const RETRY_HOMESERVER_MS = 10_000;

/** Answers with what went wrong; what nobody foresaw is logged and becomes a bare 500. */
export function sendError(res: ServerResponse, error: unknown, logger: Logger): void {
  sendMatrixError(res, toMatrixError(error, logger));
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
