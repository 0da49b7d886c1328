import type { HomeserverReport } from '../homeserver/probe.ts';
import type { Clock } from '../platform/clock.ts';
import type { Logger } from '../platform/log.ts';
import type { PeekingSwitch } from './peeking-switch.ts';

const RETRY_MIN_MS = 500;
const RETRY_MAX_MS = 10_000;
/** While all is well the homeserver is looked at again after this time. */
const AGAIN_MS = 60_000;
/** `/health` is content with a report of this age. */
const FRESH_MS = 5_000;
/** However many requests ask for another look, there is no more than one in this time. */
const LOOKS_APART_MS = 100;

/**
 * Waits for the homeserver, and looks again from time to time: peeking is on while it answers with the name and
 * the key that we were told, and off otherwise.
 */
export class HomeserverWatch {
  readonly #probe: () => Promise<HomeserverReport>;
  readonly #switch: PeekingSwitch;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #abort = new AbortController();
  /** It has answered at least once, whatever it said. */
  heard = false;
  report: HomeserverReport | null = null;
  #lookedOnce = () => {};
  /** The first look is over: peeking is on, or it is known why not. */
  readonly firstLook = new Promise<void>((resolve) => {
    this.#lookedOnce = resolve;
  });
  #look = Promise.withResolvers<void>();
  #hurry = new AbortController();
  #reportedAt = Number.NEGATIVE_INFINITY;
  #warned = false;
  /** It does not answer while peeking is on, and the log has said so. */
  #away = false;

  constructor(deps: {
    probe: () => Promise<HomeserverReport>;
    peekingSwitch: PeekingSwitch;
    clock: Clock;
    logger: Logger;
  }) {
    this.#probe = deps.probe;
    this.#switch = deps.peekingSwitch;
    this.#clock = deps.clock;
    this.#logger = deps.logger;
  }

  /** `turnedOn` is called each time peeking comes on; when it fails, peeking stays off and it is tried again. */
  async run(turnedOn: () => Promise<void>): Promise<void> {
    let retry = RETRY_MIN_MS;
    while (!this.#abort.signal.aborted) {
      const good = await this.#lookOnce(turnedOn).catch((error: unknown) => {
        this.#logger.error({ err: error }, 'the homeserver could not be looked at; it is tried again');
        return false;
      });
      this.#lookedOnce();
      this.#look.resolve();
      this.#look = Promise.withResolvers();
      await this.#pause(good ? AGAIN_MS : retry);
      retry = good ? RETRY_MIN_MS : Math.min(retry * 2, RETRY_MAX_MS);
    }
    this.#look.resolve();
  }

  /** Until it is time for the next look, or somebody asks for it. */
  async #pause(ms: number): Promise<void> {
    this.#hurry = new AbortController();
    await this.#clock.sleep(LOOKS_APART_MS, this.#abort.signal);
    if (this.#hurry.signal.aborted || this.#abort.signal.aborted) return;
    const stopped = () => this.#hurry.abort();
    this.#abort.signal.addEventListener('abort', stopped, { once: true });
    await this.#clock.sleep(ms - LOOKS_APART_MS, this.#hurry.signal);
    this.#abort.signal.removeEventListener('abort', stopped);
  }

  /**
   * While peeking is off because the homeserver or the store did not answer: looks again now, and resolves when
   * peeking is on or it is known that it is not yet.
   */
  async lookAgain(): Promise<void> {
    const kind = this.report?.problem?.kind;
    const passing = kind === undefined || kind === 'down' || kind === 'no-reader';
    if (this.#switch.on || !passing || this.#abort.signal.aborted) return;
    this.#hurry.abort();
    await this.#look.promise;
  }

  /** The newest report, asked for anew when it is older than a few seconds. */
  async fresh(): Promise<HomeserverReport | null> {
    if (this.#clock.now() - this.#reportedAt > FRESH_MS) this.#note(await this.#probe());
    return this.report;
  }

  stop(): void {
    this.#abort.abort();
  }

  #note(report: HomeserverReport): HomeserverReport {
    this.report = report;
    this.#reportedAt = this.#clock.now();
    if (report.reachable) this.heard = true;
    this.#tellWhetherAway(report);
    return report;
  }

  /** An outage that peeking outlasts has two lines in the log: its beginning and its end. */
  #tellWhetherAway({ problem }: HomeserverReport): void {
    const away = problem?.kind === 'down' && this.#switch.on;
    if (away && !this.#away) {
      this.#logger.error(
        { reason: problem.reason, advice: problem.advice },
        'the homeserver is away; all that needs it is answered 502 until it is back',
      );
    }
    if (this.#away && problem?.kind !== 'down') this.#logger.info('the homeserver is back');
    this.#away = away;
  }

  async #lookOnce(turnedOn: () => Promise<void>): Promise<boolean> {
    const report = this.#note(await this.#probe());
    const { problem } = report;
    if (problem?.kind === 'no-reader' && !this.#warned) {
      this.#logger.warn(
        { reason: problem.reason, advice: problem.advice },
        'rooms of this homeserver cannot be peeked',
      );
    }
    this.#warned = problem?.kind === 'no-reader';
    const fatal = problem !== null && problem.kind !== 'no-reader';
    if (fatal) {
      // A homeserver that is away for a moment changes nothing: requests that need it fail by themselves.
      if (problem.kind === 'down' && this.#switch.on) return false;
      if (this.#switch.off?.reason !== problem.reason) {
        this.#logger.error({ reason: problem.reason, advice: problem.advice }, 'peeking is off');
      }
      this.#switch.turnOff(problem.reason, problem.advice);
      return false;
    }
    if (this.#switch.on) return true;
    try {
      await turnedOn();
      this.#switch.turnOn();
      this.#logger.info({ homeserver: report.version }, 'peeking is on');
      return true;
    } catch (error) {
      this.#logger.error({ reason: String(error) }, 'peeking cannot start; it is tried again');
      this.#switch.turnOff(String(error), 'See the log; it is tried again by itself.');
      return false;
    }
  }
}
