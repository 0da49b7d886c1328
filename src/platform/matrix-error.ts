/** The error codes that this proxy itself answers with. */
export type Errcode =
  | 'M_BAD_JSON'
  | 'M_BAD_STATE'
  | 'M_FORBIDDEN'
  | 'M_INCOMPATIBLE_ROOM_VERSION'
  | 'M_INVALID_PARAM'
  | 'M_LIMIT_EXCEEDED'
  | 'M_MISSING_PARAM'
  | 'M_MISSING_TOKEN'
  | 'M_NOT_FOUND'
  | 'M_NOT_JSON'
  | 'M_TOO_LARGE'
  | 'M_UNAUTHORIZED'
  | 'M_UNKNOWN'
  | 'M_UNKNOWN_TOKEN'
  | 'M_UNRECOGNIZED';

/** An answer of ours that is not 200: status, `errcode`, a sentence, and further fields of the body. */
export class MatrixError extends Error {
  override readonly name = 'MatrixError';
  readonly status: number;
  readonly errcode: string;
  readonly fields: Readonly<Record<string, unknown>>;

  constructor(status: number, errcode: Errcode, message: string, fields: Record<string, unknown> = {}) {
    super(message);
    this.status = status;
    this.errcode = errcode;
    this.fields = fields;
  }

  body(): Record<string, unknown> {
    return { errcode: this.errcode, error: this.message, ...this.fields };
  }
}

/** 429 with `retry_after_ms`; the `Retry-After` header is written by whoever sends it. */
export function limitExceeded(message: string, retryAfterMs: number): MatrixError {
  return new MatrixError(429, 'M_LIMIT_EXCEEDED', message, { retry_after_ms: retryAfterMs });
}

/** 503: the store is down; the client may come again. */
export function storeUnavailable(retryAfterMs = 5000): MatrixError {
  return new MatrixError(503, 'M_UNKNOWN', 'Peeking is unavailable for the moment', {
    retry_after_ms: retryAfterMs,
  });
}
