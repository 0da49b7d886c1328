/** Lets so much work run at once; the rest waits in order. */
export class Gate {
  readonly #width: number;
  readonly #maxWaiting: number;
  readonly #waiting: (() => void)[] = [];
  #running = 0;

  constructor(width: number, maxWaiting = Number.POSITIVE_INFINITY) {
    this.#width = width;
    this.#maxWaiting = maxWaiting;
  }

  /** Rejects with `GateFullError` when too much is waiting already. */
  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#running < this.#width) this.#running++;
    else await this.#turn();
    try {
      return await work();
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#running--;
      else next();
    }
  }

  #turn(): Promise<void> {
    if (this.#waiting.length >= this.#maxWaiting) return Promise.reject(new GateFullError());
    return new Promise((resolve) => this.#waiting.push(resolve));
  }
}

export class GateFullError extends Error {
  override readonly name = 'GateFullError';
  constructor() {
    super('Too much is waiting already');
  }
}
