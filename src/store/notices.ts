import type { Logger } from '../platform/log.ts';
import type { Notice } from './store.ts';

/** The listeners of this process. A listener that throws is logged; it disturbs neither the store nor the others. */
export class Notices {
  readonly #listeners = new Set<(notice: Notice) => void>();
  readonly #logger: Logger;

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  subscribe(listener: (notice: Notice) => void): () => void {
    // Wrapped, so that a function which subscribes twice is heard twice and leaves once for each.
    const own = (notice: Notice) => listener(notice);
    this.#listeners.add(own);
    return () => this.#listeners.delete(own);
  }

  /** Delivers after the current work, so that a listener may call the store again. */
  emit(notice: Notice): void {
    if (this.#listeners.size === 0) return;
    queueMicrotask(() => {
      for (const listener of this.#listeners) {
        try {
          listener(notice);
        } catch (error) {
          this.#logger.error({ err: error, notice: notice.kind }, 'a listener of the store failed');
        }
      }
    });
  }

  clear(): void {
    this.#listeners.clear();
  }
}
