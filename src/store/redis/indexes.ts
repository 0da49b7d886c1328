import type { Clock } from '../../platform/clock.ts';
import type { RedisConnection } from './connection.ts';
import { CHECKS_KEY } from './keys.ts';
import { asList, asText, asTexts } from './replies.ts';
import { scripts } from './scripts.ts';

/**
 * How long after a member was noted it is kept even without a record. Far more than the commands between noting
 * a member and writing its record can take.
 */
const GRACE_MS = 30_000;
const CHECKS_AT_ONCE = 500;

/** A set of record owners (rooms, devices, servers), kept in another hash slot than their records. */
export interface Index {
  /** Names this kind of index in the list of checks; never given twice. */
  readonly name: string;
  /** The index's key; `scope` is the room of an index that each room has, else `''`. */
  key(scope: string): string;
  /** Whether the member has a record. */
  holds(scope: string, member: string): Promise<boolean>;
}

export interface IndexEntry {
  readonly index: Index;
  readonly scope: string;
  readonly member: string;
}

/**
 * Keeps indexes right without a transaction across hash slots.
 *
 * Whoever adds a record first lists a check, then notes the member, then writes the record; whoever removes one
 * lists a check first. A check that is due looks for the record and takes the member out if there is none and it
 * has not been noted since. So a crash at any point leaves at most a member without a record, which readers pass
 * over and the check removes; never a record without its member.
 */
export class Indexes {
  readonly #redis: RedisConnection;
  readonly #clock: Clock;
  readonly #graceMs: number;
  readonly #byName = new Map<string, Index>();

  constructor(redis: RedisConnection, clock: Clock, graceMs = GRACE_MS) {
    this.#redis = redis;
    this.#clock = clock;
    this.#graceMs = graceMs;
  }

  register<T extends Index>(index: T): T {
    this.#byName.set(index.name, index);
    return index;
  }

  /** Runs `work`, which may add the records of these entries. */
  async adding<T>(entries: readonly IndexEntry[], work: () => Promise<T>): Promise<T> {
    await this.#note(entries);
    const noted = this.#clock.now();
    const result = await work();
    // This process may have been stopped in between for longer than the members are kept without records.
    if (Math.abs(this.#clock.now() - noted) > this.#graceMs / 2) await this.#note(entries);
    return result;
  }

  /** To be called before the records of these entries are removed. */
  async removing(entries: readonly IndexEntry[]): Promise<void> {
    await Promise.all(entries.map((entry) => this.#listCheck(entry)));
  }

  /** Its members; some may have no record (any more). */
  async members(index: Index, scope = ''): Promise<string[]> {
    return asTexts(await this.#redis.call('ZRANGE', index.key(scope), 0, -1));
  }

  /** Works off the checks that are due. Any number of processes may do so at once. */
  async reconcile(): Promise<void> {
    for (;;) {
      const [now, due] = asList(await this.#redis.run(scripts.indexDue, [CHECKS_KEY], [CHECKS_AT_ONCE]));
      const texts = asTexts(due);
      for (let i = 0; i + 1 < texts.length; i += 2) {
        await this.#check(texts[i] as string, texts[i + 1] as string, Number(asText(now)));
      }
      if (texts.length < 2 * CHECKS_AT_ONCE) return;
    }
  }

  async #check(check: string, listedFor: string, now: number): Promise<void> {
    const entry = this.#parseCheck(check);
    if (entry !== null && !(await entry.index.holds(entry.scope, entry.member))) {
      const key = entry.index.key(entry.scope);
      await this.#redis.run(scripts.indexForget, [key], [entry.member, now - this.#graceMs]);
    }
    await this.#redis.run(scripts.indexForget, [CHECKS_KEY], [check, listedFor]);
  }

  async #note(entries: readonly IndexEntry[]): Promise<void> {
    await this.removing(entries);
    await Promise.all(
      entries.map(({ index, scope, member }) =>
        this.#redis.run(scripts.indexTouch, [index.key(scope)], [member, 0]),
      ),
    );
  }

  async #listCheck({ index, scope, member }: IndexEntry): Promise<void> {
    const check = JSON.stringify([index.name, scope, member]);
    // A little later than the grace, as the member is noted only after this.
    await this.#redis.run(scripts.indexTouch, [CHECKS_KEY], [check, this.#graceMs * 1.5]);
  }

  #parseCheck(check: string): IndexEntry | null {
    const parts: unknown = JSON.parse(check);
    if (!Array.isArray(parts)) return null;
    const [name, scope, member] = parts.map(String);
    const index = this.#byName.get(name ?? '');
    if (index === undefined || scope === undefined || member === undefined) return null;
    return { index, scope, member };
  }
}
