import { LRUCache } from 'lru-cache';
import type { SyncFilter } from '../client-view/filter.ts';
import { placeAfter, placeBefore, remoteHistoryToken } from '../client-view/history-token.ts';
import type { Viewer } from '../client-view/relations.ts';
import { type Homeserver, HomeserverRefusal, NotReadable } from '../homeserver/homeserver.ts';
import type { Clock } from '../platform/clock.ts';
import { isMark, pduOf } from '../rooms/log-entries.ts';
import type { StateAt, StateEvent } from '../rooms/state-at.ts';
import type { Stretch } from '../rooms/timeline.ts';
import type { RoomLog, Store } from '../store/store.ts';
import type { SectionContent } from './section.ts';
import { SectionEvents, type SectionScene } from './section-events.ts';
import { changedState, membershipAt, type StateOptions, wantedState, wholeState } from './section-state.ts';
import { statePdus } from './state-pdus.ts';
import type { Told } from './told-state.ts';

export interface RoomSectionOptions {
  /** The full state, not only what changed. */
  readonly whole: boolean;
  /** State at the end of the timeline instead of its start (MSC4222). */
  readonly after: boolean;
  /** The device has nothing of the room that it keeps. */
  readonly anew: boolean;
  readonly filter: SyncFilter;
  readonly viewer: Viewer;
  /** What the device was told of the state. */
  readonly told: Told;
  readonly homeserverToken: string | null;
}

const MAX_TOKENS = 5_000;
/** Single events of state, read again for every device that is told the same. */
const MAX_STATE_EVENTS = 10_000;

/** Turns a stretch of a room's log into what a section holds: its events as they are shown, state, `prev_batch`. */
export class RoomSections {
  readonly #store: Store;
  readonly #homeserver: Homeserver;
  readonly #stateAt: StateAt;
  readonly #clock: Clock;
  /** The homeserver's token before an event never changes. */
  readonly #tokens = new LRUCache<string, string>({ max: MAX_TOKENS });
  /** By room, its log's head, and what is asked: what comes later may replace or redact the event. */
  readonly #state = new LRUCache<string, Promise<StateEvent | null>>({ max: MAX_STATE_EVENTS });

  constructor(store: Store, homeserver: Homeserver, stateAt: StateAt, clock: Clock) {
    this.#store = store;
    this.#homeserver = homeserver;
    this.#stateAt = stateAt;
    this.#clock = clock;
  }

  /** Rejects with `NotReadable`, `HomeserverDown`, `StoreDownError`. */
  async read(log: RoomLog, stretch: Stretch, options: RoomSectionOptions): Promise<SectionContent> {
    const { filter, viewer, after } = options;
    const { roomId, roomVersion } = log;
    const form = {
      format: filter.eventFormat,
      roomId,
      roomVersion,
      namesRoom: false,
      now: this.#clock.now(),
    };
    const earlier = (eventId: string) =>
      this.#once(log, eventId, () => this.#stateAt.earlier(log, eventId).catch(notShown));
    const scene: SectionScene = { log, stretch, form, viewer, fields: filter.eventFields, earlier };
    const events = new SectionEvents(scene);
    const redundant = filter.includeRedundantMembers;
    const wish: StateOptions = { ...options, lazyMembers: filter.lazyLoadMembers ? { redundant } : null };
    const at = after ? stretch.end : stretch.start;
    const base = options.whole ? await this.#stateAt.events(log, at, wantedState(scene, wish)) : null;
    const [state, timeline, prevBatch] = await Promise.all([
      this.#stateOf(scene, events, base, wish),
      events.timeline(base === null || after ? null : membershipAt(base, stretch, viewer.userId)),
      this.#prevBatch(log, stretch, options.homeserverToken),
    ]);
    return { roomId, state, timeline, limited: stretch.limited, prevBatch };
  }

  async #stateOf(
    scene: SectionScene,
    events: SectionEvents,
    base: readonly StateEvent[] | null,
    options: StateOptions,
  ) {
    const { log } = scene;
    const needed: StateEvent[] = [];
    const hold = (event: StateEvent) => {
      needed.push(event);
      return events.heldState(event);
    };
    const state =
      base === null
        ? await changedState(scene, events, (userId) => this.#member(log, userId), hold, options)
        : await wholeState(scene, events, base, hold, options);
    if (scene.form.format === 'client' || log.feed === 'remote' || needed.length === 0) return state;
    const pdus = await statePdus(this.#homeserver, log, needed);
    const inFull = new Map(
      needed.map((held) => [held.eventId, events.heldState(held, pdus.get(held.eventId))]),
    );
    return state.map((event) => inFull.get(event.eventId) ?? event);
  }

  #member(log: RoomLog, userId: string): Promise<StateEvent | null> {
    return this.#once(log, `m.room.member ${userId}`, async () => {
      if (log.feed === 'resident') {
        const read = this.#homeserver.stateEvent(log.roomId, 'm.room.member', userId);
        const event = await read.catch(notShown);
        return event && { eventId: String(event.event_id), event };
      }
      const [stored] = await this.#store.replicas.stateOf(log.roomId, [['m.room.member', userId]]);
      return stored === undefined ? null : { eventId: stored.eventId, event: pduOf(stored) };
    });
  }

  /** For all who ask the same while the room stays as it is. What fails is asked again. */
  #once(log: RoomLog, what: string, read: () => Promise<StateEvent | null>): Promise<StateEvent | null> {
    const key = JSON.stringify([log.roomId, log.feed, log.head, what]);
    const known = this.#state.get(key);
    if (known !== undefined) return known;
    const reading = read();
    this.#state.set(key, reading);
    reading.catch(() => this.#state.delete(key));
    return reading;
  }

  /**
   * A resident room's is the homeserver's own. Without a gap the one the device came with will do: what lies
   * before it the device has. Else it is the homeserver's token before the first event of the timeline.
   */
  async #prevBatch(log: RoomLog, stretch: Stretch, homeserverToken: string | null): Promise<string> {
    if (log.feed === 'remote') return this.#remotePrevBatch(log, stretch);
    if (!stretch.limited && homeserverToken !== null) return homeserverToken;
    const first = stretch.timeline[0];
    if (first === undefined) return log.feedToken ?? homeserverToken ?? '';
    const known = this.#tokens.get(first.eventId);
    if (known !== undefined) return known;
    try {
      const { start } = await this.#homeserver.context(log.roomId, first.eventId, 0);
      this.#tokens.set(first.eventId, start);
      return start;
    } catch (error) {
      // The homeserver has left the room: what is held is still told, with nothing to page back from.
      if (error instanceof NotReadable) return log.feedToken ?? homeserverToken ?? '';
      throw error;
    }
  }

  async #remotePrevBatch(log: RoomLog, { timeline: [first], start }: Stretch): Promise<string> {
    const position = first === undefined ? start : first.position - 1;
    const [last] = await this.#store.logs.readLast(log.roomId, position, 1);
    if (last?.position === position && !isMark(last)) return remoteHistoryToken(placeAfter(last));
    if (first !== undefined) return remoteHistoryToken(placeBefore(first));
    return remoteHistoryToken({ kind: 'log', position, beside: null });
  }
}

/** What the homeserver does not show (any more) is not told. */
function notShown(error: unknown): null {
  if (error instanceof NotReadable || error instanceof HomeserverRefusal) return null;
  throw error;
}
