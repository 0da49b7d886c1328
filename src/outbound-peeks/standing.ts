import type { OutboundPeek } from '../store/store.ts';
import { renewedAt } from './renewal.ts';

/** A server that said nothing at all for so long is asked whether it is there. */
export const SILENT_MS = 5 * 60_000;
/** … and one that has failed, so often. */
const ASKED_AGAIN_MS = 60_000;
/** So many failures in a row, at least a minute apart, and the server counts as lost: a restart takes less. */
const LOST_AFTER = 2;

interface Troubled {
  readonly failures: number;
  readonly failedAt: number;
}

/** How the servers that we peek through are doing: which of them ought to be asked, and which are lost. */
export class Standing {
  readonly #askedAt = new Map<string, number>();
  readonly #troubled = new Map<string, Troubled>();

  /** Any word of the server. */
  heard(server: string): void {
    this.#troubled.delete(server);
  }

  /** It did not answer. Failures that come together, as those of many rooms do, count once. */
  failed(server: string, now: number): void {
    this.#askedAt.set(server, now);
    const before = this.#troubled.get(server);
    if (before !== undefined && now < before.failedAt + ASKED_AGAIN_MS) return;
    this.#troubled.set(server, { failures: (before?.failures ?? 0) + 1, failedAt: now });
  }

  isTroubled(server: string): boolean {
    return this.#troubled.has(server);
  }

  isLost(server: string): boolean {
    return (this.#troubled.get(server)?.failures ?? 0) >= LOST_AFTER;
  }

  /**
   * One peek of each server that ought to be asked now: nothing was heard of it for five minutes, in any room, or
   * a request to it has failed. At most once a minute each.
   */
  toAsk(live: readonly OutboundPeek[], hasFailed: (server: string) => boolean, now: number): Set<string> {
    const servers = Map.groupBy(live, ({ server }) => server);
    for (const server of [...this.#askedAt.keys(), ...this.#troubled.keys()]) {
      if (servers.has(server)) continue;
      this.#askedAt.delete(server);
      this.#troubled.delete(server);
    }
    const chosen = new Set<string>();
    for (const [server, peeks] of servers) {
      const lastWord = Math.max(...peeks.map((peek) => Math.max(peek.heardAt, renewedAt(peek))));
      const suspect = lastWord + SILENT_MS <= now || this.isTroubled(server) || hasFailed(server);
      const askedAt = this.#askedAt.get(server) ?? Number.NEGATIVE_INFINITY;
      const [first] = peeks.toSorted((a, b) => a.renewAt - b.renewAt);
      if (!suspect || askedAt + ASKED_AGAIN_MS > now || first === undefined) continue;
      this.#askedAt.set(server, now);
      chosen.add(first.peekId);
    }
    return chosen;
  }
}
