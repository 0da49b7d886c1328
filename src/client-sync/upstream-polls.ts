import type { WholeResponse } from '../forward/raw-forwarder.ts';
import type { Clock, Timer } from '../platform/clock.ts';
import { nextBatchOf } from './splice.ts';

/** How long a poll that nobody waits for is let run, and its answer kept. */
const DETACHED_MS = 60_000;
/** Polls of one device that nobody waits for: a client with ever other filters would leave one of each behind. */
const DETACHED_PER_DEVICE = 4;
/** Answers kept for later requests, bytes in all; the oldest gives way. */
const KEPT_BYTES = 64 * 1024 * 1024;
/** An answer that was written whole is kept for a retry only if it is no larger than this, bytes. */
const DELIVERED_BYTES = 256 * 1024;

/** What decides a homeserver's answer, but not how long it waits: requests that agree in it may share one poll. */
export interface PollKey {
  readonly device: string;
  /** The homeserver's part of `since`; null without one. */
  readonly since: string | null;
  /** All else. */
  readonly rest: string;
}

/** An answer that is larger is not read to see whether there is anything in it, bytes. */
const NEVER_EMPTY_BYTES = 64 * 1024;

/** One request to the homeserver's `/sync`, that may outlive the client's request for whom it was made. */
export interface UpstreamPoll {
  readonly answer: Promise<WholeResponse>;
  /** The answer, once it is there. */
  readonly arrived: WholeResponse | null;
}

interface Poll extends UpstreamPoll {
  readonly key: PollKey;
  arrived: WholeResponse | null;
  readonly settle: (answer: WholeResponse) => void;
  waiting: number;
  /** Its answer was written to a client whole; it may have been lost on its way all the same. */
  delivered: boolean;
  readonly abort: AbortController;
  timer: Timer | null;
  /** The poll whose answer it was given in the place of its own. */
  same: Poll | null;
}

/**
 * Polls of peeking devices. A peeked event ends a client's request before the homeserver has answered; its
 * poll runs on, and the next request that asks the same takes it over, so that no answer which the
 * homeserver has computed is lost: nor one that arrives while no client is there, or whose client goes away
 * before it has it.
 *
 * Of several polls that ask the same the first answer with something in it is the answer of them all: what the
 * homeserver has put into it once, such as a lazily loaded member, it leaves out of the next.
 *
 * Not kept is what the homeserver would say better when asked anew: an error, and an answer whose token stands
 * where the request's stood, in which there is nothing.
 */
export class UpstreamPolls {
  readonly #devices = new Map<string, Set<Poll>>();
  /** Polls with an answer that nobody waits for, the oldest first. */
  readonly #kept = new Set<Poll>();
  #keptBytes = 0;
  readonly #clock: Clock;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /**
   * Joins a poll that asks the same, or starts one. A request that wants no waiting is not `patient`: it joins
   * only what has arrived, and else asks for itself. Every `join` is followed by one `leave` or `take`. The
   * signal is aborted at last, when nobody has or wants the answer any more.
   */
  join(key: PollKey, patient: boolean, start: (signal: AbortSignal) => Promise<WholeResponse>): UpstreamPoll {
    const held = this.#find(key, patient);
    if (held !== null) {
      held.waiting++;
      this.#attend(held);
      return held;
    }
    const abort = new AbortController();
    const { promise, resolve, reject } = Promise.withResolvers<WholeResponse>();
    promise.catch(() => undefined);
    const poll: Poll = {
      ...{ key, answer: promise, settle: resolve, abort },
      ...{ arrived: null, waiting: 1, delivered: false, timer: null, same: null },
    };
    const polls = this.#devices.get(key.device);
    if (polls === undefined) this.#devices.set(key.device, new Set([poll]));
    else polls.add(poll);
    start(abort.signal).then(
      (response) => this.#arrived(poll, response),
      (error) => {
        reject(error);
        this.#failed(poll);
      },
    );
    return poll;
  }

  /** The client's request ended without the answer, or went away before it had it whole. */
  leave(poll: UpstreamPoll): void {
    this.#release(original(poll as Poll));
  }

  /** The answer was written to a client whole. */
  take(poll: UpstreamPoll): void {
    const taken = original(poll as Poll);
    taken.delivered = true;
    this.#release(taken);
  }

  /** Lets every poll go; for the end of the process. */
  close(): void {
    for (const polls of this.#devices.values()) for (const poll of polls) this.#forget(poll);
  }

  /** Asking with another token, the client shows that it has what was delivered. */
  #find(key: PollKey, patient: boolean): Poll | null {
    let found: Poll | null = null;
    for (const poll of this.#devices.get(key.device) ?? []) {
      if (poll.key.since !== key.since) {
        if (poll.delivered && poll.waiting === 0) this.#forget(poll);
        continue;
      }
      if (poll.key.rest !== key.rest) continue;
      if (poll.arrived !== null) return poll;
      if (patient) found ??= poll;
    }
    return found;
  }

  /** Who waits for it may make something of how it failed; the last who leaves ends it. */
  #failed(poll: Poll): void {
    if (poll.waiting === 0) this.#forget(poll);
    else this.#drop(poll);
  }

  #arrived(poll: Poll, response: WholeResponse): void {
    if (poll.same !== null || !this.#holds(poll)) return;
    const others = [...(this.#devices.get(poll.key.device) ?? [])].filter(
      (other) => other !== poll && other.key.since === poll.key.since && other.key.rest === poll.key.rest,
    );
    const first = others.find(({ arrived }) => arrived !== null);
    if (first !== undefined && response.status === 200) {
      this.#absorb(first, poll);
      return;
    }
    poll.arrived = response;
    poll.settle(response);
    if (!isWorthKeeping(poll, response)) {
      this.#forget(poll);
      return;
    }
    for (const other of others) this.#absorb(poll, other);
    if (poll.waiting === 0) this.#unattended(poll);
  }

  /** The other's clients are given this one's answer. */
  #absorb(poll: Poll, other: Poll): void {
    if (other.waiting > 0) this.#attend(poll);
    poll.waiting += other.waiting;
    other.same = poll;
    other.arrived = poll.arrived;
    if (poll.arrived !== null) other.settle(poll.arrived);
    this.#forget(other);
  }

  #holds(poll: Poll): boolean {
    return this.#devices.get(poll.key.device)?.has(poll) === true;
  }

  #release(poll: Poll): void {
    poll.waiting--;
    if (poll.waiting > 0) return;
    if (this.#holds(poll)) this.#unattended(poll);
    else poll.abort.abort();
  }

  /** Nobody waits for it any more, or it has arrived and nobody does. */
  #unattended(poll: Poll): void {
    if (poll.arrived !== null && !isWorthKeeping(poll, poll.arrived)) {
      this.#forget(poll);
      return;
    }
    poll.timer ??= this.#clock.after(DETACHED_MS, () => this.#forget(poll));
    if (poll.arrived !== null) this.#keep(poll, poll.arrived);
    const alone = [...(this.#devices.get(poll.key.device) ?? [])].filter(({ waiting }) => waiting === 0);
    for (const old of alone.slice(0, -DETACHED_PER_DEVICE)) this.#forget(old);
  }

  #keep(poll: Poll, { body }: WholeResponse): void {
    if (this.#kept.has(poll)) return;
    this.#kept.add(poll);
    this.#keptBytes += body.byteLength;
    for (const old of this.#kept) {
      if (this.#keptBytes <= KEPT_BYTES) return;
      this.#forget(old);
    }
  }

  #attend(poll: Poll): void {
    poll.timer?.cancel();
    poll.timer = null;
    if (this.#kept.delete(poll)) this.#keptBytes -= poll.arrived?.body.byteLength ?? 0;
  }

  #forget(poll: Poll): void {
    this.#drop(poll);
    poll.abort.abort();
  }

  #drop(poll: Poll): void {
    this.#attend(poll);
    const polls = this.#devices.get(poll.key.device);
    polls?.delete(poll);
    if (polls?.size === 0) this.#devices.delete(poll.key.device);
  }
}

function original(poll: Poll): Poll {
  return poll.same === null ? poll : original(poll.same);
}

function isWorthKeeping({ key, delivered }: Poll, { status, body }: WholeResponse): boolean {
  if (status !== 200 || (delivered && (key.since === null || body.byteLength > DELIVERED_BYTES)))
    return false;
  if (body.byteLength > NEVER_EMPTY_BYTES) return true;
  const nextBatch = nextBatchOf(body);
  return nextBatch !== null && nextBatch !== key.since;
}
