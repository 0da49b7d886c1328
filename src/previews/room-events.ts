import { type LogPlace, remoteHistoryToken } from '../client-view/history-token.ts';
import type { IgnoredUsers } from '../client-view/ignored-users.ts';
import type { JsonObject } from '../matrix/json.ts';
import type { Peeker } from '../peeking/peeking.ts';
import type { Previewing } from '../peeking/previewing.ts';
import type { Clock } from '../platform/clock.ts';
import { isHiddenFromClients } from '../rooms/readable.ts';
import type { RoomWakes } from '../rooms/room-wakes.ts';
import { readableHead } from '../rooms/timeline.ts';
import type { DevicePeek, LogEntry, RoomLog, Store } from '../store/store.ts';
import { placeAt, positionOf } from './places.ts';
import type { ShownEvents } from './shown-events.ts';

/** Events of one answer; the next poll has the others at once. */
const MOST_EVENTS = 100;
/** A poll waits no longer, whatever it asks for: well within the time after which a preview ends. */
const LONGEST_WAIT_MS = 2 * 60_000;

export interface RoomEventsDeps {
  readonly store: Store;
  readonly previewing: Previewing;
  readonly wakes: RoomWakes;
  readonly shownEvents: ShownEvents;
  readonly ignoredUsers: IgnoredUsers;
  readonly clock: Clock;
}

export interface EventsPoll {
  /** What the client has read up to; null: what it was shown last. */
  readonly from: LogPlace | null;
  readonly timeoutMs: number;
  /** The client has gone, or the process ends: what is there is answered. */
  readonly signal: AbortSignal;
}

/** What a log holds after a position. */
interface Page {
  readonly log: RoomLog;
  readonly entries: readonly LogEntry[];
  /** There may be more. */
  readonly isFull: boolean;
  readonly end: LogPlace;
}

/** `GET /events?room_id=` of a preview: the room's log, followed by a client that asks again and again. */
export class RoomEvents {
  readonly #deps: RoomEventsDeps;

  constructor(deps: RoomEventsDeps) {
    this.#deps = deps;
  }

  /** Waits for news, at most as long as asked for. Null when the preview is over: the homeserver is to answer. */
  async poll(who: Peeker, roomId: string, poll: EventsPoll): Promise<JsonObject | null> {
    const { previewing, clock, wakes, shownEvents, ignoredUsers } = this.#deps;
    const begun = await previewing.of(who, roomId);
    const shown = begun?.initial?.to;
    const from = poll.from ?? (shown === undefined ? null : placeAt(shown));
    if (begun === null || from === null) return null;
    await previewing.seen(begun);
    const ignored = await ignoredUsers.of(who);
    const until = clock.now() + Math.min(poll.timeoutMs, LONGEST_WAIT_MS);
    let woken = Promise.withResolvers<void>();
    const unwatch = wakes.watch([roomId], () => woken.resolve());
    try {
      for (;;) {
        woken = Promise.withResolvers();
        const peek = await previewing.of(who, roomId);
        const page = peek === null ? null : await this.#page(peek, from);
        if (peek === null || page === null) return null;
        const { log, entries } = page;
        const chunk = await shownEvents.show(log, entries.filter(isShown), entries, ignored);
        const left = until - clock.now();
        if (chunk.length > 0 || page.isFull || left <= 0 || poll.signal.aborted) {
          await previewing.seen(peek);
          return { chunk, start: remoteHistoryToken(from), end: remoteHistoryToken(page.end) };
        }
        await this.#wait(woken.promise, left, poll.signal);
      }
    } finally {
      unwatch();
    }
  }

  /** Null where nothing is left of a preview that is over. */
  async #page(peek: DevicePeek, from: LogPlace): Promise<Page | null> {
    const { store } = this.#deps;
    const log = await store.logs.get(peek.roomId);
    if (log === null || peek.ended?.reason === 'joined') return null;
    const after = await positionOf(from, log, store);
    const upTo = lastOf(peek, log);
    const isOver = peek.ended !== null || log.closed !== null;
    if (after >= upTo) return isOver ? null : { log, entries: [], isFull: false, end: from };
    const held = await store.logs.read(peek.roomId, after, MOST_EVENTS);
    const entries = held.filter(({ position }) => position <= upTo);
    const last = entries.findLast(isShown);
    const isFull = entries.length === MOST_EVENTS;
    const end = isFull ? (entries.at(-1)?.position ?? upTo) : upTo;
    return { log, entries, isFull, end: placeAt(end, last) };
  }

  async #wait(woken: Promise<void>, ms: number, signal: AbortSignal): Promise<void> {
    const done = new AbortController();
    await Promise.race([woken, this.#deps.clock.sleep(ms, AbortSignal.any([signal, done.signal]))]);
    done.abort();
  }
}

function isShown(entry: LogEntry): boolean {
  return entry.shown && !isHiddenFromClients(entry);
}

/** The last position that a preview may be shown. */
function lastOf(peek: DevicePeek, log: RoomLog): number {
  const head = readableHead(log);
  return peek.ended === null ? head : Math.min(peek.ended.position, head);
}
