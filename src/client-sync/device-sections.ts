import type { SyncFilter } from '../client-view/filter.ts';
import { wantsRoom } from '../client-view/filter.ts';
import type { JsonObject } from '../matrix/json.ts';
import type { Logger } from '../platform/log.ts';
import { readableHead, readNewest, readOn, type Stretch } from '../rooms/timeline.ts';
import { type DevicePeek, type RoomLog, type Store, StoreDownError } from '../store/store.ts';
import { isTold, toldMark } from './endings.ts';
import type { RoomSections } from './room-sections.ts';
import { renderSection } from './section.ts';

/** What a request to `/sync` asks of our part of the answer. */
export interface SectionRequest {
  /** How far the presented token has read each peek; null for a request without `since`. */
  readonly read: ReadonlyMap<number, number> | null;
  /** The homeserver's own part of the presented token. */
  readonly homeserverToken: string | null;
  readonly filter: SyncFilter;
  readonly fullState: boolean;
  readonly useStateAfter: boolean;
}

/** Our part of an answer. */
export interface DeviceSections {
  readonly peek: Map<string, JsonObject>;
  readonly leave: Map<string, JsonObject>;
  /** Instance → position, for the next token. */
  readonly read: Map<number, number>;
  /** Live peeks that the answer's rooms must still be held against: a room joined meanwhile wins. */
  readonly live: Map<string, DevicePeek>;
  /** Ended peeks that `leave` tells of: room ID → instance. */
  readonly told: Map<string, number>;
}

/** The newest events that a first section shows at least, when the filter names no limit. */
const FIRST_TIMELINE = 20;
/** More than this at once is a limited timeline, when the filter names no limit. */
const NEXT_TIMELINE = 50;

/** Reads what a device's peeks have for it: a function of the token, the logs and the peeks. */
export class DeviceSectionReader {
  readonly #store: Store;
  readonly #rooms: RoomSections;
  readonly #logger: Logger;

  constructor(store: Store, rooms: RoomSections, logger: Logger) {
    this.#store = store;
    this.#rooms = rooms;
    this.#logger = logger;
  }

  /** Rejects with `StoreDownError`. A room that cannot be read now waits for the next answer. */
  async read(peeks: readonly DevicePeek[], request: SectionRequest): Promise<DeviceSections> {
    const sections: DeviceSections = {
      peek: new Map(),
      leave: new Map(),
      read: new Map(),
      live: new Map(),
      told: new Map(),
    };
    await Promise.all(peeks.map((peek) => this.#one(peek, request, sections)));
    // A peek that ended and was begun again: its first section replaces all that the device has of the room.
    for (const roomId of sections.peek.keys()) sections.leave.delete(roomId);
    return sections;
  }

  async #one(peek: DevicePeek, request: SectionRequest, into: DeviceSections): Promise<void> {
    try {
      await (peek.ended === null ? this.#live(peek, request, into) : this.#ended(peek, request, into));
    } catch (error) {
      if (error instanceof StoreDownError) throw error;
      this.#logger.warn(
        { room: peek.roomId, reason: String(error) },
        'a peeked room could not be read; it waits for the next sync',
      );
      const at = request.read?.get(peek.instance);
      into.peek.delete(peek.roomId);
      if (at === undefined) into.read.delete(peek.instance);
      else into.read.set(peek.instance, at);
    }
  }

  async #live(peek: DevicePeek, request: SectionRequest, into: DeviceSections): Promise<void> {
    into.live.set(peek.roomId, peek);
    const at = request.read?.get(peek.instance);
    const log = await this.#store.logs.get(peek.roomId);
    if (log === null) {
      if (at !== undefined) into.read.set(peek.instance, at);
      return;
    }
    const head = readableHead(log);
    const stretch =
      at === undefined
        ? await this.#first(peek, log, head, request)
        : await readOn(this.#store, log, at, head, request.filter.timelineLimit ?? NEXT_TIMELINE);
    into.read.set(peek.instance, stretch.end);
    if (!wantsRoom(request.filter, peek.roomId)) return;
    const whole = at === undefined || stretch.gap || stretch.stateAnew || request.fullState;
    if (!whole && stretch.timeline.length === 0 && stretch.skippedState.length === 0) return;
    into.peek.set(peek.roomId, await this.#render(log, stretch, whole, request));
  }

  /** A first section, or the same one again when its answer was lost. */
  async #first(peek: DevicePeek, log: RoomLog, head: number, request: SectionRequest): Promise<Stretch> {
    // Without `since` a device begins anew each time, and wants what there is now.
    const kept = request.read === null ? null : peek.initial;
    if (kept !== null && kept.from >= log.tail - 1 && kept.to <= head) {
      const stretch = await readOn(this.#store, log, kept.from, kept.to, Number.MAX_SAFE_INTEGER);
      return { ...stretch, limited: true };
    }
    const stretch = await readNewest(this.#store, log, head, request.filter.timelineLimit ?? FIRST_TIMELINE);
    await this.#store.devicePeeks.update(peek, { initial: { from: stretch.start, to: stretch.end } });
    return stretch;
  }

  /** An ended peek is told once, with what it was still owed. */
  async #ended(peek: DevicePeek, request: SectionRequest, into: DeviceSections): Promise<void> {
    const known = request.read?.get(peek.instance);
    if (peek.ended === null || request.read === null || isTold(peek, known)) return;
    if (peek.ended.reason === 'joined') return;
    if (known === undefined) into.read.set(peek.instance, toldMark(peek.ended));
    const at = known ?? peek.initial?.from ?? peek.ended.position;
    if (!request.filter.includeLeave && !wantsRoom(request.filter, peek.roomId)) return;
    into.told.set(peek.roomId, peek.instance);
    const log = await this.#store.logs.get(peek.roomId);
    const upTo = log === null ? 0 : Math.min(peek.ended.position, readableHead(log));
    if (log === null || upTo <= at) {
      into.leave.set(peek.roomId, {});
      return;
    }
    const stretch = await readOn(this.#store, log, at, upTo, request.filter.timelineLimit ?? NEXT_TIMELINE);
    const shown = stretch.timeline.length > 0 || stretch.skippedState.length > 0;
    into.leave.set(
      peek.roomId,
      shown ? await this.#render(log, { ...stretch, gap: false }, false, request) : {},
    );
  }

  async #render(
    log: RoomLog,
    stretch: Stretch,
    whole: boolean,
    request: SectionRequest,
  ): Promise<JsonObject> {
    const content = await this.#rooms.read(log, stretch, {
      whole,
      after: request.useStateAfter,
      lazyMembers: request.filter.lazyLoadMembers,
      homeserverToken: request.homeserverToken,
    });
    return renderSection(content, request.filter, request.useStateAfter);
  }
}
