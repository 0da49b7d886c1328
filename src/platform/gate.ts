/** Lets so much work run at once; the rest waits in order. */
export class Gate {
  readonly #width: number;
  readonly #maxWaiting: number;
  readonly #waiting = new Set<() => void>();
  #running = 0;

  constructor(width: number, maxWaiting = Number.POSITIVE_INFINITY) {
    this.#width = width;
    this.#maxWaiting = maxWaiting;
  }

  /**
   * Rejects with `GateFullError` when too much is waiting already, and with `GateLeftError` when the signal
   * aborts before its turn. Work that has begun is not stopped.
   */
  async run<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    if (signal?.aborted) throw new GateLeftError();
    if (this.#running < this.#width) this.#running++;
    else await this.#turn(signal);
    try {
      return await work();
    } finally {
      const [next] = this.#waiting;
      if (next === undefined) {
        this.#running--;
      } else {
        this.#waiting.delete(next);
        next();
      }
    }
  }

  #turn(signal: AbortSignal | undefined): Promise<void> {
    if (this.#waiting.size >= this.#maxWaiting) return Promise.reject(new GateFullError());
    return new Promise((resolve, reject) => {
      const left = () => {
        this.#waiting.delete(turn);
        reject(new GateLeftError());
      };
      const turn = () => {
        signal?.removeEventListener('abort', left);
        resolve();
      };
      this.#waiting.add(turn);
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
