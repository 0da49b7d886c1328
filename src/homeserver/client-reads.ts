import type { JsonObject } from '../matrix/json.ts';
import type { Pdu } from '../matrix/pdu.ts';
import type { RoomVersionRules } from '../matrix/room-versions.ts';
import { EventAnswer, eventArray, replacedBy } from './event-lists.ts';
import {
  type Context,
  type Followed,
  type Homeserver,
  HomeserverDown,
  NotReadable,
  type ReadEvent,
} from './homeserver.ts';
import { type ApiRequest, bodyOf, enc, objectOf } from './homeserver-api.ts';
import type { Reader } from './reader.ts';
import { restorePdu } from './restore-pdu.ts';
import { RoomRules } from './room-rules.ts';

/** Synapse gives at most this many in one answer. */
const FOLLOW_LIMIT = 1000;
/** A thousand events of 64 KiB and what is added to each. */
const MAX_FOLLOW_BYTES = 128 * 1024 * 1024;
/** The state of a room with some hundred thousand members. */
const MAX_STATE_BYTES = 256 * 1024 * 1024;
/** What a long-poll may take beyond its own time. */
const POLL_GRACE_MS = 20_000;
const STATE_TIMEOUT_MS = 120_000;
/** Pages of history are filtered after they were cut, so they may hold less than was asked for, or nothing. */
const MOST_PAGES = 5;
const FEDERATION_FORMAT = enc(JSON.stringify({ event_format: 'federation' }));

type Reads = Pick<
  Homeserver,
  'follow' | 'history' | 'context' | 'currentState' | 'stateEvent' | 'visibleEvent'
>;

/** What a user sees who is in no room: reads of world-readable rooms through the client-server API. */
export class ClientReads implements Reads {
  readonly #reader: Reader;
  readonly #serverName: string;
  readonly #selfSigned: (eventId: string) => Promise<Pdu | null>;
  readonly rules: RoomRules;

  /** `selfSigned`: an event as servers get it. */
  constructor(reader: Reader, serverName: string, selfSigned: (eventId: string) => Promise<Pdu | null>) {
    this.#reader = reader;
    this.#serverName = serverName;
    this.#selfSigned = selfSigned;
    this.rules = new RoomRules((roomId) => this.stateEvent(roomId, 'm.room.create', ''));
  }

  async follow(
    roomId: string,
    from: string | null,
    wait: { timeoutMs: number; signal: AbortSignal },
  ): Promise<Followed> {
    // Asked for first: once the answer is there, nothing may fail, or its events would be read twice.
    const rules = await this.rules.of(roomId);
    const timeoutMs = from === null ? 0 : wait.timeoutMs;
    const query = `room_id=${enc(roomId)}&raw=1&limit=${FOLLOW_LIMIT}&timeout=${timeoutMs}`;
    const answer = await this.#answer(`/events?${query}${fromQuery(from)}`, {
      timeoutMs: timeoutMs + POLL_GRACE_MS,
      maxBytes: MAX_FOLLOW_BYTES,
      signal: wait.signal,
    });
    const end = answer.text(from === null ? 'start' : 'end');
    if (end === null) throw new HomeserverDown('the homeserver answered /events without a token');
    if (from === null) return { events: [], end };
    return { events: await this.#restored(await answer.events('chunk'), rules), end };
  }

  async history(
    roomId: string,
    from: string | null,
    limit: number,
  ): Promise<{ events: ReadEvent[]; end: string | null }> {
    const rules = await this.rules.of(roomId);
    const events: ReadEvent[] = [];
    let end = from;
    for (let page = 0; page < MOST_PAGES && events.length < limit; page++) {
      const query = `dir=b&limit=${limit - events.length}&filter=${FEDERATION_FORMAT}${fromQuery(end)}`;
      const path = `/rooms/${enc(roomId)}/messages?${query}`;
      const answer = await this.#answer(path, { maxBytes: MAX_FOLLOW_BYTES });
      events.push(...(await this.#restored(await answer.events('chunk'), rules)));
      const next = answer.text('end');
      const moved = next !== end;
      end = next;
      if (end === null || !moved) break;
    }
    return { events, end };
  }

  /** Also for a room that has closed meanwhile, where all else is refused. Costs a request for each event. */
  async context(roomId: string, eventId: string, limit: number): Promise<Context> {
    const path = `/rooms/${enc(roomId)}/context/${enc(eventId)}?limit=${limit}`;
    const response = await this.#reader.send(get(path, {}));
    if (response.status === 404) throw new NotReadable('the event is not visible');
    const answer = new EventAnswer(readable(response));
    const [start, end, shown] = [answer.text('start'), answer.text('end'), answer.event('event')];
    if (start === null || end === null || shown === null) {
      throw new HomeserverDown('the homeserver answered /context without an event or its place');
    }
    // Synapse gives no federation format here.
    const [before, [event], after] = await Promise.all([
      this.#asServersGet(await answer.events('events_before')),
      this.#asServersGet([shown]),
      this.#asServersGet(await answer.events('events_after')),
    ]);
    if (event === undefined) throw new NotReadable('the event is not there');
    return { before, event, after, start, end };
  }

  async currentState(roomId: string): Promise<JsonObject[]> {
    const limits = { timeoutMs: STATE_TIMEOUT_MS, maxBytes: MAX_STATE_BYTES };
    const response = await this.#reader.send(get(`/rooms/${enc(roomId)}/state`, limits));
    return eventArray(readable(response));
  }

  async stateEvent(roomId: string, type: string, stateKey: string): Promise<JsonObject | null> {
    const path = `/rooms/${enc(roomId)}/state/${enc(type)}/${enc(stateKey)}?format=event`;
    const response = await this.#reader.send(get(path, {}));
    if (response.status === 404) return null;
    if (response.status === 403) throw notReadable();
    return objectOf(response);
  }

  async visibleEvent(roomId: string, eventId: string): Promise<JsonObject | null> {
    const response = await this.#reader.send(get(`/rooms/${enc(roomId)}/event/${enc(eventId)}`, {}));
    return response.status === 404 || response.status === 403 ? null : objectOf(response);
  }

  /** A user of our server who is in the room; null if there is none. Rejects with `NotReadable`. */
  async joinedLocalUser(roomId: string): Promise<string | null> {
    const path = `/rooms/${enc(roomId)}/members?membership=join`;
    const limits = { timeoutMs: STATE_TIMEOUT_MS, maxBytes: MAX_STATE_BYTES };
    const members = await (await this.#answer(path, limits)).events('chunk');
    const local = `:${this.#serverName}`;
    for (const { state_key: userId } of members) {
      if (typeof userId === 'string' && userId.endsWith(local)) return userId;
    }
    return null;
  }

  async #answer(path: string, limits: Partial<ApiRequest>): Promise<EventAnswer> {
    return new EventAnswer(readable(await this.#reader.send(get(path, limits))));
  }

  async #restored(events: readonly JsonObject[], rules: RoomVersionRules): Promise<ReadEvent[]> {
    const restored: ReadEvent[] = [];
    for (const event of events) {
      const eventId = event.event_id;
      const found = restorePdu(event, rules);
      if (found.pdu === null || typeof eventId !== 'string') continue;
      const pdu = found.whole ? found.pdu : ((await this.#selfSigned(eventId)) ?? found.pdu);
      restored.push({ eventId, pdu, replaces: replacedBy(event) });
    }
    return restored;
  }

  async #asServersGet(events: readonly JsonObject[]): Promise<ReadEvent[]> {
    const read = await Promise.all(
      events.map(async (event): Promise<ReadEvent | null> => {
        const eventId = event.event_id;
        const pdu = typeof eventId === 'string' ? await this.#selfSigned(eventId) : null;
        return pdu === null ? null : { eventId: String(eventId), pdu, replaces: replacedBy(event) };
      }),
    );
    return read.filter((event) => event !== null);
  }
}

function get(path: string, limits: Partial<ApiRequest>): ApiRequest {
  return { ...limits, method: 'GET', path: `/_matrix/client/v3${path}` };
}

function readable(response: Parameters<typeof bodyOf>[0]): Buffer {
  if (response.status === 403) throw notReadable();
  return bodyOf(response);
}

function notReadable(): NotReadable {
  return new NotReadable('the room is not open to non-members, or the homeserver is not in it');
}

function fromQuery(from: string | null): string {
  return from === null ? '' : `&from=${enc(from)}`;
}
