import { Gate, GateFullError } from '../platform/gate.ts';
import { limitExceeded } from '../platform/matrix-error.ts';
import type { RoomRead } from './room-read.ts';

/** Whole states held in memory for clients at once: the largest rooms' are some 20 MB each. */
const AT_ONCE = 8;
const WAITING = 100;
const WAITING_OF_ONE = 2;
const RETRY_AFTER_MS = 5000;

/** Places for reads that hold the whole state of a room until the client has taken it: one of a user at a time. */
export class ReadPlaces {
  readonly #gate = new Gate(AT_ONCE, WAITING, { running: 1, waiting: WAITING_OF_ONE });

  /**
   * Gives what is to be called when the place is free again. Rejects with 429 where too many wait, and with
   * `GateLeftError` when the client goes away before its turn.
   */
  async take(read: RoomRead): Promise<() => void> {
    const taken = Promise.withResolvers<void>();
    const held = Promise.withResolvers<void>();
    const work = () => {
      taken.resolve();
      return held.promise;
    };
    this.#gate.run(work, read.signal, read.who.userId).catch(taken.reject);
    try {
      await taken.promise;
    } catch (error) {
      if (error instanceof GateFullError)
        throw limitExceeded('Too many large rooms are being read', RETRY_AFTER_MS);
      throw error;
    }
    return held.resolve;
  }
}
