/** 2026-01-01T00:00:00Z. Positions and instances count from here, which keeps them short in sync tokens. */
const ORIGIN = Date.UTC(2026, 0, 1);

/**
 * Where a log that is opened now begins.
 *
 * Taken from the clock (ms), so that a log which was dropped and is opened again goes on above its earlier
 * self: a token that still names the old log is then seen to be behind the new one's tail, an honest gap.
 * It would take more than a thousand events a second, for as long as a log lives, to break that.
 */
export function firstPosition(now: number): number {
  return Math.max(1, now - ORIGIN);
}
