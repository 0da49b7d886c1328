import { MatrixError } from '../../platform/matrix-error.ts';
import type { PastEvent } from './past-event.ts';

/** One read's patience with other servers. */
export interface Asking {
  /** Aborts when the client has gone, or has waited long enough. */
  readonly signal: AbortSignal;
  /** How many requests may still be sent. */
  left: number;
  /** What was given to this read. */
  readonly given: Map<string, PastEvent>;
  /** Before each request. Rejects with 429 when the user has caused too many of late. */
  readonly spend: () => Promise<void>;
}

/** Requests to other servers for one read: 600 events, where they give what they are asked for. */
export const MOST_REQUESTS = 12;

/** What comes next of a room's history cannot be had for the moment. What was had before can be told. */
export class HistoryUnavailable extends MatrixError {
  constructor(status: 502 | 504, message: string) {
    super(status, 'M_UNKNOWN', message);
  }
}
