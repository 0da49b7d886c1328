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

/** Visits items one after the other, with turns between; `turn` where several such loops follow each other. */
export async function eachInTurns<T>(
  items: Iterable<T>,
  visit: (item: T) => void,
  turn = takeTurns(),
): Promise<void> {
  for (const item of items) {
    const pause = turn();
    if (pause !== undefined) await pause;
    visit(item);
  }
}
