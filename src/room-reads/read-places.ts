import { RateLimiterMemory } from 'rate-limiter-flexible';
import { Gate, GateFullError } from '../platform/gate.ts';
import { limitExceeded } from '../platform/matrix-error.ts';
import type { RoomRead } from './room-read.ts';

/** Whole states held in memory for clients at once: the largest rooms' are some 20 MB each. */
const HELD_AT_ONCE = 8;
const HELD_WAITING = 100;
/** Of one user. */
const STREAMED_AT_ONCE = 2;
/** Of one user: a client that opens a room may ask for what is around several events at once. */
const WAITING = 20;
const RETRY_AFTER_MS = 5000;
/** Reading a hundred thousand state events takes two seconds of the one thread that serves everybody. */
const EVENTS_PER_MINUTE = 300_000;

/** Who reads, and until when they wait for it. */
type Reading = Pick<RoomRead, 'signal'> & { readonly who: Pick<RoomRead['who'], 'userId'> };

/** Reads of many state events: how many of them one user may have in a minute, and at once. */
export class ReadPlaces {
  readonly #held = new Gate(HELD_AT_ONCE, HELD_WAITING, { running: 1, waiting: WAITING });
  readonly #streamed = new Gate(Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY, {
    running: STREAMED_AT_ONCE,
    waiting: WAITING,
  });
  readonly #spent = new RateLimiterMemory({ points: EVENTS_PER_MINUTE, duration: 60 });

  /**
   * A place for what holds the whole state of a room, until the client has taken it: one of a user at a time. Gives
   * what is to be called, with the number of events read, when it is free again. Rejects with 429 where too many
   * wait or too much was read, and with `GateLeftError` when the client goes away before its turn.
   */
  take(read: Reading): Promise<(events: number) => void> {
    return this.#enter(this.#held, read);
  }

  /** The same events, of which only a few are held at a time: two lists of a user at once. Rejects as `take`. */
  async *counted<T>(read: Reading, events: AsyncIterable<T>): AsyncGenerator<T> {
    const free = await this.#enter(this.#streamed, read);
    let count = 0;
    try {
      for await (const event of events) {
        count++;
        yield event;
      }
    } finally {
      free(count);
    }
  }

  async #enter(gate: Gate, { who: { userId }, signal }: Reading): Promise<(events: number) => void> {
    const free = await enter(gate, userId, signal);
    const spent = await this.#spent.get(userId);
    if (spent !== null && spent.consumedPoints >= EVENTS_PER_MINUTE) {
      free();
      throw tooMuch(spent.msBeforeNext);
    }
    return (events) => {
      void this.#spent.penalty(userId, events);
      free();
    };
  }
}

async function enter(gate: Gate, owner: string, signal: AbortSignal): Promise<() => void> {
  const entered = Promise.withResolvers<void>();
  const left = Promise.withResolvers<void>();
  const work = () => {
    entered.resolve();
    return left.promise;
  };
  gate.run(work, signal, owner).catch(entered.reject);
  try {
    await entered.promise;
  } catch (error) {
    throw error instanceof GateFullError ? tooMuch(RETRY_AFTER_MS) : error;
  }
  return left.resolve;
}

function tooMuch(retryAfterMs: number) {
  return limitExceeded('Too many large rooms are being read', Math.max(1, retryAfterMs));
}
