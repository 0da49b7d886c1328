/** Work that is under way for a key is shared by everybody who asks for the same meanwhile. */
export class SingleFlight<T> {
  readonly #running = new Map<string, Promise<T>>();

  run(key: string, work: () => Promise<T>): Promise<T> {
    const running = this.#running.get(key);
    if (running !== undefined) return running;
    const started = Promise.resolve()
      .then(work)
      .finally(() => this.#running.delete(key));
    this.#running.set(key, started);
    return started;
  }

  has(key: string): boolean {
    return this.#running.has(key);
  }

  get size(): number {
    return this.#running.size;
  }
}

interface Flight<T> {
  readonly result: Promise<T>;
  readonly deserted: AbortController;
  waiting: number;
}

/** The same for work of which those who wait may leave. */
export class LeavableFlight<T> {
  readonly #running = new Map<string, Flight<T>>();

  /**
   * Who leaves by `signal` gets `LeftError`; the signal given to `work` aborts when nobody is left. Whoever comes
   * after that begins anew.
   */
  run(key: string, signal: AbortSignal | undefined, work: (deserted: AbortSignal) => Promise<T>): Promise<T> {
    if (signal?.aborted) return Promise.reject(new LeftError());
    const flight = this.#running.get(key) ?? this.#start(key, work);
    flight.waiting++;
    if (signal === undefined) return flight.result;
    return new Promise((resolve, reject) => {
      const left = () => {
        reject(new LeftError());
        if (--flight.waiting > 0) return;
        this.#ended(key, flight);
        flight.deserted.abort();
      };
      signal.addEventListener('abort', left, { once: true });
      flight.result.then(resolve, reject).finally(() => signal.removeEventListener('abort', left));
    });
  }

  #start(key: string, work: (deserted: AbortSignal) => Promise<T>): Flight<T> {
    const deserted = new AbortController();
    const result = Promise.resolve().then(() => work(deserted.signal));
    const flight = { result, deserted, waiting: 0 };
    this.#running.set(key, flight);
    const ended = () => this.#ended(key, flight);
    result.then(ended, ended);
    return flight;
  }

  #ended(key: string, flight: Flight<T>): void {
    if (this.#running.get(key) === flight) this.#running.delete(key);
  }
}

export class LeftError extends Error {
  override readonly name = 'LeftError';
  constructor() {
    super('Whoever waited has left');
  }
}
