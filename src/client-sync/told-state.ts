import { LRUCache } from 'lru-cache';
import type { DevicePeek } from '../store/store.ts';

/** What a device has of a room's state: slot → event ID. */
export type Told = ReadonlyMap<string, string>;

export const NOTHING_TOLD: Told = new Map();

/** The device's peek of which something is remembered. */
export type PeekName = Pick<DevicePeek, 'userId' | 'deviceId' | 'instance'>;

interface Snapshot {
  /** The position in the device's token, once it has the answer; and in the token that it asked with. */
  readonly at: number;
  readonly from: number | null;
  /** How it was asked for: another filter shows other events, or others of their fields. */
  readonly filter: string;
  readonly told: Told;
}

/** Answers of one peek that may be the last one which the device has: the newest few. */
const MOST_ANSWERS = 4;
/** Slots remembered of one peek; the state of a room is smaller, but for its members. */
const MOST_SLOTS = 500;
/** Of all peeks together, some 200 bytes each. */
const MOST_IN_ALL = 200_000;

/**
 * What devices have been told of the state of the rooms that they peek: members need not be sent again to lazily
 * loading clients, nor a joined room's state that its peeker has.
 *
 * Kept by the position that an answer's token has, so that it is believed only of a device which presents that
 * token: an answer that was lost, a retry, an older token, and another filter find what was told up to there, or
 * nothing. In the memory of this process alone and bounded: what is forgotten is told again, which does no harm.
 */
export class ToldState {
  readonly #peeks = new LRUCache<string, readonly Snapshot[]>({
    maxSize: MOST_IN_ALL,
    sizeCalculation: (snapshots) => snapshots.reduce((sum, { told }) => sum + told.size + 1, 1),
  });

  /** What a device that presents this position has been told; nothing where that is not known. */
  at(peek: PeekName, position: number | undefined, filter: string): Told {
    const snapshot = this.#peeks.get(name(peek))?.find((s) => s.at === position && s.filter === filter);
    return snapshot?.told ?? NOTHING_TOLD;
  }

  /**
   * An answer to a token that stood at `from` (null: without the peek) leads to `to`, and tells this. `anew`: the
   * device is to forget what it has.
   */
  answered(
    peek: PeekName,
    move: { readonly from: number | null; readonly to: number; readonly filter: string },
    told: Told,
    anew: boolean,
  ): void {
    const { from, to: at, filter } = move;
    const before = anew || from === null ? NOTHING_TOLD : this.at(peek, from, filter);
    if (told.size === 0 && from === at) return;
    const known = this.#peeks.get(name(peek)) ?? [];
    const same = known.find((snapshot) => snapshot.at === at && snapshot.filter === filter);
    const now = joined(before, told);
    // Two answers lead to one position: only what both of them told is sure.
    const sure = same === undefined || same.from === from ? now : common(same.told, now);
    const others = known.filter((snapshot) => snapshot !== same).slice(1 - MOST_ANSWERS);
    this.#peeks.set(name(peek), [...others, { at, from, filter, told: sure }]);
  }
}

function joined(before: Told, told: Told): Told {
  const all = new Map([...before, ...told]);
  for (const slot of all.keys()) {
    if (all.size <= MOST_SLOTS) break;
    all.delete(slot);
  }
  return all;
}

function common(one: Told, other: Told): Told {
  return new Map([...one].filter(([slot, eventId]) => other.get(slot) === eventId));
}

function name({ userId, deviceId, instance }: PeekName): string {
  return JSON.stringify([userId, deviceId, instance]);
}
