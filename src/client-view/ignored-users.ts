import { LRUCache } from 'lru-cache';
import type { Caller, Homeserver } from '../homeserver/homeserver.ts';
import { isObject, type JsonObject } from '../matrix/json.ts';
import type { Clock } from '../platform/clock.ts';
import { SingleFlight } from '../platform/single-flight.ts';

/** A list that was changed where nobody here sees it is believed no longer than this. */
const FRESH_MS = 60_000;
/** A homeserver that could not say is asked again after this. */
const RETRY_AFTER_MS = 5_000;
/** An answer to a client waits no longer for the list. */
const PATIENCE_MS = 2_000;
const MOST_USERS = 10_000;
/** Names in all the lists together, some 50 bytes each. */
const MOST_NAMES = 500_000;

const TYPE = 'm.ignored_user_list';
const PLACE =
  /^\/_matrix\/client\/(?:api\/v1|r0|v3|unstable(?:\/org\.matrix\.msc3391)?)\/user\/([^/]+)\/account_data\/m\.ignored_user_list$/;
const IN_SYNC = Buffer.from(`"${TYPE}"`);

/** Whose events one user does not want to see (client-server API, "Ignoring Users"). */
export class IgnoredSenders {
  readonly #users: ReadonlySet<string>;

  constructor(users: Iterable<string> = []) {
    this.#users = new Set(users);
  }

  get size(): number {
    return this.#users.size;
  }

  ignores(sender: string): boolean {
    return this.#users.has(sender);
  }

  /**
   * Whether this user is not shown the event, in client format or as a PDU: one without `state_key` of an ignored
   * sender. State is always shown, in timelines too, whoever sent it: so does Synapse.
   */
  hides(event: JsonObject): boolean {
    return (
      typeof event.sender === 'string' && this.#users.has(event.sender) && !Object.hasOwn(event, 'state_key')
    );
  }
}

/** Nobody is ignored. */
export const NOBODY_IGNORED = new IgnoredSenders();

/**
 * The `m.ignored_user_list` of those who are shown events here, as the homeserver has it for them.
 *
 * To be applied to every event that leaves for a user: with `hides` to events of a timeline (sections of `/sync`,
 * `chunk`, `messages`, `events_before` and `events_after`, what is bundled under `m.relations` or a thread's
 * `latest_event`), before a limit counts them where that can be done. An event that is asked for by its ID
 * (`/event`, `/context`) and hidden is not there: 404 `M_NOT_FOUND`. Lists of state (`/state`, `/members`, the
 * `state` of a section) are left as they are.
 */
export class IgnoredUsers {
  readonly #homeserver: Pick<Homeserver, 'accountData'>;
  readonly #clock: Clock;
  readonly #known = new LRUCache<string, { list: IgnoredSenders; until: number }>({
    max: MOST_USERS,
    maxSize: MOST_NAMES,
    sizeCalculation: ({ list }) => 1 + list.size,
  });
  readonly #asking = new SingleFlight<IgnoredSenders>();
  /** Counts what was forgotten: an answer to a question asked before that is not believed after it. */
  #era = 0;

  constructor(homeserver: Pick<Homeserver, 'accountData'>, clock: Clock) {
    this.#homeserver = homeserver;
    this.#clock = clock;
  }

  /**
   * Asked of the homeserver with the user's own credentials, once a minute at most. Never rejects, and takes two
   * seconds at most: a homeserver that does not say leaves the list that was known last, or nobody ignored.
   */
  async of({
    userId,
    caller,
  }: {
    readonly userId: string;
    readonly caller: Caller;
  }): Promise<IgnoredSenders> {
    const known = this.#known.get(userId);
    if (known !== undefined && this.#clock.now() < known.until) return known.list;
    const waiting = new AbortController();
    const patience = this.#clock.sleep(PATIENCE_MS, waiting.signal);
    const asked = this.#asking.run(`${this.#era} ${userId}`, () => this.#ask(userId, caller));
    try {
      return await Promise.race([asked, patience.then(() => known?.list ?? NOBODY_IGNORED)]);
    } finally {
      waiting.abort();
    }
  }

  /** The list may be another one now: it is asked for when it is next needed. */
  forget(userId: string): void {
    this.#era++;
    const known = this.#known.get(userId);
    if (known !== undefined) this.#known.set(userId, { ...known, until: Number.NEGATIVE_INFINITY });
  }

  /** The homeserver's `/sync` answer for this user, whole: one that speaks of the list has it changed. */
  sawSync(userId: string, body: Buffer): void {
    if (this.#known.has(userId) && body.includes(IN_SYNC)) this.forget(userId);
  }

  async #ask(userId: string, caller: Caller): Promise<IgnoredSenders> {
    const era = this.#era;
    try {
      const list = listOf(await this.#homeserver.accountData(caller, userId, TYPE), userId);
      if (era === this.#era) this.#keep(userId, list, FRESH_MS);
      return list;
    } catch {
      const list = this.#known.get(userId)?.list ?? NOBODY_IGNORED;
      if (era === this.#era) this.#keep(userId, list, RETRY_AFTER_MS);
      return list;
    }
  }

  #keep(userId: string, list: IgnoredSenders, ms: number): void {
    this.#known.set(userId, { list, until: this.#clock.now() + ms });
  }
}

/** Whose list a request to this path would change; null for any other path. */
export function ignoredUsersChanged(path: string): string | null {
  const segment = PLACE.exec(path)?.[1];
  if (segment === undefined) return null;
  try {
    return decodeURIComponent(segment);
  } catch {
    return null;
  }
}

/** What is malformed ignores nobody, and nobody ignores themselves: as Synapse takes it. */
function listOf(content: JsonObject | null, userId: string): IgnoredSenders {
  const users = content?.ignored_users;
  return isObject(users)
    ? new IgnoredSenders(Object.keys(users).filter((user) => user !== userId))
    : NOBODY_IGNORED;
}
