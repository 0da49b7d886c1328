import {
  type HistoryPlace,
  type LogPlace,
  MOST_BRANCHES,
  type PastPlace,
  placeAfter,
  placeBefore,
} from '../../client-view/history-token.ts';
import type { JsonObject } from '../../matrix/json.ts';
import { prevEventIds } from '../../matrix/pdu.ts';
import { isMark, pduOf } from '../../rooms/log-entries.ts';
import { isHiddenFromClients } from '../../rooms/readable.ts';
import { readableHead } from '../../rooms/timeline.ts';
import type { LogEntry } from '../../store/store.ts';
import { type Asking, HistoryUnavailable } from './asking.ts';
import { type OpenPastDeps, openPast, type PastItem } from './open-past.ts';
import type { PastRoom } from './past-room.ts';

/** An event of a room's history, in its place. */
export interface HistoryItem {
  readonly eventId: string;
  readonly pdu: JsonObject;
  /** The state event whose place it took, where that is known. */
  readonly replaces: string | null;
  /** Whether a peeker is shown it. */
  readonly shown: boolean;
  readonly before: HistoryPlace;
  readonly after: HistoryPlace;
}

/** Whether an event lies before a place (one that `locate` gave). */
export function isBefore({ eventId, pdu, before }: HistoryItem, place: HistoryPlace): boolean {
  if (before.kind === 'log') {
    return before.position < (place.kind === 'log' ? place.position : place.onward);
  }
  if (place.kind === 'log') return before.onward < place.position;
  if (before.onward !== place.onward) return before.onward < place.onward;
  const depth = Number(pdu.depth);
  if (place.upTo === null || depth !== place.upTo) return depth < (place.upTo ?? Number.POSITIVE_INFINITY);
  // As deep as what is before it: a sibling of that, or where the place is told by what follows it, what precedes.
  return place.next.includes(eventId) || place.next.length === 1;
}

/** Entries of a log that are read at once. */
const PAGE = 100;
/** Entries after a hole, or at the log's beginning, whose predecessors are looked for. */
const MOST_BORDER = 100;
/** How far back it is read to go forward from an old place. */
const MOST_FORWARD = 1_000;

/** The history of a room as peekers see it: its log, and what lies before it and in its holes, in one line. */
export class RoomHistory {
  readonly #deps: OpenPastDeps;

  constructor(deps: OpenPastDeps) {
    this.#deps = deps;
  }

  /** Where a place is now: a log that was pruned, or dropped and begun anew, may hold it no more. */
  async locate(room: PastRoom, place: HistoryPlace): Promise<HistoryPlace> {
    if (place.kind === 'past') return place;
    const { log } = room;
    const { beside, position } = place;
    if (beside !== null) {
      const held = (await this.#deps.store.logs.positions(log.roomId, [beside.eventId])).get(beside.eventId);
      if (held !== undefined) return { ...place, position: beside.side === 'before' ? held : held - 1 };
      const upTo = beside.side === 'before' ? beside.depth : Math.max(0, beside.depth - 1);
      return { kind: 'past', next: [beside.eventId], upTo, onward: 0 };
    }
    return { ...place, position: Math.min(Math.max(position, log.tail - 1), readableHead(log)) };
  }

  /** Where the newest event is just before. */
  newest({ log }: PastRoom): LogPlace {
    return { kind: 'log', position: readableHead(log), beside: null };
  }

  /** Back from a place, newest first. Rejects with `HistoryUnavailable`; what was given before stands. */
  async *back(room: PastRoom, from: HistoryPlace, asking: Asking): AsyncGenerator<HistoryItem> {
    let place = await this.locate(room, from);
    for (;;) {
      if (place.kind === 'log') {
        yield* this.#backInLog(room, place.position);
        const border = await this.#holeBelow(room, place.position);
        yield* this.#past(room, asking, border);
        place = { kind: 'log', position: border.onward, beside: null };
      } else {
        const depths = new Map(place.next.map((id) => [id, Number.POSITIVE_INFINITY]));
        yield* this.#past(room, asking, {
          from: depths,
          upTo: place.upTo,
          onward: place.onward,
          isOfLog: false,
        });
        place = { kind: 'log', position: place.onward, beside: null };
      }
      if (place.position < room.log.tail) return;
    }
  }

  /** On from a place, oldest first. Rejects with `HistoryUnavailable` also where the place is too far back. */
  async *on(room: PastRoom, from: HistoryPlace, asking: Asking): AsyncGenerator<HistoryItem> {
    const place = await this.locate(room, from);
    let position: number;
    if (place.kind === 'log') position = place.position;
    else {
      const above = await this.#above(room, place.onward);
      const between: HistoryItem[] = [];
      for await (const item of this.#pastOf(room, above, asking)) {
        if (isBefore(item, place)) break;
        between.push(item);
        if (between.length > MOST_FORWARD) throw tooFar();
      }
      yield* between.toReversed();
      position = above;
    }
    for (;;) {
      const entries = await this.#deps.store.logs.read(room.roomId, position, PAGE);
      for (const entry of entries) {
        if (entry.position > readableHead(room.log)) return;
        if (!isMark(entry)) yield inLog(entry);
      }
      const last = entries.at(-1);
      if (last === undefined || entries.length < PAGE) return;
      position = last.position;
    }
  }

  /** Down to where the log lacks what comes before. */
  async *#backInLog(room: PastRoom, from: number): AsyncGenerator<HistoryItem> {
    for (let at = from; at >= room.log.tail; ) {
      const page = await this.#deps.store.logs.readLast(room.roomId, at, PAGE);
      for (let i = page.length - 1; i >= 0; i--) {
        const [older, entry] = [page[i - 1], page[i]];
        if (entry?.position !== at) return;
        at--;
        if (!isMark(entry)) yield inLog(entry, older);
      }
      if (page.length < PAGE) return;
    }
  }

  /**
   * The first hole at or below a position: what its upper border names as coming before. `isOfLog` where that is all
   * that comes before one of the events there: of one that follows the log too, the log may be why it is shown.
   */
  async #holeBelow({ roomId, rules, log }: PastRoom, position: number) {
    let hole = position;
    for (let isWhole = true; isWhole && hole >= log.tail; ) {
      const page = await this.#deps.store.logs.readLast(roomId, hole, PAGE);
      for (const entry of page.toReversed()) {
        if (entry.position === hole) hole--;
        else isWhole = false;
        if (!isWhole) break;
      }
      isWhole &&= page.length === PAGE;
    }
    const from = new Map<string, number>();
    const followed: string[][] = [];
    let expected = hole + 1;
    for (const entry of await this.#deps.store.logs.read(roomId, hole, MOST_BORDER)) {
      if (entry.position !== expected) break;
      expected++;
      if (isMark(entry)) continue;
      const pdu = pduOf(entry);
      const previous = prevEventIds(pdu, rules);
      if (entry.shown && previous.length > 0) followed.push(previous);
      for (const id of previous) from.set(id, Math.max(Number(pdu.depth), from.get(id) ?? 0));
    }
    const held = await this.#deps.store.logs.positions(roomId, [...from.keys()]);
    for (const id of held.keys()) from.delete(id);
    const isOfLog = followed.some((previous) => !previous.some((id) => held.has(id)));
    return { from, upTo: null, onward: hole < log.tail ? 0 : hole - 1, isOfLog };
  }

  /** The position just below the first entry above a hole. */
  async #above({ roomId, log }: PastRoom, onward: number): Promise<number> {
    if (onward < log.tail) return log.tail - 1;
    const [next] = await this.#deps.store.logs.read(roomId, onward, 1);
    return (next?.position ?? log.head + 1) - 1;
  }

  async *#pastOf(room: PastRoom, position: number, asking: Asking): AsyncGenerator<HistoryItem> {
    yield* this.#past(room, asking, await this.#holeBelow(room, position));
  }

  async *#past(
    room: PastRoom,
    asking: Asking,
    start: Parameters<typeof openPast>[3],
  ): AsyncGenerator<HistoryItem> {
    if (start.from.size === 0) return;
    for await (const item of openPast(this.#deps, room, asking, start)) yield inPast(item);
  }
}

/** An entry of the log as an item of the history; `older`: the one before it, where that is at hand. */
export function inLog(entry: LogEntry, older?: LogEntry): HistoryItem {
  const follows = older?.position === entry.position - 1 && !isMark(older);
  return {
    eventId: entry.eventId,
    pdu: pduOf(entry),
    replaces: entry.replaces,
    shown: entry.shown && !isHiddenFromClients(entry),
    before: follows ? placeAfter(older) : placeBefore(entry),
    after: placeAfter(entry),
  };
}

function inPast({ past, before, shown }: PastItem): HistoryItem {
  const next = [past.eventId, ...before.next].slice(0, MOST_BRANCHES);
  const after: PastPlace = { ...before, next, upTo: past.depth };
  const pdu = past.event?.pdu ?? { depth: past.depth };
  return { eventId: past.eventId, pdu, replaces: null, shown, before, after };
}

function tooFar(): HistoryUnavailable {
  return new HistoryUnavailable(504, 'What follows lies too far back to be had from here');
}
