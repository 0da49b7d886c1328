/** What one owner of work may take of a gate that several share. */
export interface GateShare {
  readonly running?: number;
  readonly waiting?: number;
}

/**
 * Lets so much work run at once; the rest waits. That of one owner goes in its order; of several owners the one of
 * whose work the least is running is next, in turn where they are equal: so who asks for much waits for himself.
 */
export class Gate {
  readonly #width: number;
  readonly #maxWaiting: number;
  readonly #share: Required<GateShare>;
  readonly #waiting = new Map<string, Set<() => void>>();
  readonly #owned = new Map<string, number>();
  #running = 0;
  #waitingInAll = 0;

  constructor(width: number, maxWaiting = Number.POSITIVE_INFINITY, share: GateShare = {}) {
    this.#width = width;
    this.#maxWaiting = maxWaiting;
    this.#share = { running: share.running ?? width, waiting: share.waiting ?? Number.POSITIVE_INFINITY };
  }

  /**
   * Rejects with `GateFullError` when too much is waiting already, and with `GateLeftError` when the signal
   * aborts before its turn. Work that has begun is not stopped.
   */
  async run<T>(work: () => Promise<T>, signal?: AbortSignal, owner = ''): Promise<T> {
    if (signal?.aborted) throw new GateLeftError();
    if (this.#running < this.#width && this.#runningOf(owner) < this.#share.running) this.#enter(owner);
    else await this.#turn(signal, owner);
    try {
      return await work();
    } finally {
      this.#leave(owner);
    }
  }

  #runningOf(owner: string): number {
    return this.#owned.get(owner) ?? 0;
  }

  #enter(owner: string): void {
    this.#running++;
    this.#owned.set(owner, this.#runningOf(owner) + 1);
  }

  #leave(owner: string): void {
    this.#running--;
    const left = this.#runningOf(owner) - 1;
    if (left > 0) this.#owned.set(owner, left);
    else this.#owned.delete(owner);
    const next = this.#nextOwner();
    if (next === undefined) return;
    const queue = this.#waiting.get(next);
    const [turn] = queue ?? [];
    if (queue === undefined || turn === undefined) return;
    this.#forget(next, queue, turn);
    if (queue.size > 0) {
      this.#waiting.delete(next);
      this.#waiting.set(next, queue);
    }
    this.#enter(next);
    turn();
  }

  #nextOwner(): string | undefined {
    let next: string | undefined;
    let fewest = this.#share.running;
    for (const owner of this.#waiting.keys()) {
      const running = this.#runningOf(owner);
      if (running >= fewest) continue;
      next = owner;
      fewest = running;
      if (running === 0) break;
    }
    return next;
  }

  #forget(owner: string, queue: Set<() => void>, turn: () => void): void {
    if (!queue.delete(turn)) return;
    this.#waitingInAll--;
    if (queue.size === 0) this.#waiting.delete(owner);
  }

  #turn(signal: AbortSignal | undefined, owner: string): Promise<void> {
    const queue = this.#waiting.get(owner) ?? new Set();
    if (this.#waitingInAll >= this.#maxWaiting || queue.size >= this.#share.waiting) {
      return Promise.reject(new GateFullError());
    }
    return new Promise((resolve, reject) => {
      const left = () => {
        this.#forget(owner, queue, turn);
        reject(new GateLeftError());
      };
      const turn = () => {
        signal?.removeEventListener('abort', left);
        resolve();
      };
      queue.add(turn);
      this.#waiting.set(owner, queue);
      this.#waitingInAll++;
      signal?.addEventListener('abort', left, { once: true });
    });
  }
}

export class GateFullError extends Error {
  override readonly name = 'GateFullError';
  constructor() {
    super('Too much is waiting already');
  }
}

export class GateLeftError extends Error {
  override readonly name = 'GateLeftError';
  constructor() {
    super('Nobody waits for this any longer');
  }
}
