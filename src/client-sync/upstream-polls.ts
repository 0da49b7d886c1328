import type { WholeResponse } from '../forward/raw-forwarder.ts';
import type { Clock, Timer } from '../platform/clock.ts';

/** How long an answer that nobody waits for is let run, and kept once it is there. */
const DETACHED_MS = 60_000;

/** One request to the homeserver's `/sync`, that may outlive the client's request for whom it was made. */
export interface UpstreamPoll {
  readonly answer: Promise<WholeResponse>;
  /** The answer, once it is there. */
  readonly arrived: WholeResponse | null;
}

interface Poll extends UpstreamPoll {
  arrived: WholeResponse | null;
  waiting: number;
  readonly abort: AbortController;
  timer: Timer | null;
}

/**
 * Polls of peeking devices. A peeked event ends a client's request before the homeserver has answered; its
 * poll runs on, and the next request that asks the same takes it over, so that no answer which the
 * homeserver has computed is lost.
 */
export class UpstreamPolls {
  readonly #polls = new Map<string, Poll>();
  readonly #clock: Clock;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /**
   * Joins the poll of this key, or starts it. A request that wants no waiting is not `patient`: it joins only
   * what has arrived, and else asks for itself. Every `join` is followed by one `leave` or `take`.
   */
  join(key: string, patient: boolean, start: (signal: AbortSignal) => Promise<WholeResponse>): UpstreamPoll {
    const held = this.#polls.get(key);
    if (held !== undefined && (patient || held.arrived !== null)) {
      held.waiting++;
      held.timer?.cancel();
      held.timer = null;
      return held;
    }
    const abort = new AbortController();
    const poll: Poll = { answer: start(abort.signal), arrived: null, waiting: 1, abort, timer: null };
    if (held === undefined) this.#polls.set(key, poll);
    poll.answer.then(
      (answer) => {
        poll.arrived = answer;
      },
      () => {
        if (this.#polls.get(key) === poll) this.#polls.delete(key);
      },
    );
    return poll;
  }

  /** The client's request ended without the answer. */
  leave(key: string, poll: UpstreamPoll): void {
    const held = this.#polls.get(key);
    if (held !== poll || --held.waiting > 0) return;
    held.timer = this.#clock.after(DETACHED_MS, () => {
      held.abort.abort();
      if (this.#polls.get(key) === held) this.#polls.delete(key);
    });
  }

  /** The answer went to a client. */
  take(key: string, poll: UpstreamPoll): void {
    const held = this.#polls.get(key);
    if (held === poll) this.#polls.delete(key);
  }

  /** Lets every poll go; for the end of the process. */
  close(): void {
    for (const poll of this.#polls.values()) {
      poll.timer?.cancel();
      poll.abort.abort();
    }
    this.#polls.clear();
  }
}
