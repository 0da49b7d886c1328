import { MOST_BRANCHES, type PastPlace } from '../../client-view/history-token.ts';
import type { Store } from '../../store/store.ts';
import type { Asking } from './asking.ts';
import type { PastEvent } from './past-event.ts';
import type { PastLoader } from './past-loader.ts';
import type { PastRoom } from './past-room.ts';

/** Branches that one read follows side by side. */
const MOST_WIDE = 100;

/**
 * A walk through the graph of a room, from some events back in time: always the deepest event next that is not yet
 * passed. In an honest room each event is so passed once, after all that follow it. A predecessor that is not less
 * deep than the event which names it is not followed: so no walk goes in circles, whatever depths are claimed.
 */
export class PastWalk {
  readonly #store: Pick<Store, 'logs'>;
  readonly #loader: PastLoader;
  readonly #room: PastRoom;
  readonly #asking: Asking;
  /** Event ID → all that it may be less deep than. */
  readonly #open: Map<string, number>;
  readonly #loaded = new Map<string, PastEvent>();
  readonly #passed = new Set<string>();
  #isWhole = true;

  constructor(
    deps: { readonly store: Pick<Store, 'logs'>; readonly loader: PastLoader },
    room: PastRoom,
    asking: Asking,
    from: ReadonlyMap<string, number>,
  ) {
    this.#store = deps.store;
    this.#loader = deps.loader;
    this.#room = room;
    this.#asking = asking;
    this.#open = new Map(from);
  }

  /** The events of which the next is one. */
  get ahead(): string[] {
    return [...this.#open.keys()];
  }

  /** Whether every branch that was met is among what was passed or is ahead: none was left out. */
  get isWhole(): boolean {
    return this.#isWhole;
  }

  /** The place just before an event that was passed; of too many branches the deepest, as far as they are known. */
  placeBefore({ depth }: PastEvent, onward: number): PastPlace {
    const depthOf = (id: string) => this.#loaded.get(id)?.depth ?? Number.MAX_VALUE;
    const next = this.ahead.toSorted((a, b) => depthOf(b) - depthOf(a)).slice(0, MOST_BRANCHES);
    const hasSibling = next.some((id) => this.#loaded.get(id)?.depth === depth);
    return { kind: 'past', next, upTo: hasSibling ? depth : Math.max(0, depth - 1), onward };
  }

  /** The next event; null at the end: nothing is before it, or nobody has it. Rejects as `PastLoader.load`. */
  async step(): Promise<PastEvent | null> {
    await this.#loadAhead();
    let next: PastEvent | null = null;
    for (const id of this.#open.keys()) {
      const past = this.#loaded.get(id);
      if (past !== undefined && (next === null || isLater(past, next))) next = past;
    }
    if (next === null) return null;
    this.#open.delete(next.eventId);
    this.#loaded.delete(next.eventId);
    this.#passed.add(next.eventId);
    for (const id of next.previous) {
      if (this.#passed.has(id)) continue;
      if (!this.#open.has(id) && this.#open.size >= MOST_WIDE) this.#isWhole = false;
      else this.#open.set(id, Math.max(next.depth, this.#open.get(id) ?? 0));
    }
    return next;
  }

  /** What the log holds is told from there; what nobody has is left out. */
  async #loadAhead(): Promise<void> {
    const unknown = this.ahead.filter((id) => !this.#loaded.has(id));
    if (unknown.length === 0) return;
    const held = await this.#store.logs.positions(this.#room.roomId, unknown);
    for (const id of held.keys()) this.#leaveOut(id);
    const wanted = unknown.filter((id) => !held.has(id));
    const found = await this.#loader.load(this.#room, wanted, this.#asking);
    for (const id of wanted) {
      const past = found.get(id);
      if (past !== undefined && past.depth < (this.#open.get(id) ?? 0)) this.#loaded.set(id, past);
      else this.#leaveOut(id);
    }
  }

  #leaveOut(eventId: string): void {
    this.#open.delete(eventId);
    this.#isWhole = false;
  }
}

/** Of two on different branches: by depth, as homeservers order them, then by their own clocks. */
function isLater(one: PastEvent, other: PastEvent): boolean {
  if (one.depth !== other.depth) return one.depth > other.depth;
  if (one.sentAt !== other.sentAt) return one.sentAt > other.sentAt;
  return one.eventId > other.eventId;
}
