/** Why work did not have its turn: too much of that server waits already, or nobody waits for it any more. */
export class NoTurn extends Error {
  override readonly name = 'NoTurn';
  readonly kind: 'full' | 'left';

  constructor(kind: NoTurn['kind']) {
    super(kind === 'full' ? 'Too much of this server is waiting already' : 'Nobody waits for it any more');
    this.kind = kind;
  }
}

interface Waiting {
  readonly begin: () => void;
}

/** Work for one server is done one after the other, in the order it came; that for different servers side by side. */
export class OriginLanes {
  readonly #mostWaiting: number;
  /** Servers with work under way, and what waits behind it. */
  readonly #lanes = new Map<string, Waiting[]>();

  constructor(mostWaiting: number) {
    this.#mostWaiting = mostWaiting;
  }

  /** Servers that have work under way. */
  get size(): number {
    return this.#lanes.size;
  }

  /**
   * What `work` gives. Its place is that of this call. Rejects with `NoTurn`, the work not begun, when as much
   * is waiting as may, and when `gone` aborts before its turn.
   */
  async run<T>(origin: string, work: () => Promise<T>, gone?: AbortSignal): Promise<T> {
    await this.#turn(origin, gone);
    try {
      return await work();
    } finally {
      this.#next(origin);
    }
  }

  #turn(origin: string, gone: AbortSignal | undefined): Promise<void> {
    if (gone?.aborted) return Promise.reject(new NoTurn('left'));
    const lane = this.#lanes.get(origin);
    if (lane === undefined) {
      this.#lanes.set(origin, []);
      return Promise.resolve();
    }
    if (lane.length >= this.#mostWaiting) return Promise.reject(new NoTurn('full'));
    return new Promise((resolve, reject) => {
      const leave = () => {
        lane.splice(lane.indexOf(waiting), 1);
        reject(new NoTurn('left'));
      };
      const waiting: Waiting = {
        begin() {
          gone?.removeEventListener('abort', leave);
          resolve();
        },
      };
      lane.push(waiting);
      gone?.addEventListener('abort', leave, { once: true });
    });
  }

  #next(origin: string): void {
    const waiting = this.#lanes.get(origin)?.shift();
    if (waiting === undefined) this.#lanes.delete(origin);
    else waiting.begin();
  }
}
