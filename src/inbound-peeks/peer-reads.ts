import type { Homeserver } from '../homeserver/homeserver.ts';
import { eventIdOf } from '../matrix/event-id.ts';
import { isObject, type Json, JsonError, type JsonObject } from '../matrix/json.ts';
import { HOLDS_EVENTS, parseJson } from '../matrix/json-scan.ts';
import { redact } from '../matrix/redaction.ts';
import { type RoomVersionRules, roomVersion } from '../matrix/room-versions.ts';
import { Gate, GateFullError } from '../platform/gate.ts';
import { MatrixError } from '../platform/matrix-error.ts';
import type { Store } from '../store/store.ts';
import { Disclosure } from './disclosure.ts';
import { ReadLimits } from './read-limits.ts';
import { parseRead, type ReadRequest, toTarget } from './read-request.ts';
import { AnswersUnderWay, type RoomAnswer } from './room-answer.ts';
import { RoomGate } from './room-gate.ts';

/** State of large rooms that is asked of the homeserver at a time, and how many such questions may wait. */
const LARGE_AT_ONCE = 2;
const LARGE_WAITING = 20;
/** What of that one server may take: others are to come in between. */
const LARGE_OF_ONE = { running: 1, waiting: 10 };
const RETRY_MS = 10_000;

interface Deps {
  readonly store: Pick<Store, 'inboundPeeks' | 'logs'>;
  readonly homeserver: Homeserver;
}

/**
 * Reads by a server that peeks, as if it were in the room. The homeserver was asked first and has refused;
 * what it answers to itself holds more than a peeker may see, and is filtered here.
 */
export class PeerReads {
  readonly #deps: Deps;
  readonly #gate: RoomGate;
  readonly #disclosure: Disclosure;
  readonly #limits = new ReadLimits();
  readonly #large = new Gate(LARGE_AT_ONCE, LARGE_WAITING, LARGE_OF_ONE);
  readonly #underWay = new AnswersUnderWay();

  constructor(deps: Deps) {
    this.#deps = deps;
    this.#gate = new RoomGate(deps.homeserver);
    this.#disclosure = new Disclosure(deps.homeserver, deps.store.logs);
  }

  /**
   * Answers a read of `origin`, which must be authenticated. `rawTarget` is the request's path and query,
   * `body` its parsed body. null where the homeserver's own refusal stands: another kind of request, no peek of
   * that server on that room, nothing there. Rejects with `MatrixError` 403 where the peek does not allow it,
   * 404 where no event that a peeker may be told of is closest to a time, 429 where the server has read too much of late, 503 where all have, with `HomeserverDown` and with
   * `StoreDownError`.
   */
  async serve(
    origin: string,
    method: string,
    rawTarget: string,
    body: Json | undefined,
  ): Promise<RoomAnswer | null> {
    const peeks = await this.#deps.store.inboundPeeks.ofServer(origin);
    const read = peeks.length === 0 ? null : parseRead(method, rawTarget, body);
    if (read === null) return null;
    const peeked = new Set(peeks.map((peek) => peek.roomId));
    if (read.kind !== 'event' && !peeked.has(read.roomId)) return null;
    await this.#limits.consume(origin, read);
    if (read.kind === 'event') return this.#event(origin, read, peeked);
    const rules = await this.#pass(origin, read.roomId);
    if (read.kind === 'backfill' || read.kind === 'get_missing_events') return this.#events(read, rules);
    if (read.kind === 'timestamp_to_event') return this.#eventAt(read);
    return this.#stateAt(origin, read);
  }

  async #event(
    origin: string,
    read: ReadRequest & { kind: 'event' },
    peeked: ReadonlySet<string>,
  ): Promise<RoomAnswer | null> {
    const answer = await this.#ask(read);
    const pdu = Array.isArray(answer?.pdus) ? answer.pdus[0] : undefined;
    if (answer === null || !isObject(pdu)) return null;
    const roomId = roomIdOf(pdu, read.eventId);
    if (!peeked.has(roomId)) return null;
    const rules = await this.#pass(origin, roomId);
    const whole = await this.#disclosure.goesOutWhole(roomId, read.eventId, pdu);
    return ok({ ...answer, pdus: [whole ? pdu : redact(pdu, rules)] });
  }

  async #events(
    read: ReadRequest & { kind: 'backfill' | 'get_missing_events' },
    rules: RoomVersionRules,
  ): Promise<RoomAnswer | null> {
    const answer = await this.#ask(read);
    if (answer === null) return null;
    const list = read.kind === 'backfill' ? 'pdus' : 'events';
    const most = Number(read.kind === 'backfill' ? read.limit : read.body.limit);
    const pdus = Array.isArray(answer[list]) ? answer[list].filter(isObject).slice(0, most) : [];
    const events = pdus
      .flatMap((pdu) => identified(pdu, rules))
      .filter(({ eventId, pdu }) => roomIdOf(pdu, eventId) === read.roomId);
    const whole = await this.#disclosure.whichGoOutWhole(read.roomId, events);
    return ok({ ...answer, [list]: events.map(({ pdu }, i) => (whole[i] ? pdu : redact(pdu, rules))) });
  }

  /** Of all events of the room the homeserver names the closest; a peeker is told of it only if it was open. */
  async #eventAt(read: ReadRequest & { kind: 'timestamp_to_event' }): Promise<RoomAnswer> {
    const { event_id: eventId, origin_server_ts: sentAt } = (await this.#ask(read)) ?? {};
    if (typeof eventId !== 'string' || typeof sentAt !== 'number') throw nothingThere();
    if (!(await this.#disclosure.wasVisible(read.roomId, eventId))) throw nothingThere();
    return ok({ event_id: eventId, origin_server_ts: sentAt });
  }

  /** State is given only at events that were world-readable; an auth chain also of what is in such a state. */
  async #stateAt(
    origin: string,
    read: ReadRequest & { kind: 'state' | 'state_ids' | 'event_auth' },
  ): Promise<RoomAnswer | null> {
    const { roomId, eventId } = read;
    const pdu = await this.#deps.homeserver.event(eventId);
    if (pdu === null || (typeof pdu.room_id === 'string' && pdu.room_id !== roomId)) return null;
    const allowed =
      read.kind === 'event_auth'
        ? await this.#disclosure.goesOutWhole(roomId, eventId, pdu)
        : await this.#disclosure.wasVisible(roomId, eventId);
    if (!allowed) throw new MatrixError(403, 'M_FORBIDDEN', 'That event was not world-readable');
    const body = await this.#askLarge(origin, read);
    if (body === null) return null;
    if (read.kind === 'state_ids') {
      const ids = parseJson(body);
      if (!isObject(ids)) return null;
      this.#disclosure.remember(roomId, ids);
    }
    // In the homeserver's own bytes: the state of a large room is tens of megabytes.
    return { bytes: body.length, chunks: [body], release: this.#underWay.hold(body, body.length) };
  }

  async #pass(origin: string, roomId: string): Promise<RoomVersionRules> {
    const rules = roomVersion(await this.#gate.pass(origin, roomId));
    if (rules === undefined)
      throw new MatrixError(403, 'M_FORBIDDEN', 'The version of this room is not known');
    return rules;
  }

  async #askLarge(origin: string, read: ReadRequest): Promise<Buffer | null> {
    try {
      return await this.#large.run(() => this.#bytesOf(read), undefined, origin);
    } catch (error) {
      if (!(error instanceof GateFullError)) throw error;
      const message = 'Too much state is being read at the moment';
      throw new MatrixError(503, 'M_UNKNOWN', message, { retry_after_ms: RETRY_MS });
    }
  }

  async #ask(read: ReadRequest): Promise<JsonObject | null> {
    const body = await this.#bytesOf(read);
    const parsed = body === null ? null : parseJson(body, HOLDS_EVENTS);
    return isObject(parsed) ? parsed : null;
  }

  /** null where the homeserver refuses even itself. */
  async #bytesOf(read: ReadRequest): Promise<Buffer | null> {
    const method = read.kind === 'get_missing_events' ? 'POST' : 'GET';
    const body = read.kind === 'get_missing_events' ? read.body : undefined;
    const answer = await this.#deps.homeserver.selfRequest(method, toTarget(read), body);
    return answer.status === 200 ? answer.body : null;
  }
}

/** The create event of a room of version 12 has no room ID: the room is named after it. */
function roomIdOf(pdu: JsonObject, eventId: string): string {
  return typeof pdu.room_id === 'string' ? pdu.room_id : `!${eventId.slice(1)}`;
}

/** Not an event that canonical JSON cannot hold, nested too deep for one: no other server could take it. */
function identified(pdu: JsonObject, rules: RoomVersionRules): { eventId: string; pdu: JsonObject }[] {
  try {
    return [{ eventId: eventIdOf(pdu, rules), pdu }];
  } catch (error) {
    if (error instanceof JsonError) return [];
    throw error;
  }
}

function nothingThere(): MatrixError {
  const message = 'The closest event on that side of the time is none that was world-readable';
  return new MatrixError(404, 'M_NOT_FOUND', message);
}

function ok(body: JsonObject): RoomAnswer {
  const bytes = Buffer.from(JSON.stringify(body));
  return { bytes: bytes.length, chunks: [bytes], release: () => {} };
}
