import type { Clock, Timer } from '../platform/clock.ts';
import { DeadlineError } from '../platform/deadline.ts';

/** Servers that are asked at once in one race, and of those the ones that one user has named. */
const MOST_AT_ONCE = 30;
const MOST_OF_ONE = 10;

export interface Failed {
  readonly server: string;
  readonly error: unknown;
}

export interface RaceResult<T> {
  readonly winner: { readonly server: string; readonly value: T } | null;
  /** In the order in which they failed; those that were out of time come last. */
  readonly failures: readonly Failed[];
  /** Were still at it when nobody waited for them any more: their attempts have been aborted. */
  readonly losers: readonly string[];
}

export interface RaceTimes {
  readonly clock: Clock;
  /** The next server is tried when the last one is slower than this. */
  readonly nextAfterMs: number;
  /** For the whole race. */
  readonly withinMs: number;
}

/**
 * How it ended for one caller of a race that nobody has won yet: all that they named have failed, or are out of time;
 * `'again'`: the race is out of time, but not the caller.
 */
export type CallerEnd = readonly Failed[] | 'again';

export interface Caller {
  /** For whom the servers are asked; of those of one owner a few are asked at once. */
  readonly owner: string;
  /** In the order in which they are to be asked. */
  readonly servers: readonly string[];
  /** When the caller waits no longer, in ms since the epoch. */
  readonly until: number;
}

interface Lane {
  readonly owner: string;
  readonly until: number;
  waiting: string[];
  /** Asked, and without an answer so far. */
  readonly pending: Set<string>;
  readonly failures: Failed[];
  readonly end: (end: CallerEnd) => void;
  readonly deadline: Timer;
  slow: Timer;
}

interface Running {
  readonly owner: string;
  readonly since: number;
  readonly abort: AbortController;
}

const NO_TIMER: Timer = { cancel: () => {} };

/**
 * Tries servers until one of them succeeds, for several callers. Those of each caller are tried in their order: the
 * next one when one has failed, or beside it when it is slow. Callers come at any time, and none waits for the servers
 * of another; a server that several name is tried once. The first success is everybody's.
 */
export class CandidateRace<T> {
  readonly #times: RaceTimes;
  readonly #lanes = new Set<Lane>();
  readonly #running = new Map<string, Running>();
  readonly #failed = new Map<string, unknown>();
  /** Nobody waited for them any more. */
  readonly #abandoned: string[] = [];
  /** Of each caller whom to ask. */
  readonly #candidates = new Map<Lane, readonly string[]>();
  #attempt: ((server: string, signal: AbortSignal) => Promise<T>) | null = null;
  #order: (servers: readonly string[]) => readonly string[] = (servers) => servers;
  #over: 'won' | 'lost' | null = null;
  #finish: (result: RaceResult<T>) => void = () => {};
  #deadline: Timer = NO_TIMER;

  constructor(times: RaceTimes) {
    this.#times = times;
  }

  /** Resolves when the caller has lost; never, where somebody wins. Who joins before `run` waits for it. */
  join({ owner, servers, until }: Caller): Promise<CallerEnd> {
    return new Promise((end) => {
      if (this.#over === 'lost') end('again');
      if (this.#over !== null) return;
      const failures: Failed[] = [];
      const lane: Lane = {
        owner,
        until,
        waiting: [...servers],
        pending: new Set(),
        failures,
        end,
        slow: NO_TIMER,
        deadline: this.#times.clock.after(until - this.#times.clock.now(), () => this.#outOfTime(lane)),
      };
      this.#lanes.add(lane);
      this.#note(lane);
      if (this.#attempt !== null) this.#begin(lane);
    });
  }

  /** `order` makes the list of whom to ask out of what a caller named. To be called once. Never rejects. */
  run(
    attempt: (server: string, signal: AbortSignal) => Promise<T>,
    order: (servers: readonly string[]) => readonly string[] = this.#order,
  ): Promise<RaceResult<T>> {
    return new Promise((resolve) => {
      this.#finish = resolve;
      this.#attempt = attempt;
      this.#order = order;
      this.#deadline = this.#times.clock.after(this.#times.withinMs, () => this.#raceOutOfTime());
      for (const lane of [...this.#lanes]) this.#begin(lane);
      if (this.#lanes.size === 0) this.#end(null);
    });
  }

  /** Whom all callers named, each once: everybody's first, then everybody's second, and so on. */
  get candidates(): string[] {
    const lists = [...this.#candidates.values()];
    const longest = Math.max(0, ...lists.map((servers) => servers.length));
    const places = Array.from({ length: longest }, (_, place) => place);
    const fairly = places.flatMap((place) => lists.flatMap((servers) => servers[place] ?? []));
    return [...new Set(fairly)];
  }

  #begin(lane: Lane): void {
    lane.waiting = [...this.#order(lane.waiting)];
    this.#note(lane);
    this.#next(lane);
  }

  #note(lane: Lane): void {
    const isKnown = this.#candidates.has(lane) || this.#candidates.size < MOST_AT_ONCE;
    if (isKnown) this.#candidates.set(lane, [...lane.waiting]);
  }

  /** Has the caller's next server asked, or what is asked already for another. */
  #next(lane: Lane): void {
    const { clock, nextAfterMs } = this.#times;
    lane.slow.cancel();
    while (this.#over === null && this.#lanes.has(lane)) {
      const server = lane.waiting.shift();
      if (server === undefined) {
        if (lane.pending.size === 0) this.#leave(lane, lane.failures);
        return;
      }
      if (this.#failed.has(server)) {
        lane.failures.push({ server, error: this.#failed.get(server) });
        continue;
      }
      lane.pending.add(server);
      const slowIn = this.#ask(server, lane.owner) + nextAfterMs - clock.now();
      if (slowIn <= 0) continue;
      lane.slow = clock.after(slowIn, () => this.#next(lane));
      return;
    }
  }

  /** Returns since when the server is asked. */
  #ask(server: string, owner: string): number {
    const running = this.#running.get(server);
    if (running !== undefined) return running.since;
    this.#makePlace(owner);
    const abort = new AbortController();
    const since = this.#times.clock.now();
    this.#running.set(server, { owner, since, abort });
    this.#attempt?.(server, abort.signal).then(
      (value) => {
        if (!abort.signal.aborted) this.#end({ server, value });
      },
      (error: unknown) => {
        if (this.#over === null && !abort.signal.aborted) this.#hasFailed(server, error);
      },
    );
    return since;
  }

  /** Whoever has the most servers asked gives up the one that has been silent for the longest. */
  #makePlace(owner: string): void {
    const byOwner = Map.groupBy(this.#running.keys(), (server) => this.#running.get(server)?.owner ?? '');
    const own = byOwner.get(owner) ?? [];
    const [most = own] = [...byOwner.values()].toSorted((a, b) => b.length - a.length);
    const crowded = own.length >= MOST_OF_ONE ? own : this.#running.size >= MOST_AT_ONCE ? most : [];
    const [oldest] = crowded;
    if (oldest === undefined) return;
    this.#abandon(oldest);
    // Whoever waits for it goes on in their own time, so that one eviction does not lead to the next.
    for (const lane of this.#noteFailed(oldest, new Error('it did not answer before others were asked'))) {
      if (lane.waiting.length === 0 && lane.pending.size === 0) this.#leave(lane, lane.failures);
    }
  }

  #hasFailed(server: string, error: unknown): void {
    this.#running.delete(server);
    for (const lane of this.#noteFailed(server, error)) this.#next(lane);
  }

  /** Returns who has been waiting for it. */
  #noteFailed(server: string, error: unknown): Lane[] {
    this.#failed.set(server, error);
    const waiting = [...this.#lanes].filter((lane) => lane.pending.delete(server));
    for (const lane of waiting) lane.failures.push({ server, error });
    return waiting;
  }

  #abandon(server: string): void {
    this.#running.get(server)?.abort.abort();
    this.#running.delete(server);
    this.#abandoned.push(server);
  }

  #outOfTime(lane: Lane): void {
    const error = new DeadlineError(`no answer that can be used within ${this.#times.withinMs} ms`);
    const late = [...lane.pending].map((server) => ({ server, error }));
    for (const { server } of late) {
      if ([...this.#lanes].some((other) => other !== lane && other.pending.has(server))) continue;
      this.#abandon(server);
      this.#failed.set(server, error);
    }
    this.#leave(lane, [...lane.failures, ...late]);
  }

  #leave(lane: Lane, end: CallerEnd): void {
    lane.slow.cancel();
    lane.deadline.cancel();
    this.#lanes.delete(lane);
    lane.end(end);
    if (this.#lanes.size === 0) this.#end(null);
  }

  /** A caller who came later, and has time left, begins another race. */
  #raceOutOfTime(): void {
    const now = this.#times.clock.now();
    for (const lane of [...this.#lanes]) if (lane.until <= now) this.#outOfTime(lane);
    this.#end(null);
  }

  #end(winner: RaceResult<T>['winner']): void {
    if (this.#over !== null) return;
    this.#over = winner === null ? 'lost' : 'won';
    this.#deadline.cancel();
    for (const lane of [...this.#lanes]) {
      lane.slow.cancel();
      lane.deadline.cancel();
      if (winner === null) lane.end('again');
    }
    const losers = [...this.#running.keys()].filter((server) => server !== winner?.server);
    for (const server of losers) this.#running.get(server)?.abort.abort();
    const failures = [...this.#failed].map(([server, error]) => ({ server, error }));
    this.#finish({ winner, failures, losers: [...this.#abandoned, ...losers] });
  }
}
