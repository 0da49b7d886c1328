import { serverNameOf } from '../../matrix/ids.ts';
import { isObject, type Json, type JsonObject } from '../../matrix/json.ts';
import type { RoomVersionRules } from '../../matrix/room-versions.ts';
import { roomVersion } from '../../matrix/room-versions.ts';
import type { Clock } from '../../platform/clock.ts';
import type { KeyRing } from '../../remote-servers/remote-servers.ts';
import type { UnverifiedRest, VerifiedBatch } from '../../rooms/large-answer.ts';
import { closingReason, whyNotPeekable } from '../../rooms/readable.ts';
import type { EventRejected, VerifiedEvent } from '../../rooms/verify-event.ts';
import { verifyMany } from '../../rooms/verify-many.ts';
import { gatherKeys } from '../authorisation/answer-keys.ts';
import type { AuthSource } from '../authorisation/auth-source.ts';
import { whyNoSay } from './answering-server.ts';
import { judgeAnswer } from './judge-answer.ts';
import { judgedRest } from './judged-rest.ts';

/** More than the largest public rooms have, state and auth chain together; beyond it an answer is not looked at. */
export const MOST_EVENTS = 200_000;
/** Recent events taken from an answer: what a first timeline shows, and some to spare. */
const MOST_RECENT = 50;
/** MSC2444 names no bounds for the interval; these keep a wrong unit or a hostile zero harmless. */
const RENEWAL_MIN_MS = 60_000;
const RENEWAL_MAX_MS = 3_600_000;

/** A room as a peeked server gave it, every event verified and authorised. */
export interface PeekAnswer {
  readonly peekId: string | null;
  readonly roomVersion: string;
  readonly rules: RoomVersionRules;
  readonly renewalIntervalMs: number;
  /** One event for each `(type, state_key)`. */
  readonly state: VerifiedEvent[];
  readonly authChain: VerifiedEvent[];
  /** World-readable events, oldest first; at least one unless the server gave none that is. */
  readonly recent: VerifiedEvent[];
  /**
   * Nothing was lost between this answer and what the server sends: so does this proxy, which alone answers with
   * both the newest event and the newest events. Others are asked once more.
   */
  readonly isSeamless: boolean;
  /** Of a large answer, what is not in `state` and `authChain` yet; else null. */
  readonly rest: RestOfAnswer | null;
}

/** What of a large answer a reader does not need first. Whoever has the answer sees to its end. */
export interface RestOfAnswer {
  /** Verified and authorised. Throws `WorkerFailure`, or when nobody wants the answer any more. */
  batches(): AsyncIterable<VerifiedBatch>;
  /** Lets the next large answer have its turn. */
  end(): void;
}

/** That what is read is but the first part of a large answer: the rest of it, and what is called at its end. */
export interface LargeReading {
  readonly rest: UnverifiedRest;
  readonly end: () => void;
}

/** The server answered, but with nothing that can be used. `kind` decides what the client is told. */
export class PeekAnswerUnusable extends Error {
  override readonly name = 'PeekAnswerUnusable';
  readonly kind: 'forbidden' | 'invalid';
  constructor(kind: PeekAnswerUnusable['kind'], message: string) {
    super(message);
    this.kind = kind;
  }
}

export interface PeekAnswerReading {
  /** Who answers. */
  readonly server: string;
  readonly keys: KeyRing;
  readonly clock: Clock;
  /** Told of each event that is left out. */
  readonly rejected: (reason: EventRejected) => void;
  /** Who is asked for auth events that the answer names and does not have; without it nobody is. */
  readonly auth?: AuthSource;
  /** Nobody wants the answer any more. */
  readonly signal?: AbortSignal;
  readonly large?: LargeReading;
}

/** State without which a room would seem open that is not: what does not verify of it cannot just be left out. */
const DECISIVE = [
  'm.room.power_levels',
  'm.room.history_visibility',
  'm.room.encryption',
  'm.room.server_acl',
] as const;

/**
 * Reads the answer to `PUT /peek` (MSC2444 in the shapes that servers send: `state` and `auth_chain`, with
 * `latest_event` or `messages` or both). What cannot be verified, or is not authorised by its own auth events, is
 * left out; the answer is refused when the create event, the power levels, the visibility, the encryption or the ACL
 * are among it, the room is not open to peeking, or the server that answers is itself not in the room.
 */
export async function readPeekAnswer(
  body: JsonObject,
  roomId: string,
  { server, keys, clock, rejected, auth, signal, large }: PeekAnswerReading,
): Promise<PeekAnswer> {
  const version = typeof body.room_version === 'string' ? body.room_version : '1';
  const rules = roomVersion(version);
  if (rules === undefined)
    throw new PeekAnswerUnusable('invalid', `unknown room version ${version.slice(0, 50)}`);
  const given = listOf(body.state);
  const chain = listOf(body.auth_chain);
  const messages = listOf(body.messages).slice(-MOST_RECENT);
  if (isObject(body.latest_event)) messages.push(body.latest_event);
  if (given.length + chain.length > MOST_EVENTS)
    throw new PeekAnswerUnusable('invalid', 'the room is too large');

  const room = { roomId, rules };
  const decisive = given.filter((event) => isObject(event) && isDecisive(event));
  const ring = await gatherKeys([...decisive, ...messages, ...given, ...chain], keys, clock, signal);
  const verified = (events: readonly Json[]) => verifyMany(events, room, ring, rejected, signal);
  const authentic = {
    state: await verified(given),
    authChain: await verified(chain),
    recent: await verified(messages),
  };
  const claimed = createAmong([...authentic.state, ...authentic.authChain]);
  if (claimed !== null) checkCreate(claimed, roomId, version, rules);
  const judging = { room, keys, clock, rejected, auth, signal };
  const judged = await judgeAnswer(authentic, judging);
  const state = onePerSlot(judged.state);
  const { authChain } = judged;
  const recent = uniqueById(judged.recent);

  const slot = (type: string) => state.find(({ pdu }) => pdu.type === type && pdu.state_key === '') ?? null;
  const create = createAmong([...state, ...authChain]);
  const visibility = slot('m.room.history_visibility');
  if (create === null)
    throw new PeekAnswerUnusable(
      'invalid',
      'the create event is missing, or does not verify or is not authorised',
    );
  if (slot('m.room.create') === null) state.unshift(create);
  for (const type of DECISIVE) {
    if (slot(type) === null && hasSlot(given, type)) {
      throw new PeekAnswerUnusable('invalid', `${type} does not verify or is not authorised`);
    }
  }
  const refusal = whyNotPeekable({
    visibility: visibility?.pdu ?? null,
    encryption: slot('m.room.encryption')?.pdu ?? null,
  });
  if (refusal !== null) throw new PeekAnswerUnusable('forbidden', refusal);
  const noSay = whyNoSay(server, state);
  if (noSay !== null) throw new PeekAnswerUnusable('invalid', noSay);

  return {
    peekId: typeof body.peek_id === 'string' ? body.peek_id : null,
    roomVersion: version,
    rules,
    renewalIntervalMs: clampRenewal(body.renewal_interval),
    state,
    authChain,
    recent: readableSince(recent, visibility),
    isSeamless: isObject(body.latest_event) && Array.isArray(body.messages),
    rest:
      large === undefined || large.rest.count === 0
        ? null
        : {
            end: large.end,
            batches: () => judgedRest(large.rest, [...authChain, ...state], { ...judging, version }),
          },
  };
}

function createAmong(events: readonly VerifiedEvent[]): VerifiedEvent | null {
  return events.find(({ pdu }) => pdu.type === 'm.room.create' && pdu.state_key === '') ?? null;
}

/**
 * The room ID names its creator's server, or in version 12 is the create event's hash (which verifying has
 * compared): so nobody else can invent the room.
 */
function checkCreate(create: VerifiedEvent, roomId: string, version: string, rules: RoomVersionRules): void {
  if (create.redacted) throw new PeekAnswerUnusable('invalid', 'the create event does not have its hash');
  if ((create.pdu.content.room_version ?? '1') !== version) {
    throw new PeekAnswerUnusable('invalid', 'the room version is not that of the create event');
  }
  if (!rules.hashRoomIds && serverNameOf(create.pdu.sender) !== serverNameOf(roomId)) {
    throw new PeekAnswerUnusable('invalid', 'the room was not created by the server that its ID names');
  }
}

/** The renewal interval that is used: within a minute and an hour, whatever the server said. */
export function clampRenewal(interval: Json | undefined): number {
  if (typeof interval !== 'number' || !Number.isFinite(interval)) return RENEWAL_MAX_MS;
  return Math.min(Math.max(interval, RENEWAL_MIN_MS), RENEWAL_MAX_MS);
}

/**
 * Which of these events were world-readable when they were sent, as far as can be told without the state at
 * each: those that come after the visibility event that is current now, and that event itself.
 */
export function readableSince(
  events: readonly VerifiedEvent[],
  visibility: VerifiedEvent | null,
): VerifiedEvent[] {
  if (visibility === null) return [];
  const since = Number(visibility.pdu.depth);
  return events
    .filter(({ eventId, pdu }) => eventId === visibility.eventId || Number(pdu.depth) > since)
    .filter(({ pdu }) => closingReason(pdu) === null)
    .toSorted((a, b) => Number(a.pdu.depth) - Number(b.pdu.depth));
}

function isDecisive(event: JsonObject): boolean {
  return event.type === 'm.room.create' || DECISIVE.some((type) => event.type === type);
}

function listOf(value: Json | undefined): Json[] {
  return Array.isArray(value) ? value : [];
}

function hasSlot(events: readonly Json[], type: string): boolean {
  return events.some((event) => isObject(event) && event.type === type && event.state_key === '');
}

function onePerSlot(events: readonly VerifiedEvent[]): VerifiedEvent[] {
  const slots = new Map<string, VerifiedEvent>();
  for (const event of events) {
    if (typeof event.pdu.state_key !== 'string') continue;
    slots.set(`${event.pdu.type}\u0000${event.pdu.state_key}`, event);
  }
  return [...slots.values()];
}

function uniqueById(events: readonly VerifiedEvent[]): VerifiedEvent[] {
  return [...new Map(events.map((event) => [event.eventId, event])).values()];
}
