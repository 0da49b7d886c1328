import type { Homeserver } from '../homeserver/homeserver.ts';
import { toClientEvent } from '../matrix/client-event.ts';
import { serverNameOf } from '../matrix/ids.ts';
import { isObject, type Json, type JsonObject } from '../matrix/json.ts';
import type { Clock } from '../platform/clock.ts';
import { MatrixError } from '../platform/matrix-error.ts';
import { pduOf } from '../rooms/log-entries.ts';
import type { StateAt } from '../rooms/state-at.ts';
import { readableHead, readOn } from '../rooms/timeline.ts';
import type { WholeState } from '../rooms/whole-state.ts';
import type { Store, StoredEvent } from '../store/store.ts';
import type { ReadPlaces } from './read-places.ts';
import type { RoomRead } from './room-read.ts';
import { type StreamedJson, streamedList } from './streamed-json.ts';

export interface StateReadsDeps {
  readonly store: Store;
  readonly homeserver: Pick<Homeserver, 'resolveAlias' | 'serverName'>;
  readonly stateAt: StateAt;
  readonly whole: WholeState;
  readonly places: ReadPlaces;
  readonly clock: Clock;
}

/** Aliases that are looked up for one answer. */
const MOST_ALIASES = 10;

/** The state of a remotely peeked room, as the peeked server's room has it now: from the replica. */
export class StateReads {
  readonly #deps: StateReadsDeps;

  constructor(deps: StateReadsDeps) {
    this.#deps = deps;
  }

  /** `state`: all state events. `state/{type}[/{stateKey}]`: the content of one; `?format=event`: the event. */
  readonly state = async (read: RoomRead): Promise<Json | StreamedJson> => {
    const [, type, stateKey = '', ...more] = read.path;
    if (more.length > 0) throw unrecognised();
    if (type === undefined) {
      await this.#deps.whole.wait(read.roomId, read.signal);
      return streamedList('[', this.#allState(read), ']');
    }
    const format = read.query.get('format') ?? 'content';
    if (format !== 'content' && format !== 'event')
      throw new MatrixError(400, 'M_INVALID_PARAM', 'format is neither content nor event');
    const event = await this.#one(read, type, stateKey);
    if (event === null) throw new MatrixError(404, 'M_NOT_FOUND', 'The room has no such state event');
    return format === 'event' ? this.#shown(read, event) : (pduOf(event).content ?? {});
  };

  /** `members`: the member events, now or `at` a token, of one `membership` or of all but one. */
  readonly members = async (read: RoomRead): Promise<StreamedJson> => {
    if (read.path.length > 1) throw unrecognised();
    await this.#deps.whole.wait(read.roomId, read.signal);
    const position = await this.#knownPosition(read);
    const events = position === null ? this.#membersNow(read) : this.#membersAt(read, position);
    return streamedList('{"chunk":[', filtered(events, read.query), ']}');
  };

  /** `joined_members`: who is in the room, by user ID. */
  readonly joinedMembers = async (read: RoomRead): Promise<StreamedJson> => {
    if (read.path.length > 1) throw unrecognised();
    await this.#deps.whole.wait(read.roomId, read.signal);
    return streamedList('{"joined":{', joined(this.#membersNow(read)), '}}');
  };

  /**
   * `aliases`: those that our own server keeps of the room (the endpoint is about no other's). A homeserver lists
   * them to members alone; but an alias that the room itself names can be looked up.
   */
  readonly aliases = async (read: RoomRead): Promise<Json> => {
    if (read.path.length > 1) throw unrecognised();
    const { homeserver } = this.#deps;
    const event = await this.#one(read, 'm.room.canonical_alias', '');
    const named = event === null ? [] : aliasesIn(pduOf(event).content);
    const ours = named.filter((alias) => serverNameOf(alias) === homeserver.serverName);
    const found = await Promise.all(
      ours.slice(0, MOST_ALIASES).map(async (alias) => {
        const room = await homeserver.resolveAlias(alias);
        return room?.roomId === read.roomId ? [alias] : [];
      }),
    );
    return { aliases: found.flat() };
  };

  /** A state event that is not here may be among those of a large room that are still to come. */
  async #one(read: RoomRead, type: string, stateKey: string): Promise<StoredEvent | null> {
    const { replicas } = this.#deps.store;
    const [event] = await replicas.stateOf(read.roomId, [[type, stateKey]]);
    if (event !== undefined) return event;
    await this.#deps.whole.wait(read.roomId, read.signal);
    const [late] = await replicas.stateOf(read.roomId, [[type, stateKey]]);
    return late ?? null;
  }

  async *#allState(read: RoomRead): AsyncGenerator<string> {
    const free = await this.#deps.places.take(read);
    let events: readonly StoredEvent[] = [];
    try {
      events = await this.#deps.store.replicas.state(read.roomId);
      for (const event of events) yield JSON.stringify(this.#shown(read, event));
    } finally {
      free(events.length);
    }
  }

  #membersNow(read: RoomRead): AsyncGenerator<JsonObject> {
    return this.#deps.places.counted(read, this.#allMembers(read));
  }

  async *#allMembers(read: RoomRead): AsyncGenerator<JsonObject> {
    const given = new Set<string>();
    for await (const slice of this.#deps.store.replicas.stateOfType(read.roomId, 'm.room.member')) {
      for (const event of slice) {
        // One that changes meanwhile may come as it was and as it is.
        if (given.has(event.stateKey ?? '')) continue;
        given.add(event.stateKey ?? '');
        yield this.#shown(read, event);
      }
    }
  }

  async *#membersAt(read: RoomRead, position: number): AsyncGenerator<JsonObject> {
    const { places, stateAt, clock } = this.#deps;
    const free = await places.take(read);
    let events: readonly JsonObject[] = [];
    try {
      events = await stateAt.read(read.log, position, clock.now());
      for (const event of events) {
        if (event.type === 'm.room.member') yield { ...event, room_id: read.roomId };
      }
    } finally {
      free(events.length);
    }
  }

  /** The position that `at` names; null where it names none from which the state is still known. */
  async #knownPosition(read: RoomRead): Promise<number | null> {
    const at = read.query.get('at');
    const position = at === null ? null : read.positionOf(at);
    const head = readableHead(read.log);
    if (position === null || position >= head) return null;
    return (await readOn(this.#deps.store, read.log, position, head, { limit: 0 })).gap ? null : position;
  }

  #shown({ roomId }: RoomRead, event: StoredEvent): JsonObject {
    return toClientEvent(pduOf(event), event.eventId, { roomId, now: this.#deps.clock.now() });
  }
}

async function* filtered(members: AsyncIterable<JsonObject>, query: URLSearchParams): AsyncGenerator<string> {
  const wanted = query.get('membership');
  const unwanted = query.get('not_membership');
  for await (const event of members) {
    const membership = membershipOf(event);
    if (wanted !== null && membership !== wanted) continue;
    if (unwanted !== null && membership === unwanted) continue;
    yield JSON.stringify(event);
  }
}

async function* joined(members: AsyncIterable<JsonObject>): AsyncGenerator<string> {
  for await (const event of members) {
    if (membershipOf(event) !== 'join' || !isObject(event.content)) continue;
    const { displayname, avatar_url: avatar } = event.content;
    const profile = { display_name: textOrNull(displayname), avatar_url: textOrNull(avatar) };
    yield `${JSON.stringify(event.state_key)}:${JSON.stringify(profile)}`;
  }
}

function membershipOf(event: JsonObject): Json | undefined {
  return isObject(event.content) ? event.content.membership : undefined;
}

function textOrNull(value: Json | undefined): string | null {
  return typeof value === 'string' ? value : null;
}

function aliasesIn(content: Json | undefined): string[] {
  if (!isObject(content)) return [];
  const others = Array.isArray(content.alt_aliases) ? content.alt_aliases : [];
  const named = [content.alias, ...others].filter((alias) => typeof alias === 'string');
  return [...new Set(named)];
}

function unrecognised(): MatrixError {
  return new MatrixError(404, 'M_UNRECOGNIZED', 'There is no such endpoint');
}
