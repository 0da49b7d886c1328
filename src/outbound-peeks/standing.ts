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

/**
 * How the servers that we peek through are doing: which of them ought to be asked, which are lost, and which peeks
 * nobody lets us have any more.
 */
export class Standing {
  readonly #askedAt = new Map<string, number>();
  readonly #troubled = new Map<string, Troubled>();
  /** By peek ID, until somebody lets us: when we ask again. */
  readonly #turnedAway = new Map<string, number>();

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

  /** Nobody lets us have what this peek is for, or nobody answers; `again`: when we ask anew, in ms since the epoch. */
  turnedAway(peekId: string, again: number): void {
    this.#turnedAway.set(peekId, again);
  }

  letIn(peekId: string): void {
    this.#turnedAway.delete(peekId);
  }

  /** When we ask anew for a peek that nobody lets us have; null while it is well, as far as we know. */
  asksAgainAt(peekId: string): number | null {
    return this.#turnedAway.get(peekId) ?? null;
  }

  /** The peek brings nothing just now: its server does not answer, or nobody lets us. */
  isFailing({ server, peekId }: OutboundPeek): boolean {
    return this.isTroubled(server) || this.#turnedAway.has(peekId);
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
    const peekIds = new Set(live.map(({ peekId }) => peekId));
    for (const peekId of this.#turnedAway.keys()) if (!peekIds.has(peekId)) this.#turnedAway.delete(peekId);
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
