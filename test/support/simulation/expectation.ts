import type { JsonObject } from '../../../src/matrix/json.ts';
import type { RoomBuilder } from '../room-builder.ts';

/** What a device must see of one room that it peeks: each event once, in the order of the homeserver's stream. */
export class Expectation {
  readonly room: RoomBuilder;
  /** Where in the stream the newest event stands that the device has; null: it peeks nothing yet, or no more. */
  at: number | null = null;
  /** A peek was asked for since the last first section: the next section may be a first one. */
  mayBegin = false;
  /** An unpeek was asked for: the next answers may say that the peek is over. */
  mayEnd = false;
  /** Events that reached the device. */
  seen = 0;
  /** How often the device was told that something is missing. */
  gaps = 0;
  readonly #places = new Map<string, number>();

  constructor(room: RoomBuilder) {
    this.room = room;
  }

  /** Takes a section of an answer that reached the device. Throws what is wrong with it. */
  take(section: JsonObject, ended: boolean): void {
    const timeline = section.timeline as { events: JsonObject[]; limited: boolean } | undefined;
    const places = (timeline?.events ?? []).map((event) => this.#placeOf(String(event.event_id)));
    for (const [i, place] of places.entries()) {
      const before = places[i - 1];
      if (before !== undefined && place !== before + 1) {
        throw new Error(`${this.#named(before)} is followed by ${this.#named(place)}`);
      }
    }
    this.seen += places.length;
    const first = places[0];
    const last = places.at(-1);
    if (timeline?.limited === true && !ended) {
      // An honest gap: nothing comes twice, and the device is told that something is missing.
      if (!this.mayBegin) {
        if (first !== undefined && first <= (this.at ?? -1)) throw this.#broken(first);
        this.gaps++;
      }
      this.mayBegin = false;
      this.mayEnd = false;
      this.at = last ?? this.room.events.length - 1;
      return;
    }
    if (ended) {
      if (!this.mayEnd) throw new Error('the peek ended, and nobody had asked for that');
      if (first !== undefined && this.at !== null && first !== this.at + 1) throw this.#broken(first);
      this.at = null;
      return;
    }
    if (this.at === null) throw new Error('a section of a room that is not peeked');
    if (first === undefined) return;
    if (first !== this.at + 1) throw this.#broken(first);
    this.at = last ?? this.at;
  }

  /** Whether the device has all that there is. */
  get isComplete(): boolean {
    return this.at === this.room.events.length - 1;
  }

  #broken(first: number): Error {
    const what = first <= (this.at ?? -1) ? 'came twice' : 'is not what follows';
    return new Error(`after ${this.#named(this.at)}: ${this.#named(first)} ${what}`);
  }

  #placeOf(eventId: string): number {
    const { events } = this.room;
    for (let i = this.#places.size; i < events.length; i++) this.#places.set(events[i]?.eventId ?? '', i);
    const place = this.#places.get(eventId);
    if (place === undefined) throw new Error(`${eventId} is no event of the room`);
    return place;
  }

  #named(place: number | null | undefined): string {
    return place === null || place === undefined ? 'nothing' : `event ${place} of ${this.room.events.length}`;
  }
}
