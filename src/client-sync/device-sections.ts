import { type SyncFilter, wantsRoom } from '../client-view/filter.ts';
import type { IgnoredSenders } from '../client-view/ignored-users.ts';
import type { JsonObject } from '../matrix/json.ts';
import { Gate } from '../platform/gate.ts';
import type { Logger } from '../platform/log.ts';
import { readableHead, readNewest, readOn, type Stretch } from '../rooms/timeline.ts';
import { type DevicePeek, type RoomLog, type Store, StoreDownError } from '../store/store.ts';
import { isTold, toldMark } from './endings.ts';
import type { RoomSections } from './room-sections.ts';
import { type RenderedSection, renderSection } from './section.ts';
import { selectionOf } from './selection.ts';
import type { StateName } from './state-names.ts';
import { NOTHING_TOLD, type Told, ToldState } from './told-state.ts';

/** What a request to `/sync` asks of our part of the answer. */
export interface SectionRequest {
  /** How far the presented token has read each peek; null for a request without `since`. */
  readonly read: ReadonlyMap<number, number> | null;
  /** The homeserver's own part of the presented token. */
  readonly homeserverToken: string | null;
  readonly filter: SyncFilter;
  /** The filter as it was given, to tell it from others. */
  readonly filterText: string | null;
  /** Whose events the user does not want to see. */
  readonly ignored: IgnoredSenders;
  readonly fullState: boolean;
  readonly stateName: StateName;
}

/** Our part of an answer. */
export interface DeviceSections {
  readonly peek: Map<string, JsonObject>;
  readonly leave: Map<string, JsonObject>;
  /** Instance → position, for the next token. */
  readonly read: Map<number, number>;
  /** Live peeks that the answer's rooms must still be held against: a room joined meanwhile wins. */
  readonly live: Map<string, DevicePeek>;
  /** Of live peeks, what the device has of the room's state; not where it begins anew. */
  readonly known: Map<string, Told>;
  /** Ended peeks that `leave` tells of: room ID → instance. */
  readonly told: Map<string, number>;
  /** The name of the state in them. */
  readonly stateName: StateName;
}

/** Clients that take the section for one of `rooms.join` look for it; nothing of the kind ever reaches a peeker. */
const NONE: JsonObject = { events: [] };
/** The newest events that a first section shows at least, when the filter names no limit. */
const FIRST_TIMELINE = 20;
/** More than this at once is a limited timeline, when the filter names no limit. */
const NEXT_TIMELINE = 50;

/** Whole states that are made for one user at once, some tens of megabytes each; the others wait for them. */
const WHOLE_OF_ONE_USER = 2;

/** Reads what a device's peeks have for it: a function of the token, the logs and the peeks. */
export class DeviceSectionReader {
  readonly #store: Store;
  readonly #rooms: RoomSections;
  readonly #logger: Logger;
  readonly #toldState = new ToldState();
  readonly #whole = new Gate(Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY, {
    running: WHOLE_OF_ONE_USER,
  });

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
      known: new Map(),
      told: new Map(),
      stateName: request.stateName,
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
    if (at !== undefined && !request.fullState) {
      into.known.set(peek.roomId, this.#toldState.at(peek, at, manner(request)));
    }
    const log = await this.#store.logs.get(peek.roomId);
    if (log === null) {
      if (at !== undefined) into.read.set(peek.instance, at);
      return;
    }
    const head = readableHead(log);
    const stretch =
      at === undefined
        ? await this.#first(peek, log, head, request)
        : await readOn(this.#store, log, at, head, selectionOf(request, peek.roomId, NEXT_TIMELINE));
    into.read.set(peek.instance, stretch.end);
    const move = { from: at ?? null, to: stretch.end, filter: manner(request) };
    const anew = at === undefined || request.fullState;
    const whole = anew || stretch.gap || stretch.stateAnew;
    if (!wantsRoom(request.filter, peek.roomId) || !(whole || hasAnything(stretch))) {
      return this.#toldState.answered(peek, move, NOTHING_TOLD, false);
    }
    const told = anew ? NOTHING_TOLD : this.#toldState.at(peek, at, move.filter);
    const render = () => this.#render(log, stretch, peek, request, { whole, anew, told });
    const rendered = await (whole ? this.#whole.run(render, undefined, peek.userId) : render());
    this.#toldState.answered(peek, move, rendered.told, anew);
    if (whole || !rendered.isEmpty) into.peek.set(peek.roomId, { ...rendered.section, ephemeral: NONE });
  }

  /** A first section, or the same one again when its answer was lost. */
  async #first(peek: DevicePeek, log: RoomLog, head: number, request: SectionRequest): Promise<Stretch> {
    const selection = selectionOf(request, peek.roomId, FIRST_TIMELINE);
    // Without `since` a device begins anew each time, and wants what there is now.
    const kept = request.read === null ? null : peek.initial;
    if (kept !== null && kept.from >= log.tail - 1 && kept.to <= head) {
      const stretch = await readOn(this.#store, log, kept.from, kept.to, selection);
      return { ...stretch, limited: true };
    }
    const stretch = await readNewest(this.#store, log, head, selection);
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
    if (!wantsRoom(request.filter, peek.roomId)) return;
    into.told.set(peek.roomId, peek.instance);
    const log = await this.#store.logs.get(peek.roomId);
    const upTo = log === null ? 0 : Math.min(peek.ended.position, readableHead(log));
    if (log === null || upTo <= at) {
      into.leave.set(peek.roomId, {});
      return;
    }
    const stretch = await readOn(
      this.#store,
      log,
      at,
      upTo,
      selectionOf(request, peek.roomId, NEXT_TIMELINE),
    );
    const of = { ...stretch, gap: false };
    const told = hasAnything(stretch)
      ? await this.#render(log, of, peek, request, { whole: false, anew: false, told: NOTHING_TOLD })
      : null;
    into.leave.set(peek.roomId, told === null || told.isEmpty ? {} : told.section);
  }

  async #render(
    log: RoomLog,
    stretch: Stretch,
    { userId }: DevicePeek,
    request: SectionRequest,
    more: { readonly whole: boolean; readonly anew: boolean; readonly told: Told },
  ): Promise<RenderedSection> {
    const { filter, ignored, stateName, homeserverToken } = request;
    const content = await this.#rooms.read(log, stretch, {
      ...more,
      after: stateName !== 'state',
      filter,
      viewer: { userId, ignored },
      homeserverToken,
    });
    return renderSection(content, filter, stateName);
  }
}

/** What decides which state is told, and how. */
function manner({ filterText, stateName }: SectionRequest): string {
  return JSON.stringify([filterText ?? '', stateName]);
}

function hasAnything({ timeline, skippedState }: Stretch): boolean {
  return timeline.length > 0 || skippedState.length > 0;
}
