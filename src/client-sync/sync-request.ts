import { rawQuery, replaceParameter } from '../client-view/client-request.ts';
import { type OurPart, unwrapToken } from './sync-token.ts';

/** A request to `/sync`, its query read once. */
export interface SyncRequest {
  /** The raw target that goes upstream: as it came, but `since` is the homeserver's own token. */
  readonly target: string;
  /** The token as the client gave it; null without one. */
  readonly since: string | null;
  /** The homeserver's part of `since`; null without `since`. */
  readonly homeserverToken: string | null;
  /** Our part of `since`, if it has one that is whole. */
  readonly ours: OurPart | null;
  readonly fullState: boolean;
  readonly useStateAfter: boolean;
  /** As given: a stored filter's ID or inline JSON; null without. */
  readonly filter: string | null;
  /** Milliseconds; 0 when absent or nonsense, which is for the homeserver to refuse. */
  readonly timeoutMs: number;
}

export function readSyncRequest(url: string): SyncRequest {
  const query = new URLSearchParams(rawQuery(url));
  const since = query.get('since');
  const token = since === null || since === '' ? null : unwrapToken(since);
  return {
    target:
      token === null || token.homeserver === since ? url : replaceParameter(url, 'since', token.homeserver),
    since: token === null ? null : since,
    homeserverToken: token?.homeserver ?? null,
    ours: token?.ours ?? null,
    fullState: query.get('full_state') === 'true',
    useStateAfter:
      query.get('org.matrix.msc4222.use_state_after') === 'true' || query.get('use_state_after') === 'true',
    filter: query.get('filter'),
    timeoutMs: millisecondsOf(query.get('timeout') ?? ''),
  };
}

/** Nobody waits longer: it is 24 days, and what a timer takes. */
const MAX_TIMEOUT_MS = 2 ** 31 - 1;

function millisecondsOf(text: string): number {
  return /^[0-9]+$/.test(text) ? Math.min(Number(text), MAX_TIMEOUT_MS) : 0;
}

/** False only for targets that certainly have no token with a part of ours; cheap, for the path of everybody. */
export function mayHoldOurPart(url: string): boolean {
  return /[0-9]{20}|PEEK|%/.test(url);
}
