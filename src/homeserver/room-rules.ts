import { LRUCache } from 'lru-cache';
import { isObject, type JsonObject } from '../matrix/json.ts';
import { type RoomVersionRules, roomVersion } from '../matrix/room-versions.ts';
import { NotReadable } from './homeserver.ts';

const MOST_ROOMS = 20_000;

/** Room versions, which never change, asked for once. */
export class RoomRules {
  readonly #versions = new LRUCache<string, string>({ max: MOST_ROOMS });
  readonly #createEvent: (roomId: string) => Promise<JsonObject | null>;

  constructor(createEvent: (roomId: string) => Promise<JsonObject | null>) {
    this.#createEvent = createEvent;
  }

  remember(roomId: string, version: string): void {
    this.#versions.set(roomId, version);
  }

  /** Rejects with `NotReadable` for room versions that are not known here, and as `createEvent` does. */
  async of(roomId: string): Promise<RoomVersionRules> {
    const version = this.#versions.get(roomId) ?? (await this.#learn(roomId));
    return rulesOf(version);
  }

  async #learn(roomId: string): Promise<string> {
    const create = await this.#createEvent(roomId);
    if (create === null) throw new NotReadable('the room has no create event');
    const content = isObject(create.content) ? create.content : {};
    // Rooms that do not say are of version 1 (specification, "m.room.create").
    const version = content.room_version ?? '1';
    if (typeof version !== 'string') throw new NotReadable('the room does not say its version');
    this.remember(roomId, version);
    return version;
  }
}

/** Throws `NotReadable` for room versions that are not known here. */
export function rulesOf(version: string): RoomVersionRules {
  const rules = roomVersion(version);
  if (rules === undefined) throw new NotReadable(`room version ${version} is not known here`);
  return rules;
}
