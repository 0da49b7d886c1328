import { LRUCache } from 'lru-cache';

/**
 * Under which name a section has the room's state: at the start of the timeline, or (MSC4222) at its end, where
 * that was asked for and the homeserver knows it, by its unstable name or its own.
 */
export type StateName = 'state' | 'state_after' | 'org.matrix.msc4222.state_after';

export const STATE_NAMES: readonly StateName[] = ['org.matrix.msc4222.state_after', 'state_after', 'state'];

/** What a request says of it. */
export interface StateWish {
  /** Asked for by one of the two names; false: not asked for. */
  readonly useStateAfter: boolean;
  /** The request's target, with the parameter's name as it was used. */
  readonly target: string;
}

const MAX_USERS = 10_000;
const STABLE = /[?&]use_state_after=true(&|$)/;

/**
 * Whether the homeserver honours MSC4222, which Synapse decides for each user and does not announce: seen from
 * its answers. Until one of them has had a room, the state is where it always was; a client has to look at each
 * room for the name that is used (MSC4222).
 */
export class StateNames {
  readonly #seen = new LRUCache<string, StateName>({ max: MAX_USERS });

  /** The name that the homeserver used last in an answer to this user who asked in the same way. */
  expected(userId: string, wish: StateWish): StateName {
    return wish.useStateAfter ? (this.#seen.get(key(userId, wish)) ?? 'state') : 'state';
  }

  /** The name that the homeserver has used in this answer. */
  saw(userId: string, wish: StateWish, name: StateName): void {
    if (wish.useStateAfter) this.#seen.set(key(userId, wish), name);
  }
}

function key(userId: string, { target }: StateWish): string {
  return JSON.stringify([userId, STABLE.test(target)]);
}
