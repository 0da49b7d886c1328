import { setImmediate } from 'node:timers/promises';

/** Work of one kind runs no longer than this before others have their turn. */
const SLICE_MS = 10;

/**
 * For long loops: call and await what it gives between two steps. It lets the event loop go round once when the
 * loop has run for more than ten milliseconds since it last did.
 */
export function takeTurns(): () => Promise<void> | undefined {
  let began = performance.now();
  return () => {
    if (performance.now() - began < SLICE_MS) return undefined;
    return setImmediate().then(() => {
      began = performance.now();
    });
  };
}
