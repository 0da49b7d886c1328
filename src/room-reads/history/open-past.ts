import type { PastPlace } from '../../client-view/history-token.ts';
import { isHiddenFromClients } from '../../rooms/readable.ts';
import type { Store } from '../../store/store.ts';
import { type Asking, HistoryUnavailable } from './asking.ts';
import type { PastEvent, PastEvents } from './past-event.ts';
import type { PastLoader } from './past-loader.ts';
import type { PastRoom } from './past-room.ts';
import { PastWalk } from './past-walk.ts';

/** How far it is looked ahead for where the branches of the room come together. */
const MOST_AHEAD = 100;
/** Branches of which the state before them is asked for, where that is not found. */
const MOST_ASKED = 3;
/**
 * A room that was opened as it was made begins with a few events from before that: they are told as far as they are
 * the room's state to this day. Synapse sets the visibility with its fifth event.
 */
export const MADE_OPEN = 20;

/** An event of the past, in its place. */
export interface PastItem {
  readonly past: PastEvent;
  /** Whether a peeker is shown it. */
  readonly shown: boolean;
  /** Just before it. */
  readonly before: PastPlace;
}

export interface OpenPastDeps {
  readonly store: Pick<Store, 'logs' | 'replicas'>;
  readonly loader: PastLoader;
  readonly past: PastEvents;
}

/** Where a walk begins. */
export interface PastStart {
  /** Event ID → all that it may be less deep than. */
  readonly from: ReadonlyMap<string, number>;
  readonly upTo: number | null;
  readonly onward: number;
  /** These are all the predecessors of something that the log shows: not what a token says, nor a part of them. */
  readonly isOfLog: boolean;
}

/**
 * The past of a room, newest first. Shown is what certainly came after the event by which the room is world-readable
 * now, and that event: where the graph is narrowed to one event, on which all that is known to be open rests, that
 * event is open too, and so is what rests on it; else a server's word on the state before an event counts. The present
 * state is shown wherever it stands. Rejects as `PastLoader.load`; what was given before stands.
 */
export async function* openPast(
  deps: OpenPastDeps,
  room: PastRoom,
  asking: Asking,
  start: PastStart,
): AsyncGenerator<PastItem> {
  const { since, roomId } = room;
  const walk = new PastWalk(deps, room, asking, start.from);
  const opens = new Openness(deps, room, asking);
  const isPassed = (depth: number) => since === null || depth <= since.depth;
  const isBeyond = isPassed(start.upTo ?? Number.MAX_VALUE);
  // What nobody vouches for begins nothing: a token may name whatever it likes.
  const isOpen = start.isOfLog || (!isBeyond && (await opens.anyOf(walk.ahead)));
  if (!isBeyond && !isOpen) return;
  for (;;) {
    const stretch: { past: PastEvent; before: PastPlace }[] = [];
    do {
      const past = await walk.step();
      if (past === null) break;
      stretch.push({ past, before: walk.placeBefore(past, start.onward) });
    } while (walk.ahead.length > 1 && stretch.length < MOST_AHEAD);
    const last = stretch.at(-1);
    if (last === undefined) return;
    const open =
      !isOpen || isPassed(stretch[0]?.past.depth ?? 0)
        ? new Set<string>()
        : await opens.among(
            stretch.map(({ past }) => past),
            walk,
          );
    for (const { past, before } of stretch) {
      const isAfterStart = start.upTo !== null && past.depth > start.upTo;
      const isReadable = open.has(past.eventId) || (await isCurrent(deps, roomId, past));
      yield { past, before, shown: !isAfterStart && isReadable && isShowable(past) };
    }
    if (isPassed(last.past.depth) && (since === null || since.depth > MADE_OPEN)) return;
  }
}

function isShowable({ event }: PastEvent): boolean {
  return event !== null && !isHiddenFromClients(event.pdu);
}

async function isCurrent(
  { store }: OpenPastDeps,
  roomId: string,
  { eventId, event }: PastEvent,
): Promise<boolean> {
  const stateKey = event?.pdu.state_key;
  if (event === null || typeof stateKey !== 'string') return false;
  const [current] = await store.replicas.stateOf(roomId, [[event.pdu.type, stateKey]]);
  return current?.eventId === eventId;
}

/** Which events came after the one by which the room is world-readable. What is known once is remembered. */
export class Openness {
  readonly #deps: Pick<OpenPastDeps, 'loader' | 'past'>;
  readonly #room: PastRoom;
  readonly #asking: Asking;

  constructor(deps: Pick<OpenPastDeps, 'loader' | 'past'>, room: PastRoom, asking: Asking) {
    this.#deps = deps;
    this.#room = room;
    this.#asking = asking;
  }

  /** Whether one of these is known to be open, or a server says so. */
  async anyOf(eventIds: readonly string[]): Promise<boolean> {
    if (eventIds.some((id) => this.#isKnown(id))) return true;
    for (const id of eventIds.slice(0, MOST_ASKED)) if (await this.isOpen(id)) return true;
    return false;
  }

  /** The open ones of a stretch, newest first, that the walk has just passed. */
  async among(stretch: readonly PastEvent[], { ahead, isWhole }: PastWalk): Promise<Set<string>> {
    const { since } = this.#room;
    const open = new Set<string>();
    const isEnd = since === null || stretch.some(({ eventId }) => eventId === since.eventId);
    if (!isEnd) {
      const [only] = ahead;
      if (isWhole && ahead.length === 1 && only !== undefined) open.add(only);
      else for (const id of ahead.slice(0, MOST_ASKED)) if (await this.isOpen(id)) open.add(id);
    }
    for (const { eventId, depth, previous } of stretch.toReversed()) {
      const rests = since !== null && depth > since.depth && previous.some((id) => open.has(id));
      if (rests || this.#isKnown(eventId)) open.add(eventId);
    }
    for (const id of open) this.#deps.past.markOpen(this.#room.roomId, since?.eventId ?? '', id);
    return open;
  }

  /** By what is known, or by a server's word on the state before it. Rejects with `HistoryUnavailable`. */
  async isOpen(eventId: string): Promise<boolean> {
    if (this.#isKnown(eventId)) return true;
    const { since, roomId } = this.#room;
    if (since === null) return false;
    const { loader, past } = this.#deps;
    let answered = false;
    for (const server of await loader.servers.of(roomId)) {
      const ids = await loader.ask(this.#room, server, this.#asking, () =>
        loader.servers.stateIds(server, roomId, eventId, this.#asking.signal),
      );
      if (ids === null) continue;
      answered = true;
      if (ids === 'refused') continue;
      if (ids.has(since.eventId)) past.markOpen(roomId, since.eventId, eventId);
      return ids.has(since.eventId);
    }
    if (!answered) throw new HistoryUnavailable(502, 'No server of the room tells who could read it then');
    return false;
  }

  #isKnown(eventId: string): boolean {
    const { since, roomId } = this.#room;
    if (since === null) return false;
    return eventId === since.eventId || this.#deps.past.isOpen(roomId, since.eventId, eventId);
  }
}
