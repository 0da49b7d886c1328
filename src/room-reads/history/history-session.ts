import { type EventFilter, matchesEvent, type SyncFilter } from '../../client-view/filter.ts';
import { type HistoryPlace, parseRemoteHistoryToken } from '../../client-view/history-token.ts';
import type { IgnoredSenders } from '../../client-view/ignored-users.ts';
import { type EventForm, showEvent } from '../../client-view/shown-event.ts';
import { isObject, type Json, type JsonObject } from '../../matrix/json.ts';
import type { Clock } from '../../platform/clock.ts';
import { MatrixError } from '../../platform/matrix-error.ts';
import { pduOf } from '../../rooms/log-entries.ts';
import type { Store } from '../../store/store.ts';
import type { RoomRead } from '../room-read.ts';
import type { Asking } from './asking.ts';
import { findEvent } from './find-event.ts';
import { MADE_OPEN, type OpenPastDeps } from './open-past.ts';
import type { PastRoom } from './past-room.ts';
import { type Direction, invalid } from './read-query.ts';
import { type HistoryItem, isBefore, type RoomHistory } from './room-history.ts';
import type { RoomNotes } from './room-notes.ts';

/** Events looked at for one page: of the log a thousand take some 20 ms. */
const MOST_SCANNED = 1_000;

export interface HistorySessionDeps {
  readonly store: Store;
  readonly history: RoomHistory;
  readonly past: OpenPastDeps;
  readonly notes: RoomNotes;
  readonly clock: Clock;
}

/** What of a room's history is wanted. */
export interface Wanted {
  readonly dir: Direction;
  readonly from: HistoryPlace;
  readonly to?: HistoryPlace | null;
  readonly limit: number;
  readonly matches?: (item: HistoryItem) => boolean;
  /** Ends the reading after this event. */
  readonly isLast?: (item: HistoryItem) => boolean;
}

export interface Page {
  readonly items: readonly HistoryItem[];
  /** Where it goes on; null: nothing is left. */
  readonly end: HistoryPlace | null;
}

/** One read of a room's history. */
export class HistorySession {
  readonly #deps: HistorySessionDeps;
  readonly read: RoomRead;
  readonly room: PastRoom;
  readonly asking: Asking;
  readonly ignored: IgnoredSenders;

  constructor(
    deps: HistorySessionDeps,
    read: RoomRead,
    room: PastRoom,
    asking: Asking,
    ignored: IgnoredSenders,
  ) {
    this.#deps = deps;
    this.read = read;
    this.room = room;
    this.asking = asking;
    this.ignored = ignored;
  }

  /** The place that a token in the query names; null without one. Throws 400 for what is no token of this room. */
  async place(name: string): Promise<HistoryPlace | null> {
    const token = this.read.query.get(name);
    if (token === null || token === '') return null;
    const place = parseRemoteHistoryToken(token);
    if (place !== null) return this.#deps.history.locate(this.room, place);
    const position = this.read.positionOf(token);
    if (position === null) throw invalid(`${name} is no token of this room`);
    return this.#deps.history.locate(this.room, { kind: 'log', position, beside: null });
  }

  get newest(): HistoryPlace {
    return this.#deps.history.newest(this.room);
  }

  /** Before everything. */
  get oldest(): HistoryPlace {
    return { kind: 'past', next: [], upTo: 0, onward: 0 };
  }

  /**
   * A page of what a peeker may see, without what the user ignores. Pages with little or nothing on them go on, within
   * bounds: `end` tells from where. Rejects with `HistoryUnavailable` where nothing at all can be told.
   */
  async page({
    dir,
    from,
    to = null,
    limit,
    matches = () => true,
    isLast = () => false,
  }: Wanted): Promise<Page> {
    const items: HistoryItem[] = [];
    let end: HistoryPlace | null = null;
    if (limit === 0) return { items, end: from };
    const { history } = this.#deps;
    try {
      let scanned = 0;
      const walk = dir === 'b' ? history.back : history.on;
      for await (const found of walk.call(history, this.room, from, this.asking)) {
        if (to !== null && isBefore(found, to) === (dir === 'b')) return { items, end: null };
        end = dir === 'b' ? found.before : found.after;
        const item = found.shown ? await this.current(found) : found;
        if (item.shown && !this.ignored.hides(item.pdu) && matches(item)) items.push(item);
        if (isLast(item)) return { items, end: null };
        if (items.length === limit || ++scanned === MOST_SCANNED) return { items, end };
      }
    } catch (error) {
      if (!(error instanceof MatrixError) || end === null) throw error;
      return { items, end };
    }
    return { items, end: dir === 'f' && items.length > 0 ? end : null };
  }

  /** An event by its ID, if this user may see it. Rejects with `HistoryUnavailable`. */
  async find(eventId: string): Promise<HistoryItem | null> {
    const found = await findEvent(this.#deps.past, this.room, eventId, this.asking);
    const item = found === null ? null : await this.current(found);
    return item === null || this.ignored.hides(item.pdu) ? null : item;
  }

  /** The oldest event that is shown: of a room that was made open its first, else the one that opened it. */
  async beginning(): Promise<HistoryItem | null> {
    const { roomId, since } = this.room;
    if (since === null) return null;
    if (since.depth > MADE_OPEN) return this.find(since.eventId);
    const [create] = await this.#deps.store.replicas.stateOf(roomId, [['m.room.create', '']]);
    return create === undefined ? null : this.find(create.eventId);
  }

  /** All that matches from the newest event back to this one, newest first; as far as can be had. */
  async backTo(
    eventId: string,
    most: number,
    matches: (item: HistoryItem) => boolean,
  ): Promise<HistoryItem[]> {
    const items: HistoryItem[] = [];
    let from: HistoryPlace | null = this.newest;
    for (let scanned = 0; from !== null && scanned < most; scanned += MOST_SCANNED) {
      const limit = most - items.length;
      const isLast = (item: HistoryItem) => item.eventId === eventId;
      const page: Page = await this.page({ dir: 'b', from, limit, matches, isLast });
      items.push(...page.items);
      if (page.items.length === 0 && this.asking.left <= 0) break;
      from = page.end;
    }
    return items;
  }

  /** Looks at events back from the newest until `look` says so: `'found'`, `'end'` of all, or `'cut'` at the bound. */
  async backUntil(most: number, look: (item: HistoryItem) => boolean): Promise<'found' | 'end' | 'cut'> {
    let scanned = 0;
    for await (const found of this.#deps.history.back(this.room, this.newest, this.asking)) {
      const isIgnored = this.ignored.hides(found.pdu);
      if (look(isIgnored ? { ...found, shown: false } : found)) return 'found';
      if (++scanned === most) return 'cut';
    }
    return 'end';
  }

  /** Of events in their order, those between two places. */
  between(
    items: readonly HistoryItem[],
    { dir, from, to }: { dir: Direction; from: HistoryPlace | null; to: HistoryPlace | null },
  ): HistoryItem[] {
    const isOn = (item: HistoryItem, place: HistoryPlace) => isBefore(item, place) === (dir === 'b');
    return items.filter((item) => (from === null || isOn(item, from)) && (to === null || !isOn(item, to)));
  }

  /** The event that a server names as the closest to a time, if this user may see it. */
  async eventAt(ts: number, dir: Direction): Promise<HistoryItem | null> {
    const eventId = await this.#deps.past.loader.eventAt(this.room, ts, dir, this.asking);
    return eventId === null ? null : this.find(eventId);
  }

  /** The item as it is now, and noted for what it says of others. */
  async current(item: HistoryItem): Promise<HistoryItem> {
    if (item.before.kind === 'log') return item;
    const now = await this.#deps.notes.current(this.room, item);
    this.#deps.notes.note(this.room, now);
    return now;
  }

  /** The items as the client gets them. */
  async show(items: readonly HistoryItem[], format: EventForm['format'] = 'client'): Promise<JsonObject[]> {
    const { notes, clock } = this.#deps;
    const { roomId, log } = this.room;
    const { relations, redactions } = await notes.about(this.room, items);
    const membership = await this.#membership();
    const viewer = { userId: this.read.who.userId, ignored: this.ignored };
    const now = clock.now();
    const form: EventForm = { format, roomId, roomVersion: log.roomVersion, namesRoom: true, now };
    return Promise.all(
      items.map(async (item) => {
        const redaction = redactions.of(item);
        const bundled = relations.of(item, redaction !== null, viewer, (event, inner) =>
          showEvent(event, form, { relations: inner, membership }),
        );
        const { replaces } = item;
        const replaced = replaces === null ? null : await this.#replaced(replaces);
        return showEvent(item, form, { membership, redaction, relations: bundled, replaces, replaced });
      }),
    );
  }

  /** The present member events of those who sent these. */
  async membersOf(items: readonly HistoryItem[], filter: SyncFilter): Promise<JsonObject[]> {
    const senders = [...new Set(items.map(({ pdu }) => String(pdu.sender)))];
    const { store, clock } = this.#deps;
    const { roomId, log } = this.room;
    const stored = await store.replicas.stateOf(
      roomId,
      senders.map((sender) => ['m.room.member', sender] as const),
    );
    const form: EventForm = {
      format: filter.eventFormat,
      roomId,
      roomVersion: log.roomVersion,
      namesRoom: true,
      now: clock.now(),
    };
    return stored.map((event) => showEvent({ eventId: event.eventId, pdu: pduOf(event) }, form));
  }

  wants(filter: EventFilter): (item: HistoryItem) => boolean {
    return ({ pdu }) => matchesEvent(filter, pdu, this.room.roomId);
  }

  /** What the log shows of a replaced state event. */
  async #replaced(eventId: string): Promise<{ content: Json; sender: Json } | null> {
    const { logs } = this.#deps.store;
    const position = (await logs.positions(this.room.roomId, [eventId])).get(eventId);
    if (position === undefined) return null;
    const [entry] = await logs.readLast(this.room.roomId, position, 1);
    if (entry?.eventId !== eventId || !entry.shown) return null;
    const { content, sender } = pduOf(entry);
    return { content: content ?? {}, sender: sender ?? '' };
  }

  async #membership(): Promise<string> {
    const { userId } = this.read.who;
    const [member] = await this.#deps.store.replicas.stateOf(this.room.roomId, [['m.room.member', userId]]);
    const content = member === undefined ? null : pduOf(member).content;
    return isObject(content) && typeof content.membership === 'string' ? content.membership : 'leave';
  }
}
