import type { OutboundPeek } from '../store/store.ts';

/** Renewed after this part of the interval, so that one lost request does not cost the peek. */
const RENEW_AT = 0.75;

/** When a peek that was begun or renewed at `now` is to be renewed. */
export function renewAt(now: number, intervalMs: number): number {
  return now + intervalMs * RENEW_AT;
}

/** When a peek was begun or renewed last. */
export function renewedAt({ renewAt, renewalIntervalMs }: OutboundPeek): number {
  return renewAt - renewalIntervalMs * RENEW_AT;
}
