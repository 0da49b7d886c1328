import { LRUCache } from 'lru-cache';
import { PeekAnswerUnusable } from '../feeds/answers/peek-answer.ts';
import type { Clock } from '../platform/clock.ts';
import { DeadlineError } from '../platform/deadline.ts';
import { AddressRefusedError } from '../platform/guarded-agent.ts';
import { RemoteRefusal, RemoteUnreachable } from '../remote-servers/remote-servers.ts';
import { isUnrecognized } from './candidates.ts';

/** After the first failure; doubled with each further one. A user who tries again at once is told why. */
const FIRST_MS = 5_000;
const LONGEST_MS = 10 * 60_000;
/** A server without MSC2444 gets it when it is upgraded. */
const CANNOT_MS = 60_000;
const MAX_REMEMBERED = 10_000;

interface Failed {
  readonly times: number;
  readonly until: number;
  readonly why: string;
}

/** The server is not asked: it has just failed for somebody else. */
export class AskedLately extends Error {
  override readonly name = 'AskedLately';
}

/**
 * Which servers failed as candidates a moment ago, whoever wanted to peek: the next user does not wait for them
 * again. What a server says of a room (403, 404) is not remembered: it costs nobody time, and may change.
 */
export class RecentFailures {
  readonly #clock: Clock;
  /** By server, and by server and room where another room may fare better. */
  readonly #failed = new LRUCache<string, Failed>({ max: MAX_REMEMBERED });

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Throws `AskedLately` while the server is left in peace. */
  check(server: string, roomId: string): void {
    const now = this.#clock.now();
    for (const key of [server, keyOf(server, roomId)]) {
      const failed = this.#failed.get(key);
      if (failed === undefined || failed.until <= now) continue;
      const seconds = Math.ceil((failed.until - now) / 1000);
      throw new AskedLately(`${failed.why} a moment ago, and is asked again in ${seconds} s`);
    }
  }

  failed(server: string, roomId: string, error: unknown): void {
    if (error instanceof RemoteRefusal && error.status < 500) this.#failed.delete(server);
    if (isUnrecognized(error)) this.#note(server, 'it could not be peeked', CANNOT_MS);
    else if (error instanceof RemoteUnreachable || error instanceof DeadlineError) {
      const refused = ownRefusal(error);
      this.#note(server, refused === null ? 'it did not answer' : `it was not asked (${refused})`);
    } else if (error instanceof RemoteRefusal && error.status > 500) {
      this.#note(server, `it answered ${error.status}`);
    } else if (error instanceof RemoteRefusal && (error.status === 500 || error.status === 429)) {
      this.#note(keyOf(server, roomId), `it answered ${error.status}`);
    } else if (error instanceof PeekAnswerUnusable && error.kind === 'invalid') {
      this.#note(keyOf(server, roomId), 'its answer could not be used');
    }
  }

  succeeded(server: string, roomId: string): void {
    this.#failed.delete(server);
    this.#failed.delete(keyOf(server, roomId));
  }

  #note(key: string, why: string, ms?: number): void {
    const times = (this.#failed.get(key)?.times ?? 0) + 1;
    const wait = ms ?? Math.min(LONGEST_MS, FIRST_MS * 2 ** Math.min(times - 1, 20));
    this.#failed.set(key, { times, until: this.#clock.now() + wait, why });
  }
}

/** Why our own address guard let nothing through to the server; null where it had no part in it. */
function ownRefusal(error: unknown): string | null {
  for (let cause = error, depth = 0; cause instanceof Error && depth < 5; cause = cause.cause, depth++) {
    if (cause instanceof AddressRefusedError) return cause.message;
  }
  return null;
}

function keyOf(server: string, roomId: string): string {
  return `${server} ${roomId}`;
}
