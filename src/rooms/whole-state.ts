import type { Clock } from '../platform/clock.ts';
import { MatrixError } from '../platform/matrix-error.ts';
import type { Store } from '../store/store.ts';
import { isStatePartial } from './log-entries.ts';
import type { RoomWakes } from './room-wakes.ts';

/** The rest of the largest rooms' state is verified in less. */
const PATIENCE_MS = 30_000;
const RETRY_AFTER_MS = 5_000;

/** Waits until all of a room's state is here: the members of a large room come seconds after its first peek. */
export class WholeState {
  readonly #store: Store;
  readonly #wakes: RoomWakes;
  readonly #clock: Clock;

  constructor(deps: { readonly store: Store; readonly wakes: RoomWakes; readonly clock: Clock }) {
    this.#store = deps.store;
    this.#wakes = deps.wakes;
    this.#clock = deps.clock;
  }

  /** Rejects with 503 when it takes too long. Returns early when `signal` aborts. */
  async wait(roomId: string, signal: AbortSignal): Promise<void> {
    if (!(await isStatePartial(this.#store, roomId))) return;
    const until = this.#clock.now() + PATIENCE_MS;
    let woken = Promise.withResolvers<void>();
    const stop = this.#wakes.watch([roomId], () => woken.resolve());
    try {
      while (await isStatePartial(this.#store, roomId)) {
        const left = until - this.#clock.now();
        if (signal.aborted) return;
        if (left <= 0) throw stillPartial();
        const done = new AbortController();
        const over = AbortSignal.any([signal, done.signal]);
        await Promise.race([woken.promise, this.#clock.sleep(left, over)]);
        done.abort();
        woken = Promise.withResolvers<void>();
      }
    } finally {
      stop();
    }
  }
}

function stillPartial(): MatrixError {
  return new MatrixError(503, 'M_UNKNOWN', 'The state of this room is still being read', {
    retry_after_ms: RETRY_AFTER_MS,
  });
}
