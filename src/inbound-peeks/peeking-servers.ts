import type { Store } from '../store/store.ts';

/**
 * Which servers peek into our rooms, known in memory: reads of all other servers pass by without a question to
 * the store. A server that has ended its last peek is forgotten a moment later.
 */
export class PeekingServers {
  readonly #store: Pick<Store, 'inboundPeeks' | 'subscribe'>;
  readonly #known = new Set<string>();
  #unsubscribe: (() => void) | null = null;

  constructor(store: Pick<Store, 'inboundPeeks' | 'subscribe'>) {
    this.#store = store;
  }

  /** Rejects with `StoreDownError`. */
  async start(): Promise<void> {
    this.#unsubscribe ??= this.#store.subscribe((notice) => {
      if (notice.kind === 'inbound') void this.#learn(notice.server);
    });
    for (const { server } of await this.#store.inboundPeeks.all()) this.#known.add(server);
  }

  stop(): void {
    this.#unsubscribe?.();
    this.#unsubscribe = null;
  }

  has(server: string): boolean {
    return this.#known.has(server);
  }

  async #learn(server: string): Promise<void> {
    this.#known.add(server);
    try {
      if ((await this.#store.inboundPeeks.ofServer(server)).length === 0) this.#known.delete(server);
    } catch {
      // In doubt it peeks: what it may read is looked up once more when it reads.
    }
  }
}
