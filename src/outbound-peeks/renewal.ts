import type { OutboundPeek } from '../store/store.ts';

/** Renewed after this part of the interval, so that one lost request does not cost the peek. */
const RENEW_AT = 0.75;

/** A server that has to be asked for what is new is asked so often: one that shows snapshots … */
export const SNAPSHOT_EVERY_MS = 5 * 60_000;
/** … and one that sends the events of its own users alone, where each time costs it another peek. */
export const POLL_EVERY_MS = 15 * 60_000;

/** A quiet room is not asked for as a whole more often than this, however short the interval of its server. */
const SILENT_AT_LEAST_MS = 30 * 60_000;

/** When a peek that was begun or renewed at `now` is to be renewed. */
export function renewAt(now: number, intervalMs: number): number {
  return now + intervalMs * RENEW_AT;
}

/** When a peek was begun or renewed last. */
export function renewedAt({ renewAt, renewalIntervalMs }: OutboundPeek): number {
  return renewAt - renewalIntervalMs * RENEW_AT;
}

/** The interval in which a peek of this kind is renewed; `said` is the peeked server's, already clamped. */
export function intervalOf(how: OutboundPeek['how'], said: number): number {
  if (how === 'get') return SNAPSHOT_EVERY_MS / RENEW_AT;
  return how === 'anew' ? Math.min(said, POLL_EVERY_MS / RENEW_AT) : said;
}

/**
 * Nothing of the room was heard for as long as a renewal takes to come, and for half an hour: it is asked for as
 * a whole, in case that something was lost with nothing after it.
 */
export function isSilent({ heardAt, renewalIntervalMs }: OutboundPeek, now: number): boolean {
  return heardAt + Math.max(renewalIntervalMs * RENEW_AT, SILENT_AT_LEAST_MS) <= now;
}
