import { LRUCache } from 'lru-cache';
import { placeAfter, placeBefore, remoteHistoryToken } from '../client-view/history-token.ts';
import { type Homeserver, NotReadable } from '../homeserver/homeserver.ts';
import { toClientEvent } from '../matrix/client-event.ts';
import type { JsonObject } from '../matrix/json.ts';
import type { Clock } from '../platform/clock.ts';
import { isMark, pduOf } from '../rooms/log-entries.ts';
import type { StateAt, Wanted } from '../rooms/state-at.ts';
import type { Stretch } from '../rooms/timeline.ts';
import type { LogEntry, RoomLog, Store } from '../store/store.ts';
import type { SectionContent } from './section.ts';

export interface RoomSectionOptions {
  /** The full state, not only what changed. */
  readonly whole: boolean;
  /** State at the end of the timeline instead of its start (MSC4222). */
  readonly after: boolean;
  /** Changed state brings the members who sent the timeline with it. */
  readonly lazyMembers: boolean;
  readonly homeserverToken: string | null;
}

/** Turns a stretch of a room's log into what a section holds: client events, state, `prev_batch`. */
export class RoomSections {
  readonly #store: Store;
  readonly #homeserver: Homeserver;
  readonly #stateAt: StateAt;
  readonly #clock: Clock;
  /** The homeserver's token before an event never changes. */
  readonly #tokens = new LRUCache<string, string>({ max: 5_000 });

  constructor(store: Store, homeserver: Homeserver, stateAt: StateAt, clock: Clock) {
    this.#store = store;
    this.#homeserver = homeserver;
    this.#stateAt = stateAt;
    this.#clock = clock;
  }

  async read(log: RoomLog, stretch: Stretch, options: RoomSectionOptions): Promise<SectionContent> {
    const now = this.#clock.now();
    const show = (entry: LogEntry) => toClientEvent(pduOf(entry), entry.eventId, { now });
    const timeline = stretch.timeline.map(show);
    const [state, prevBatch] = await Promise.all([
      options.whole
        ? this.#stateAt.read(
            log,
            options.after ? stretch.end : stretch.start,
            now,
            wantedState(stretch, options),
          )
        : this.#changed(log, stretch, options, show),
      this.#prevBatch(log, stretch, options.homeserverToken),
    ]);
    return { state, timeline, limited: stretch.limited, prevBatch };
  }

  /** The state between two sections: what the timeline skips, or (MSC4222) all that changed. */
  async #changed(
    log: RoomLog,
    stretch: Stretch,
    options: RoomSectionOptions,
    show: (entry: LogEntry) => JsonObject,
  ): Promise<JsonObject[]> {
    const changes = new Map(
      stretch.skippedState.map((entry) => [`${entry.type}\u0000${entry.stateKey}`, show(entry)]),
    );
    if (options.after) {
      for (const entry of stretch.timeline) {
        if (entry.stateKey !== null && entry.applied)
          changes.set(`${entry.type}\u0000${entry.stateKey}`, show(entry));
      }
    }
    if (options.lazyMembers) {
      for (const sender of new Set(stretch.timeline.map((entry) => String(pduOf(entry).sender)))) {
        const slot = `m.room.member\u0000${sender}`;
        const inTimeline = stretch.timeline.some((e) => e.type === 'm.room.member' && e.stateKey === sender);
        if (changes.has(slot) || (inTimeline && !options.after)) continue;
        const member = await this.#member(log, sender);
        if (member !== null) changes.set(slot, member);
      }
    }
    return [...changes.values()];
  }

  async #member(log: RoomLog, userId: string): Promise<JsonObject | null> {
    const now = this.#clock.now();
    if (log.feed === 'resident') {
      const event = await this.#homeserver.stateEvent(log.roomId, 'm.room.member', userId).catch(() => null);
      return event === null ? null : toClientEvent(event, String(event.event_id), { now });
    }
    const [stored] = await this.#store.replicas.stateOf(log.roomId, [['m.room.member', userId]]);
    return stored === undefined ? null : toClientEvent(pduOf(stored), stored.eventId, { now });
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
    if (first !== undefined) return remoteHistoryToken(placeBefore(first));
    const [last] = await this.#store.logs.readLast(log.roomId, start, 1);
    if (last?.position === start && !isMark(last)) return remoteHistoryToken(placeAfter(last));
    return remoteHistoryToken({ kind: 'log', position: start, beside: null });
  }
}

/** With members loaded lazily: of all that a large room has, only those who speak in the timeline. */
function wantedState(stretch: Stretch, { lazyMembers }: RoomSectionOptions): Wanted {
  if (!lazyMembers) return () => true;
  const senders = new Set(stretch.timeline.map((entry) => pduOf(entry).sender));
  return (type, stateKey) => type !== 'm.room.member' || senders.has(stateKey);
}
