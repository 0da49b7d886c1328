import type { DevicePeek } from '../store/store.ts';

/**
 * How a device is told that a peek has ended, once.
 *
 * A delivered peek is in the presented token until its end was answered; the next token lacks it. One that ended
 * before its first section was seen to arrive is in no token yet: its end puts it into the next one, at a
 * position beyond the end, as a mark that this was told.
 */
export function toldMark(ended: NonNullable<DevicePeek['ended']>): number {
  return ended.position + 1;
}

/** Whether the end of this peek was told, or need not be; `at` is what the presented token says of it. */
export function isTold(peek: DevicePeek, at: number | undefined): boolean {
  if (peek.ended === null) return false;
  if (at !== undefined) return at > peek.ended.position;
  if (peek.delivered) return true;
  // The device ended it itself, or has joined: a room that it never saw is not missed.
  return peek.ended.reason !== 'closed' && peek.ended.reason !== 'expired';
}
